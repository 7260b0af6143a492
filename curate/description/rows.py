"""The rows to describe, from files or from a table in memory, as batches with an identity.

In: paths, or a table. Out: the names of the columns, and a function that reads batches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import polars as pl
import pyarrow as pa

from curate.engines import Engine
from curate.engines.local import Local
from curate.progress import counted
from curate.tables import batches, frames
from curate.tables.columns import vectors
from curate.tables.readers import Head, head
from curate.tables.reading import Reading
from curate.tables.row_ranges import RowRange, row_ranges
from curate.tables.shards import Shard, same_source

R = TypeVar("R")
Data: TypeAlias = frames.Table | Sequence[str | Path]
IN_MEMORY = Shard(Path("data"), "data")  # names the table in messages, in the ids of its rows and as their source


class DescribedPart(Protocol):
    """A part of the rows to describe, such as a range of a file."""

    def read(self, columns: Sequence[str], identity: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield batches with these columns."""
        ...


@dataclass(frozen=True)
class DescribedRange:
    """Some rows of a file."""

    rows: RowRange
    reading: Reading

    def __str__(self) -> str:
        """Return the path of the file, and which rows of it."""
        return str(self.rows)

    def read(self, columns: Sequence[str], identity: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield batches with these columns."""
        shard, reading, first = self.rows.shard, self.reading, self.rows.first
        frames = batches.batches(
            shard, columns, reading=reading, identity=identity, size=batches.BATCH_BYTES, start=first
        )
        return self.rows.cut(frames)


@dataclass(frozen=True)
class DescribedFrame:
    """Rows in memory."""

    frame: pl.DataFrame

    def read(self, columns: Sequence[str], identity: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield batches with these columns."""
        return self.frame.select(*identity, *columns).iter_slices(batches.BATCH_ROWS)


@dataclass(frozen=True)
class Rows:
    """A data set that can be read many times, in ``parts`` that the engine reads.

    ``labelled`` says whether all rows have a label column. ``inputs`` are the files, ``tables`` the content hashes of
    tables in memory, by the name of the argument. ``warnings`` say which files are not read.
    """

    parts: tuple[DescribedPart, ...]
    labelled: bool
    engine: Engine
    inputs: tuple[Path, ...] = ()
    tables: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def map(
        self, function: Callable[[Iterator[pl.DataFrame]], R], columns: Sequence[str], identity: Sequence[str]
    ) -> Iterator[R]:
        """Yield what an importable function returns of the batches of every part, as the parts are done."""
        task = partial(_of_part, function, tuple(columns), tuple(identity))
        return counted(self.engine.run(task, self.parts), "parts of files read", len(self.parts))


def _of_part(
    function: Callable[[Iterator[pl.DataFrame]], R],
    columns: Sequence[str],
    identity: Sequence[str],
    part: DescribedPart,
) -> R:
    return function(part.read(columns, identity))


def open_rows(data: Data, needs: Sequence[str], reading: Reading, engine: Engine, remedy: str = "") -> Rows:
    """Return the rows of files or of a table in memory. ``remedy`` says what to do about a missing column.

    Raises:
        SchemaError: if there are no files, or one of the columns ``needs`` is missing.
    """
    if isinstance(data, str | Path | Sequence):
        listed = batches.inputs(data_names(data))
        rows = from_shards(listed.shards, needs, engine, reading, remedy)
        nameless = [shard for shard in listed.shards if "source" not in batches.columns(shard, reading)]
        warnings = (*listed.warnings, *listed.unusable.values(), *same_source(nameless))
        return replace(rows, warnings=warnings)
    return _from_table(frames.frame(data), needs, reading, remedy)


def data_names(data: Data) -> list[str]:
    """Return the paths of the data as text; of a table in memory what stands for it in messages."""
    if isinstance(data, str | Path):
        return [str(data)]
    return [str(path) for path in data] if isinstance(data, Sequence) else [IN_MEMORY.relative]


def from_shards(
    shards: Sequence[Shard],
    needs: Sequence[str],
    engine: Engine,
    reading: Reading = batches.READING,
    remedy: str = "",
) -> Rows:
    """Return the rows of files. ``remedy`` says what to do about a missing column."""
    for shard in shards:
        batches.require(shard, needs, head(shard, needs, reading.whole_mapping), remedy)
    labelled = all("label" in batches.columns(shard, reading) for shard in shards)
    parts = tuple(DescribedRange(rows, reading) for shard in shards for rows in row_ranges(shard))
    return Rows(parts, labelled, engine, inputs=tuple(shard.path for shard in shards))


def _from_table(table: pl.DataFrame, needs: Sequence[str], reading: Reading, remedy: str) -> Rows:
    table_head = batches.table_head(table, reading, IN_MEMORY.path)
    batches.require(IN_MEMORY, needs, table_head, remedy)
    frame = _prepared(table, needs, table_head)
    # Rows in memory are not worth a copy to a worker.
    return Rows(
        (DescribedFrame(frame),), "label" in frame.columns, Local(1), tables=(("data", frames.content_hash(table)),)
    )


def _prepared(table: pl.DataFrame, needs: Sequence[str], table_head: Head) -> pl.DataFrame:
    """Return the columns to read as they would come from a file: with ids and sources, and vectors as float32."""
    kept = [name for name in table_head.columns if name in {*needs, "id", "source", "label"}]
    pieces = list(batches.from_table(table, kept, IN_MEMORY.path, table_head))
    empty = pa.schema([(name, table_head.columns[name]) for name in kept]).empty_table()
    frame = pl.concat(pieces) if pieces else pl.DataFrame(empty)
    row_name = pl.format(f"{IN_MEMORY.relative}:{{}}", pl.int_range(table.height))
    for name, default in (("id", row_name), ("source", pl.lit(IN_MEMORY.relative))):
        filled = pl.col(name).cast(pl.String).fill_null(default) if name in frame.columns else default
        frame = frame.with_columns(filled.alias(name))
    vectors.check(frame, IN_MEMORY.path, {})
    return frame
