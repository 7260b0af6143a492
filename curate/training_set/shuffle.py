"""Bring copies of rows to their places: first a spill for every data file, then the output shards.

In: data files, indexes and places. Out: Parquet shards.
An engine runs the two functions. Each writes one file that appears when it is whole, so a file that exists is done.
Memory: `scatter` holds a run of copies, and `gather` one shard.
"""

from collections.abc import Iterator
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
from curate.training_set import placement
from curate.training_set.row_index import DataFile, index_path

RUN_BYTES = 1 << 26  # of copies sorted and spilled at a time; a worker's memory is about four times that
ROW_GROUP = 1024  # rows in a row group of the output: readers can shuffle and skip in steps of a few MB
ARROW = pl.CompatLevel.oldest()  # plain large strings, which Arrow files and all their readers know
TRAINING = {
    "id": pl.String(),
    "source": pl.String(),
    "text": pl.String(),
    "tokens": pl.Int64(),
    "pool": pl.String(),
    "epoch": pl.Int32(),
}


@dataclass(frozen=True)
class ScatterTask:
    """A data file whose copies are to be spilled.

    ``starts`` holds for each pool the place of this file's first row among the pool's rows.
    """

    file: DataFile
    folder: Path
    starts: tuple[int, ...]
    shard_rows: int
    shards: int


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


def part_name(number: int) -> str:
    """Return the name of an output shard."""
    return f"part-{number:05d}.parquet"


def scatter(task: ScatterTask) -> int:
    """Spill every copy that comes from a data file, sorted by place, and return how many.

    A run of copies is written as one record batch for each output shard, so that `gather` finds its rows by number.
    """
    written = 0
    with replacing(spill_path(task.folder, task.file.number)) as temporary:
        schema = pl.DataFrame(schema={**TRAINING, "slot": pl.Int64()}).to_arrow(compat_level=ARROW).schema
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(temporary, schema, options=options) as writer:
            for run in _runs(_copies(task)):
                (batch,) = run.to_arrow(compat_level=ARROW).to_batches()
                # Every run writes one batch for each shard, empty ones included: so batch k of the file belongs to
                # shard k modulo the number of shards.
                cuts = run["slot"].search_sorted(np.arange(task.shards + 1) * task.shard_rows).to_list()
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
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches))).sort("slot") if batches else pl.DataFrame()
    # The places must be exactly those of this shard: a missing or doubled row is noticed here.
    if not (batches and np.array_equal(frame["slot"].to_numpy(), np.arange(task.start, task.end))):
        raise Interrupted(
            f"{task.path} needs {task.end - task.start} rows, and {task.folder} holds {frame.height} for it: an input "
            "or that folder changed meanwhile. Use --restart"
        )
    tokens = int(frame["tokens"].sum())
    tables.write(task.path, frame.drop("slot").iter_slices(ROW_GROUP), metadata={"tokens": str(tokens)})
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
    return pl.DataFrame(pl.from_arrow(pa.concat_tables(run))).sort("slot").rechunk()


def _copies(task: ScatterTask) -> Iterator[pl.DataFrame]:
    """Yield the copies of a data file with their places, a batch and pass at a time."""
    index = pl.read_parquet(index_path(task.folder, task.file.number), glob=False)
    pools = [(number, pool, index.filter(pl.col("pool") == number)) for number, pool in task.file.pools]
    paths = {number: placement.slots_path(task.folder, number) for number, _ in task.file.pools}
    slots = {number: np.load(path, mmap_mode="r") for number, path in paths.items() if path.is_file()}
    pools = [(number, pool, rows) for number, pool, rows in pools if number in slots and rows.height]
    if not pools:
        return
    start = 0
    for batch in tables.batches(task.file.data, ("text",), reading=task.file.reading):
        # A file of which every text is null has no text type of its own.
        frame = batch.with_columns(pl.col("text").cast(pl.String))
        # The index lists rows in the order of the file, so those of this batch are one stretch.
        for number, pool, rows in pools:
            low, high = rows["row"].search_sorted(np.array([start, start + batch.height])).to_list()
            places = slots[number][:, task.starts[number] + low : task.starts[number] + high]
            members = frame[(rows["row"][low:high] - start).to_numpy()].with_columns(
                rows["tokens"][low:high], pl.lit(pool.name).alias("pool")
            )
            for epoch in range(len(places)):
                slot = pl.Series("slot", np.asarray(places[epoch]))
                copies = members.with_columns(slot, epoch=pl.lit(epoch, dtype=pl.Int32)).select(*TRAINING, "slot")
                if (drawn := copies.filter(pl.col("slot") != placement.NOT_DRAWN)).height:
                    yield drawn
        start += batch.height
