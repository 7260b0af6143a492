"""The columns that requirements may name: those of score files, and those of the inputs.

In: score files, and their inputs where a requirement names a column of these. Out: batches with all columns side by
side, so that a condition may compare a score with a column of the input.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat, zip_longest
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import files, s3
from curate.tables import batches, readers, scored
from curate.tables.reading import Reading
from curate.tables.row_ranges import RowRange, row_ranges
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import Shard

REMEDY = "name no column of the inputs in --require and --cap"  # where an input was moved
TEXT = "text"  # the name of the column of texts in a condition, whatever its name in the inputs


@dataclass(frozen=True)
class RequiredRows:
    """Rows of a score file that requirements are applied to, with their input where it is read.

    ``reading`` says how the input is read. ``number`` is the place of the rows among all of them. ``lacking`` are the
    columns, and fields such as ``meta.lang``, that the input lacks and another input has; they are null in its rows.
    ``types`` are the types of these columns.
    """

    number: int
    rows: RowRange
    data: Shard | None = None
    reading: Reading = Reading()
    lacking: tuple[str, ...] = ()
    types: Mapping[str, pl.DataType] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the path of the score file, and which rows of it."""
        return str(self.rows)

    def frames(self, scored_columns: Sequence[str], input_columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the named columns of the score file and of the input, batch by batch.

        Raises:
            SchemaError: if a column is missing, or the input has other rows than were scored.
        """
        return self.beside_inputs(scored_columns, input_columns) if input_columns else self._scored(scored_columns)

    def identities(self) -> Iterator[pl.DataFrame]:
        """Yield the ids of the rows, batch by batch."""
        return scored.light_batches(self.rows, (), ("id",))

    def _scored(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        return scored.light_batches(self.rows, columns, ())

    def beside_inputs(self, scored_columns: Sequence[str], input_columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield columns of the score file beside columns of the input, as they are, batch by batch.

        Raises:
            SchemaError: as for `frames`.
        """
        assert self.data is not None
        # Counts of tokens are read in any case: without a column a batch would have no rows.
        scores = batches.batches(self.rows.shard, scored_columns, identity=("tokens",))
        for batch, values in zip_longest(scores, input_batches(self.data, self.reading, input_columns)):
            if batch is None or values is None or batch.height != values.height:
                raise SchemaError(
                    f"{self.data.path} has other rows than {self.rows.shard.path}: it changed since it was scored. "
                    "Score the data again"
                )
            yield self.typed(values).hstack([batch[name] for name in scored_columns])

    def typed(self, values: pl.DataFrame) -> pl.DataFrame:
        """Return columns of the input with the types, and fields of structs, of what it lacks."""
        kinds = {name: kind for name, kind in values.schema.items() if name in self.types}
        wanted = {
            name: self.types[name] if kind == pl.Null else with_fields(kind, self.types[name])
            for name, kind in kinds.items()
        }
        return values.with_columns(pl.col(name).cast(kind) for name, kind in wanted.items())


def input_batches(data: Shard, reading: Reading, columns: Sequence[str], start: int = 0) -> Iterator[pl.DataFrame]:
    """Yield the named columns of an input from a row on. ``text`` is the text of each row, whatever it is made of.

    A column of conversations has its messages under its own name, and their rendered text as ``text``. A column that
    the input lacks is null.
    """
    lacking = set(columns).difference(of_input(data, reading, columns))
    if not lacking:
        yield from _present(data, reading, columns, start)
        return
    nulls = [pl.lit(None).alias(name) for name in columns if name in lacking]
    present = [name for name in columns if name not in lacking]
    # Of an input that has none of the columns, the ids are read: without a column a batch would have no rows.
    rows = _present(data, reading, present, start) if present else batches.batches(data, reading=reading, start=start)
    for batch in rows:
        yield batch.with_columns(nulls).select(columns)


def _present(data: Shard, reading: Reading, columns: Sequence[str], start: int) -> Iterator[pl.DataFrame]:
    """Yield the named columns of an input, which has all of them."""
    own = reading.column(TEXT)
    if reading.mapping.render and own in columns and own != TEXT:
        yield from _with_messages(data, reading, columns, own, start)
        return
    # Batches call the column of texts `text`, so that its own name stands for the same column.
    named = {name: TEXT if name == own else name for name in columns}
    for batch in batches.batches(data, tuple(dict.fromkeys(named.values())), reading=reading, identity=(), start=start):
        yield batch.select(pl.col(column).alias(name) for name, column in named.items())


def _with_messages(
    data: Shard, reading: Reading, columns: Sequence[str], own: str, start: int
) -> Iterator[pl.DataFrame]:
    """Yield the named columns of an input of conversations. Their own column, ``own``, is not rendered."""
    others = [name for name in columns if name != own]
    # Readers of lines render while they parse. So the messages are read once more, as a column without a role.
    as_written = replace(reading, text_column=TEXT, mapping=replace(reading.mapping, render=""))
    unrendered = batches.batches(data, (own,), reading=as_written, identity=(), start=start)
    rendered = input_batches(data, reading, others, start) if others else repeat(pl.DataFrame())
    try:
        for messages in unrendered:
            yield messages.hstack(next(rendered).get_columns()).select(columns)
    except SchemaError as error:
        raise SchemaError(f"{error}. Or write the condition about {TEXT}, which is the rendered conversation") from None


def required_rows(
    scores: Path, shards: Sequence[Shard], *, with_inputs: bool, partial: bool = False, remedy: str = REMEDY
) -> tuple[RequiredRows, ...]:
    """Return the rows of all score files, in ranges. With their inputs, each file is one range.

    Raises:
        SchemaError: if an input is read, and it was moved or changed since it was scored.
    """
    if not with_inputs:
        cut = [rows for shard in shards for rows in row_ranges(shard)]
        return tuple(RequiredRows(number, rows) for number, rows in enumerate(cut))
    reading = scored.reading(scores)
    pairs = scored.with_inputs(scores, scored.inputs(scores), remedy=remedy, partial=partial)
    return tuple(
        RequiredRows(number, RowRange(shard), data, line_losses.aligned(reading, scores, data))
        for number, (shard, data) in enumerate(pairs)
    )


def of_scores(shards: Sequence[Shard]) -> tuple[str, ...]:
    """Return the columns of the score files, by the first of them."""
    return tuple(batches.columns(shards[0]))


def of_inputs(scores: Path, shards: Sequence[Shard], names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the inputs of score files: those of the first, and of ``names`` those that any of them has.

    Raises:
        SchemaError: if the inputs are not where they were.
    """
    reading, is_scored = scored.reading(scores), {shard.relative for shard in shards}
    # A file that could not be read has no score file.
    data = [shard for shard in scored.inputs(scores) if shard.relative in is_scored]
    if not data:
        raise SchemaError(f"the inputs of {s3.shown(scores)} are not where they were scored. Move them back")
    columns = tuple(of_input(data[0], reading, names))
    if set(names) <= set(columns):
        return columns
    others = files.each(lambda shard: of_input(shard, reading, names), data[1:], scores)
    return tuple(dict.fromkeys((*columns, *(name for name in names if any(name in each for each in others)))))


def with_fields(own: pl.DataType, other: pl.DataType) -> pl.DataType:
    """Return a type of structs with the further fields of another such type; any other type as it is."""
    if not (isinstance(own, pl.Struct) and isinstance(other, pl.Struct)):
        return own
    fields = {item.name: cast(pl.DataType, item.dtype) for item in own.fields}
    for item in other.fields:
        dtype = cast(pl.DataType, item.dtype)
        fields[item.name] = with_fields(fields.get(item.name, dtype), dtype)
    return pl.Struct(fields)


def of_input(data: Shard, reading: Reading, names: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the columns of an input, and the text of its rows; of ``names`` also those that appear late in its lines.

    The text may also be joined or computed.
    """
    own = readers.head(data, [reading.column(name) for name in names]).columns
    text = readers.head(data, (), reading.whole_mapping).columns.get(TEXT)
    return dict(own) if text is None else {TEXT: text} | {name: kind for name, kind in own.items() if name != TEXT}
