"""Return the scores of a job as one frame.

In: the result of a scoring job. Out: the columns of its score files, one row for each row of the data, in order.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from curate.scoring import table_input
from curate.scoring.reports.result import Scored
from curate.storage import disk_errors
from curate.storage.scratch import scratch_folder
from curate.tables import batches, frames, scored
from curate.tables.columns import vectors
from curate.tables.shards import Shard


@contextmanager
def output_folder(out: str | Path | None) -> Iterator[Path]:
    """Yield the output folder; None stands for a scratch folder, which is removed at the end."""
    if out is not None:
        yield Path(out)
        return
    with scratch_folder() as place, disk_errors.scratch_errors(place):
        with frames.shown_as({str(table_input.path(place)): "the table", str(place): "the folder of the scores"}):
            yield place


def frame(result: Scored) -> pl.DataFrame:
    """Return all scores of a job as a frame, with vectors as arrays of numbers.

    What the user should know, such as how many lines cannot be read, becomes a warning of Python.
    """
    for line in result.warnings:
        # The third caller is the line of the user that calls `score`.
        warnings.warn(line, stacklevel=3)
    # Only files with class labels have the column `label`.
    return pl.concat(map(_frame_of, scored.score_files(result.out)), how="diagonal_relaxed")


def _frame_of(shard: Shard) -> pl.DataFrame:
    """Return the columns of one score file, in its order."""
    columns = batches.columns(shard)
    arrays = [name for name in columns if name.startswith(vectors.PREFIX)]
    others = [name for name in columns if name not in arrays]
    table = pl.read_parquet(shard.path, columns=others, glob=False, hive_partitioning=False)
    if not arrays:
        return table
    if table.is_empty():
        return pl.DataFrame({name: [] for name in columns}, schema={**table.schema, **dict.fromkeys(arrays, pl.Null)})
    return table.hstack(pl.concat(batches.batches(shard, arrays, identity=())))[:, list(columns)]
