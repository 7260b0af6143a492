"""Copy small columns of the data into score files: the option ``carry`` of `score`.

In: names of columns, and the heads of the files. Out: the type of each column in all score files, and its values.
A carried column has one type in all score files: whole numbers are Int64, other numbers Float64.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError, first_few
from curate.tables import batches, readers
from curate.tables.columns import arrow_types
from curate.tables.shards import Shard

# Longer than any path of Linux (4,096 bytes) and than almost all addresses of pages. Longer values are texts, which
# would make score files as large as the data.
LONGEST = 4096
KINDS = "text, numbers, booleans, dates and times"  # that can be carried
# The columns that score files have of the data anyway.
COPIED = (*batches.IDENTITY, "label")
ADDED = (*batches.SCORER_PREFIXES, "emb.", "probs.", "logits.", "spans.")  # begin the names of columns of scorers
TEMPORAL = (pl.Date, pl.Datetime, pl.Time, pl.Duration)


@dataclass(frozen=True)
class CarriedColumn:
    """A column that is copied into score files. A file without it (``present`` False) has nulls."""

    name: str
    dtype: pl.DataType
    present: bool = True


def names(written: str | Sequence[str], added: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of columns to carry, sorted, so that their order in a call does not matter.

    ``added`` are the columns that scorers of the job add.

    Raises:
        SchemaError: if score files have a column of this name already, or the column holds texts or vectors.
    """
    listed = (written,) if isinstance(written, str) else tuple(written)
    for name in listed:
        if name in COPIED:
            raise _refusal(name, "is in the score files anyway", "Leave it out")
        if name.startswith(ADDED) or name in added:
            raise _refusal(name, "has a name as the columns of scorers have", "Rename the column")
        if name == "text" or not name:
            raise _refusal(name, "is no small column", f"Name a column of short values: {KINDS}")
    return tuple(sorted(set(listed)))


def resolve(
    carry: Sequence[str],
    shards: Iterable[Shard],
    heads: Mapping[str, readers.Head],
    recorded: Mapping[str, str],
) -> tuple[CarriedColumn, ...]:
    """Return the columns with the type that each has in all score files.

    ``heads`` are those of the readable shards, by name. ``recorded`` are the types of score files that an earlier call
    wrote, by column.

    Raises:
        SchemaError: if no file has a column, if its values are not small, or its type differs between files.
    """
    readable = [(shard, heads[shard.relative]) for shard in shards if shard.relative in heads]
    return tuple(CarriedColumn(name, _type(name, readable, recorded.get(name, ""))) for name in carry)


def of_file(columns: Sequence[CarriedColumn], head: readers.Head) -> tuple[CarriedColumn, ...]:
    """Return the columns, each with whether a file has it."""
    return tuple(replace(column, present=column.name in head.columns) for column in columns)


def copied(frame: pl.DataFrame, columns: Sequence[CarriedColumn], shard: Shard) -> pl.DataFrame:
    """Return rows with the carried columns in their types.

    Raises:
        SchemaError: if a text is too long. The message names the row.
    """
    for column in columns:
        if not column.present:
            frame = frame.with_columns(pl.lit(None, column.dtype).alias(column.name))
            continue
        values = frame.get_column(column.name)
        if values.dtype != column.dtype:
            values = values.cast(column.dtype)
            frame = frame.replace_column(frame.get_column_index(column.name), values)
        if values.dtype == pl.String:
            _check_lengths(values, frame.get_column("id"), shard)
    return frame


def _check_lengths(values: pl.Series, ids: pl.Series, shard: Shard) -> None:
    sizes = values.str.len_bytes().fill_null(0).to_numpy()
    if len(sizes) and sizes.max() > LONGEST:
        row = int(sizes.argmax())
        raise SchemaError(
            f"{shard.path}: --carry {values.name}: the value of the row with id {ids[row]!r} has {sizes[row]:,} bytes, "
            f"and a carried value may have {LONGEST:,}. Leave the column out: `curate prune` also reads the columns of "
            "the inputs"
        )


def _type(name: str, readable: Sequence[tuple[Shard, readers.Head]], recorded: str) -> pl.DataType:
    """Return the type of one column in all score files."""
    kinds: dict[pl.DataType, Shard] = {}
    present = False
    for shard, head in readable:
        if name in head.repeated:
            raise _refusal(name, f"is the name of two columns of {shard.path}", "Rename one of them")
        if name in head.columns:
            present = True
            if (kind := _kind(name, head.columns[name], shard)) is not None:
                kinds.setdefault(kind, shard)
    # Lines tell their columns only as they come. Files without a row have no columns.
    if not present and any(head.columns for _, head in readable):
        every = dict.fromkeys(column for _, head in readable for column in head.columns)
        raise _refusal(name, "is no column of the data", f"It has {first_few(every, near=name)}")
    if set(kinds) == {pl.Int64(), pl.Float64()}:
        kinds = {pl.Float64(): kinds[pl.Float64()]}
    if len(kinds) > 1:
        (first, first_shard), (second, second_shard) = list(kinds.items())[:2]
        differ = f"is {first} in {first_shard.path} and {second} in {second_shard.path}"
        raise _refusal(name, differ, "Write it with one type in all files, or leave it out")
    kind = next(iter(kinds), pl.String())
    if recorded and kinds and str(kind) != recorded:
        if (recorded, kind) == (str(pl.Float64()), pl.Int64()):
            return pl.Float64()
        (shard,) = kinds.values()
        raise _refusal(
            name,
            f"is {kind} in {shard.path}, and {recorded} in the score files that are there",
            "Write it with that type, or give --restart to score all files again",
        )
    return kind


def _kind(name: str, arrow: pa.DataType, shard: Shard) -> pl.DataType | None:
    """Return the type of a column of one file as score files have it; None if it has only nulls."""
    plain = arrow_types.plain(arrow)
    if pa.types.is_null(plain):
        return None
    if arrow_types.is_text(plain) or isinstance(plain, pa.UuidType):
        return pl.String()
    if pa.types.is_boolean(plain):
        return pl.Boolean()
    if pa.types.is_uint64(plain):
        # Hashes are often numbers above the largest Int64.
        return pl.UInt64()
    if pa.types.is_integer(plain):
        return pl.Int64()
    if pa.types.is_floating(plain):
        return pl.Float64()
    if pa.types.is_temporal(plain) and not pa.types.is_interval(plain):
        dtype = pl.Series(pa.array([], plain)).dtype
        if isinstance(dtype, TEMPORAL):
            return dtype
    raise _refusal(name, f"is {arrow} in {shard.path}", f"Columns of {KINDS} can be carried")


def _refusal(name: str, problem: str, remedy: str) -> SchemaError:
    return SchemaError(f"--carry {name}: {name!r} {problem}. {remedy}")
