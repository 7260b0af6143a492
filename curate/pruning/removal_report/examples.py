"""Show a few removed rows of each reason, with the values that decided and the beginning of the text.

In: which rows were removed, and why. Out: a table of three rows of each reason: those with the smallest hashes of ids
among the first thousands in every file.
A threshold is easier to judge by what it removes than by its number.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError
from curate.pruning.requirements.columns import input_batches
from curate.shown import escaped
from curate.tables import batches, readers, scored
from curate.tables.reading import Reading
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import Shard, has_lines

EXAMPLES = 3  # of each reason: enough to see what a reason means, and few enough to read
# Rows of one reason in one file that may become examples: the first ones. Hashing the ids of all removed rows would
# cost more than their decisions, and the text of a row at the end of a long file of lines is slow to read.
LOOKED_AT = 4096
SHOWN_CHARACTERS = 100  # of the text of an example
SHOWN_VALUE = 40  # characters of a value that decided
SEED = 0  # of the hashes of ids. It is fixed, so that the examples depend on the rows and reasons alone
PLACES = pl.Schema(
    {
        "reason": pl.Int64(),
        "key": pl.UInt64(),
        "id": pl.String(),
        "source": pl.String(),
        "file": pl.Int64(),
        "row": pl.Int64(),
    }
)
TABLE = {"reason": pl.String, "id": pl.String, "source": pl.String, "values": pl.String, "text": pl.String}


@dataclass
class ExamplePlaces:
    """The places of the examples of each reason so far; `add` and `merge` change them.

    Columns: the number of the reason, the hash of the id, the id, the source, and the numbers of the file and the row.
    ``looked_at`` counts the rows of each reason in the one file that is added.
    """

    table: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PLACES))
    looked_at: dict[int, int] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame, reasons: np.ndarray, row: int, file: int) -> None:
        """Add rows of the file with this number, with their reasons (n,). ``row`` is the first one's number in it.

        ``rows`` has the columns id and source. A reason below 0 is that of a row that is kept.
        """
        # Counting is faster than sorting: most of these rows are only counted.
        for reason in np.flatnonzero(np.bincount(reasons + 1)[1:]).tolist():
            before = self.looked_at.get(reason, 0)
            if before < LOOKED_AT:
                removed = np.flatnonzero(reasons == reason)[: LOOKED_AT - before]
                self.looked_at[reason] = before + len(removed)
                keys = batches.keys(rows["id"][removed], SEED)
                few = np.argsort(keys, kind="stable")[:EXAMPLES]
                columns = {"reason": np.full(len(few), reason), "key": keys[few], "row": removed[few] + row}
                places = (
                    rows[removed[few]]
                    .select("id", "source")
                    .with_columns(
                        pl.lit(file).alias("file"), *(pl.Series(name, values) for name, values in columns.items())
                    )
                )
                self.merge(places.select(list(PLACES)).cast(PLACES))

    def merge(self, places: pl.DataFrame) -> None:
        """Add the places of other rows."""
        if places.height:
            both = pl.concat([self.table, places]).sort("reason", "key", "id", "file", "row")
            self.table = both.filter(pl.int_range(pl.len()).over("reason") < EXAMPLES)


@dataclass(frozen=True)
class ExampleFile:
    """A score file and its input, if that is in its place, with the rows to show: pairs of row and reason.

    ``columns`` are the columns that decided, by the number of the reason.
    """

    scores: Shard
    data: Shard | None
    reading: Reading
    rows: tuple[tuple[int, int], ...]
    columns: Mapping[int, Sequence[str]]

    def __str__(self) -> str:
        """Return the path of the score file."""
        return str(self.scores.path)


def examples(
    places: ExamplePlaces,
    scores: Path,
    shards: Sequence[Shard],
    reasons: Sequence[str],
    columns: Mapping[int, Sequence[str]],
    engine: Engine,
) -> pl.DataFrame:
    """Return the examples: reason, id, source, values, text; ``columns`` are those that decided, by reason number.

    Without its input the text of an example is empty. Only files with examples are read.
    """
    inputs, reading = _inputs(scores)
    tasks = []
    for (number,), rows in sorted(places.table.partition_by("file", as_dict=True).items()):
        shard = shards[int(number)]
        data = inputs.get(shard.relative)
        aligned = reading if data is None else line_losses.aligned(reading, scores, data)
        pairs = tuple(sorted(zip(rows["row"].to_list(), rows["reason"].to_list(), strict=True)))
        tasks.append(ExampleFile(shard, data, aligned, pairs, columns))
    shown: dict[tuple[str, int], tuple[str, str]] = {}
    for part in engine.run(_read_examples, tasks):
        shown |= part
    rows_of_table = [
        (reasons[reason], name, source, *shown[shards[file].relative, row])
        for reason, name, source, file, row in places.table.select("reason", "id", "source", "file", "row").iter_rows()
    ]
    return pl.DataFrame(rows_of_table, schema=TABLE, orient="row")


def _inputs(scores: Path) -> tuple[dict[str, Shard], Reading]:
    """Return the inputs by their relative paths, and how they are read; none if they are not in their places."""
    try:
        return {shard.relative: shard for shard in scored.inputs(scores)}, scored.reading(scores)
    except SchemaError:
        return {}, Reading()


def _read_examples(task: ExampleFile) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the values and the text of every example of a file, by the name of the file and the row."""
    wanted = list(dict.fromkeys(name for _, reason in task.rows for name in task.columns.get(reason, ())))
    present = set(batches.columns(task.scores))
    from_scores = [name for name in wanted if name in present]
    values: dict[int, dict[str, object]] = {row: {} for row, _ in task.rows}
    # Counts of tokens are read in any case: without a column a batch would have no rows.
    _note_rows(values, lambda start: batches.batches(task.scores, from_scores, identity=("tokens",), start=start))
    if (data := task.data) is not None:
        # One input may lack a column that another has.
        in_data = {*readers.head(data, wanted, task.reading.whole_mapping).columns, task.reading.column("text")}
        names = [name for name in wanted if name not in present and name in in_data]
        names += ["text"] if "text" not in names and "text" in in_data else []
        if names:
            # A file of lines is read from its beginning, whichever row is wanted: so it is read once for all rows.
            in_order = has_lines(data)
            reading = task.reading if in_order else replace(task.reading, batch_rows=1)
            _note_rows(values, lambda start: input_batches(data, reading, names, start=start), in_order=in_order)
    result = {}
    for row, reason in task.rows:
        deciding = [f"{name} = {_value(values[row].get(name))}" for name in task.columns.get(reason, ())]
        text = escaped(" ".join(str(values[row].get("text") or "").split())[:SHOWN_CHARACTERS])
        result[task.scores.relative, row] = (", ".join(deciding), text)
    return result


def _note_rows(
    values: dict[int, dict[str, object]], read: Callable[[int], Iterator[pl.DataFrame]], *, in_order: bool = False
) -> None:
    """Add the columns that ``read`` yields to the ``values`` of each row; it reads a file from a row on."""
    if not in_order:
        for row, columns in values.items():
            columns |= next(read(row)).row(0, named=True)
        return
    position = 0
    for frame in read(0):
        for row in (row for row in values if position <= row < position + frame.height):
            values[row] |= frame.row(row - position, named=True)
        position += frame.height
        if position > max(values):
            return


def _value(value: object) -> str:
    """Return a value as a few characters on one line."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escaped(text if len(text) <= SHOWN_VALUE else f"{text[: SHOWN_VALUE - 3]}...")
