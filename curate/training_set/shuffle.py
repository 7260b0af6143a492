"""Bring copies of rows to their places: first a spill for every data file, then the output shards.

In: data files and places. Out: Parquet shards.
An engine runs the two functions. Each writes one file that appears when it is whole, so a file that exists is done.
Memory: `scatter` holds a run of copies, and `gather` one shard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from curate.errors import Interrupted
from curate.storage.files import replacing
from curate.tables import batches as tables
from curate.training_set import tags
from curate.training_set.columns import NO_COLUMNS, SLOT, TRAINING, InputSchema, beside
from curate.training_set.data_files import DataFile
from curate.training_set.ordering import pieces, windows
from curate.training_set.ordering.pieces import KeyedFile

RUN_BYTES = 1 << 26  # of copies sorted and spilled at a time; a worker's memory is about four times that
ROW_GROUP = 1024  # rows in a row group of the output: readers can shuffle and skip in steps of a few MB
ARROW = pl.CompatLevel.oldest()  # plain large strings, which Arrow files and all their readers know


@dataclass(frozen=True)
class ScatterTask:
    """A data file whose copies are to be spilled.

    ``pools`` are the names of all pools in the order of their numbers. ``blocks`` are the numbers of the file's first
    block of rows, and of the first block of the next file. ``tag`` is the column of tags, or empty. ``columns`` are
    those that texts are made of.
    """

    file: DataFile
    folder: Path
    pools: tuple[str, ...]
    blocks: tuple[int, int]
    shard_rows: int
    shards: int
    tag: str = ""
    columns: InputSchema = NO_COLUMNS


@dataclass(frozen=True)
class GatherTask:
    """A shard to be written: its number and file, and the places [start, end) of the training set in it."""

    number: int
    path: Path
    folder: Path
    start: int
    end: int
    shards: int


def spill_path(folder: Path, number: int) -> Path:
    """Return the file with the copies of a data file."""
    return folder / f"{number:05d}.spill.arrow"


PART_FILES = "part-*.parquet"  # the glob of all output shards


def part_name(number: int) -> str:
    """Return the name of an output shard."""
    return f"part-{number:05d}.parquet"


def scatter(task: ScatterTask) -> int:
    """Spill every copy that comes from a data file, sorted by place, and return how many.

    A run of copies is written as one record batch for each output shard, so that `gather` finds its rows by number.
    """
    written = 0
    with replacing(spill_path(task.folder, task.file.number)) as temporary:
        columns = {**TRAINING, **task.columns.polars, SLOT: pl.Int64()}
        schema = pl.DataFrame(schema=columns).to_arrow(compat_level=ARROW).schema
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(temporary, schema, options=options) as writer:
            for run in _runs(_copies(task)):
                (batch,) = run.to_arrow(compat_level=ARROW).to_batches()
                # Every run writes one batch for each shard, empty ones included: so batch k of the file belongs to
                # shard k modulo the number of shards.
                cuts = run[SLOT].search_sorted(np.arange(task.shards + 1) * task.shard_rows).to_list()
                for start, end in pairwise(cuts):
                    writer.write_batch(batch.slice(start, end - start))
                written += run.height
    return written


def gather(task: GatherTask) -> int:
    """Write one output shard, which is its copies from all spills in order, and return its number.

    Raises:
        Interrupted: if the spills do not hold exactly the rows of the shard.
    """
    batches: list[pa.RecordBatch] = []
    for path in sorted(task.folder.glob("*.spill.arrow")):
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
            runs = range(task.number, reader.num_record_batches, task.shards)
            batches += [batch for batch in map(reader.get_batch, runs) if batch.num_rows]
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches))).sort(SLOT) if batches else pl.DataFrame()
    # The places must be exactly those of this shard: a missing or doubled row is noticed here.
    if not (batches and np.array_equal(frame[SLOT].to_numpy(), np.arange(task.start, task.end))):
        raise Interrupted(
            f"{task.path} needs {task.end - task.start} rows, and {task.folder} holds {frame.height} for it: an input "
            "or that folder changed meanwhile. Use --restart"
        )
    tokens = int(frame["tokens"].sum())
    tables.write(task.path, frame.drop(SLOT).iter_slices(ROW_GROUP), metadata={"tokens": str(tokens)})
    return task.number


def _runs(copies: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield copies sorted by place, about ``RUN_BYTES`` at a time."""
    run: list[pa.Table] = []
    size = 0
    for frame in copies:
        # This copies the rows. A filtered polars frame would keep the text of its whole batch in memory.
        run.append(frame.to_arrow(compat_level=ARROW))
        size += run[-1].nbytes
        if size >= RUN_BYTES:
            yield _sorted(run)
            run, size = [], 0
    if run:
        yield _sorted(run)


def _sorted(run: list[pa.Table]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(pa.concat_tables(run))).sort(SLOT).rechunk()


def _copies(task: ScatterTask) -> Iterator[pl.DataFrame]:
    """Yield the copies of a data file with their places, a batch and pass at a time."""
    opened = [pieces.opened(path) for path in sorted(task.folder.glob("*.window"))]
    first, last = task.blocks
    if not any(pieces.count(window, first, last) for window in opened):
        return
    pools = pl.Series(task.pools, dtype=pl.String)
    blocks, waiting, start = iter(range(first, last)), _places(opened, None), 0
    end_of_blocks = 0  # the row after those of all blocks that are read
    for frame in texts(task.file, task.tag, task.columns):
        end = start + frame.height
        while end_of_blocks < end and (block := next(blocks, None)) is not None:
            waiting = np.concatenate([waiting, _places(opened, block)])
            end_of_blocks += windows.BLOCK_ROWS
        cut = int(np.searchsorted(waiting["row"], end))
        places, waiting = waiting[:cut], waiting[cut:]
        for epoch in np.unique(places["epoch"]).tolist():
            drawn = places[places["epoch"] == epoch]
            columns = [pl.Series(name, drawn[name]) for name in ("tokens", SLOT)]
            copies = frame[drawn["row"] - start].with_columns(
                *columns, pools.gather(drawn["pool"]).alias("pool"), epoch=pl.lit(epoch, dtype=pl.Int32)
            )
            yield copies.select(*TRAINING, *task.columns.names, SLOT)
        start = end


def texts(file: DataFile, tag: str, columns: InputSchema = NO_COLUMNS) -> Iterator[pl.DataFrame]:
    """Yield the ids, sources and texts of a data file, batch by batch, with the tags of the column ``tag``.

    ``columns`` are those of which texts are made; they come with the texts.
    """
    frames = _tagged(file, tag)
    yield from beside(frames, file, columns) if columns.names else frames


def _tagged(file: DataFile, tag: str) -> Iterator[pl.DataFrame]:
    for batch in tables.batches(file.data, ("text", tag) if tag else ("text",), reading=file.reading):
        # A file of which every text is null has no text type of its own.
        frame = batch.select("id", "source", pl.col("text").cast(pl.String))
        if tag:
            frame = frame.with_columns(tags.tags(tag, batch[tag], file.data).alias("text") + frame["text"])
        yield frame


def _places(opened: Sequence[KeyedFile], block: int | None) -> np.ndarray:
    """Return the places of the copies of a block of rows, sorted by row; without a block none."""
    parts = [] if block is None else [part for window in opened for part in pieces.read(window, block)]
    places = np.concatenate([np.zeros(0, dtype=windows.PLACE), *parts])
    return places[np.argsort(places["row"], kind="stable")]
