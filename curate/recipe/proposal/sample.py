"""Look at the first rows of some files of a data set.

In: files, folders or globs. Out: a sample of rows with all columns, and what the files say about the whole.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import batches, readers
from curate.tables.formats.bad_lines import BadLines
from curate.tables.mapping.column_mapping import CHAT, TEXT, UNMAPPED, ColumnMapping
from curate.tables.reading import Reading
from curate.tables.shards import Shard, ending, has_lines

ROWS = 2000  # of the sample: shares of a few percent are then known within half a percent
FILES = 20  # that the sample comes from, spread over the data
HEADS = 200  # files whose heads are read to count rows: more would take seconds


@dataclass(frozen=True)
class DataSample:
    """Rows of a data set, with all columns of the files, and the size of the whole.

    ``formats`` counts the files of each ending. ``sources`` are the names that folders give to rows without a column of
    sources. ``rows`` is None where the files do not say how many there are. ``unreadable`` holds files that could not
    be read, with the reasons; ``warnings`` tell of files that are not data.
    """

    frame: pl.DataFrame
    shards: tuple[Shard, ...]
    bytes: int
    rows: int | None
    sampled_files: int
    unreadable: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def formats(self) -> dict[str, int]:
        """Return the number of files of each ending, the commonest first."""
        return dict(Counter(ending(shard.path.name) for shard in self.shards).most_common())

    @property
    def sources(self) -> list[str]:
        """Return the names of the folders of the files, which are sources where no column is."""
        return sorted({shard.source for shard in self.shards})


def sample(data: Sequence[str]) -> DataSample:
    """Read the first rows of up to `FILES` files, spread evenly over the sorted list of all files.

    Raises:
        SchemaError: if there are no files of rows, none can be read, or none of the sampled ones has a row.
    """
    listed = batches.inputs(data)
    shards = listed.shards
    step = max(1, len(shards) / FILES)
    chosen = [shards[int(i * step)] for i in range(min(FILES, len(shards)))]
    frames: list[pl.DataFrame] = []
    unreadable: dict[str, str] = dict(listed.unusable)
    for shard in chosen:
        try:
            frames.append(_first_rows(shard, -(-ROWS // len(chosen))))
        except (SchemaError, OSError) as error:
            if (frame := _conversations(shard, -(-ROWS // len(chosen)))).is_empty():
                unreadable[shard.relative] = str(error)
            frames.append(frame)
    frames = [frame for frame in frames if not frame.is_empty()]
    if not frames:
        reason = next(iter(unreadable.values()), f"the {len(chosen)} files that were looked at have no rows")
        raise SchemaError(reason)
    size = sum(files.size(shard.path) for shard in shards)
    frame = pl.concat(frames, how="diagonal_relaxed")
    return DataSample(frame, shards, size, _rows(shards), len(frames), unreadable, listed.warnings)


def _first_rows(shard: Shard, count: int) -> pl.DataFrame:
    """Return the first rows of a file with all its columns. Bad lines are left out."""
    for batch in batches.record_batches(shard, rows=count, reading=Reading(bad_lines=BadLines())):
        return _frame(batch.slice(0, count))
    return pl.DataFrame()


def _conversations(shard: Shard, count: int) -> pl.DataFrame:
    """Return the first rows of a file of conversations whose messages have several types; empty for any other file.

    Such a column fits no type of a table, but it can be rendered. Each text becomes a conversation of one message,
    which is rendered as the same text.
    """
    try:
        names = tuple(readers.head(shard).columns) if has_lines(shard) else ()
    except (SchemaError, OSError):
        return pl.DataFrame()
    for name in names:
        rendered = _first_column(shard, name, count, ColumnMapping(render=CHAT))
        if rendered is None or not len(rendered):
            continue
        messages = [None if text is None else _one_message(text) for text in rendered.to_list()]
        columns = [_first_column(shard, other, count) for other in names if other != name]
        others = [column for column in columns if column is not None and len(column) == len(rendered)]
        return pl.DataFrame([pl.Series(name, messages), *others])
    return pl.DataFrame()


def _one_message(text: str) -> list[dict[str, str]]:
    role, _, content = text.partition(": ")
    return [{"role": role, "content": content}]


def _first_column(shard: Shard, name: str, count: int, mapping: ColumnMapping = UNMAPPED) -> pl.Series | None:
    """Return the first values of a column; None if it cannot be read."""
    reading = Reading(name if mapping.render else TEXT, batch_rows=count, bad_lines=BadLines(), mapping=mapping)
    column = TEXT if mapping.render else name
    try:
        batch = next(batches.batches(shard, (column,), reading=reading, identity=()), None)
    except (SchemaError, OSError):
        return None
    return None if batch is None else batch[column].alias(name)


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Return a batch without the columns that Polars cannot hold, such as those of unions."""
    columns: dict[str, pl.Series] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = pl.Series(name, pl.from_arrow(array))
        except (pl.exceptions.PolarsError, TypeError, ValueError, NotImplementedError):
            continue
    return pl.DataFrame(columns)


def _rows(shards: Sequence[Shard]) -> int | None:
    """Return the rows of all files; None if a file does not say, or there are too many files to ask."""
    if len(shards) > HEADS:
        return None
    total = 0
    for shard in shards:
        try:
            rows = readers.head(shard).rows
        except (SchemaError, OSError):
            continue
        if rows is None:
            return None
        total += rows
    return total
