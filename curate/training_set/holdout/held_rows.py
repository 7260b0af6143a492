"""Write the rows that are held out: first those of every data file, then the files of the split.

In: the index of every data file. Out: Parquet files of the held-out rows, in the order of data files and rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from curate.errors import Interrupted
from curate.storage.files import replacing
from curate.tables import batches
from curate.training_set import shuffle
from curate.training_set.columns import NO_COLUMNS, TRAINING, InputSchema
from curate.training_set.data_files import DataFile
from curate.training_set.ordering import pieces
from curate.training_set.ordering.cells import INDEX, index_path

SPLIT = "holdout"  # the name of the split, and of its folder in the training set
FOLDER = f"{SPLIT}/data"


@dataclass(frozen=True)
class CollectTask:
    """A data file whose held-out rows are to be collected. ``pools`` are the names of all pools by their number.

    ``columns`` are those of which texts are made.
    """

    file: DataFile
    folder: Path
    pools: tuple[str, ...]
    tag: str
    columns: InputSchema = NO_COLUMNS


@dataclass(frozen=True)
class HeldFile:
    """A file of the split to be written: its rows are [start, end) of ``collected``, files with their rows in order."""

    path: Path
    collected: tuple[tuple[Path, int], ...]
    start: int
    end: int


def collected_path(folder: Path, number: int) -> Path:
    """Return the file with the held-out rows of a data file."""
    return folder / f"{number:05d}.held.arrow"


def collect(task: CollectTask) -> int:
    """Write the held-out rows of a data file, and return the number of the file."""
    index = pieces.opened(index_path(task.folder, task.file.number))
    # They are listed behind the last pool, in the order of pools and rows of each run.
    records = np.concatenate([np.zeros(0, INDEX), *pieces.read(index, len(task.file.pools))])
    records = records[np.argsort(records["row"], kind="stable")]
    names = pl.Series(task.pools, dtype=pl.String).gather(records["key"].astype(np.int64))
    table = pl.DataFrame({"row": records["row"], "tokens": records["tokens"], "pool": names})
    with replacing(collected_path(task.folder, task.file.number)) as temporary:
        columns = {**TRAINING, **task.columns.polars}
        schema = pl.DataFrame(schema=columns).to_arrow(compat_level=shuffle.ARROW).schema
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(temporary, schema, options=options) as writer:
            for frame in _rows(task, table) if table.height else ():
                for batch in frame.to_arrow(compat_level=shuffle.ARROW).to_batches():
                    writer.write_batch(batch)
    return task.file.number


def _rows(task: CollectTask, held: pl.DataFrame) -> Iterator[pl.DataFrame]:
    start = 0
    for batch in shuffle.texts(task.file, task.tag, task.columns):
        end = start + batch.height
        first, last = held["row"].search_sorted(np.array([start, end])).to_list()
        part = held[first:last]
        if part.height:
            frame = batch[part["row"] - start].with_columns(part["tokens"], part["pool"], epoch=pl.lit(0, pl.Int32))
            yield frame.select(*TRAINING, *task.columns.names)
        start = end


def _rows_between(path: Path, start: int, end: int) -> Iterator[pl.DataFrame]:
    """Yield the rows [``start``, ``end``) of a file of `collect`, a batch at a time: the file may be large."""
    first = 0
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        for batch in map(reader.get_batch, range(reader.num_record_batches)):
            low, high = max(start - first, 0), min(end - first, batch.num_rows)
            if low < high:
                yield pl.DataFrame(pl.from_arrow(batch.slice(low, high - low)))
            first += batch.num_rows


def rows(folder: Path, file: DataFile) -> int:
    """Return how many rows of an indexed data file are held out."""
    place = len(file.pools)
    return pieces.count(pieces.opened(index_path(folder, file.number)), place, place + 1)


def files_of(folder: Path, collected: Sequence[tuple[Path, int]], shard_rows: int) -> list[HeldFile]:
    """Return the files of the split below ``folder``."""
    total = sum(count for _, count in collected)
    return [
        HeldFile(folder / shuffle.part_name(number), tuple(collected), start, min(start + shard_rows, total))
        for number, start in enumerate(range(0, total, shard_rows))
    ]


def write(task: HeldFile) -> int:
    """Write a file of the split, and return its rows.

    Raises:
        Interrupted: if the collected files do not hold its rows any more.
    """
    frames, position = list[pl.DataFrame](), 0
    for path, count in task.collected:
        if position < task.end and task.start < position + count:
            frames += _rows_between(path, task.start - position, task.end - position)
        position += count
    frame = pl.concat(frames) if frames else pl.DataFrame()
    if frame.height != task.end - task.start:
        raise Interrupted(
            f"{task.path} needs {task.end - task.start} rows, and {frame.height} are there. Use --restart"
        )
    tokens = int(frame["tokens"].sum())
    batches.write(task.path, frame.iter_slices(shuffle.ROW_GROUP), metadata={"tokens": str(tokens)})
    return frame.height
