"""Prune a table of scores in memory, and return decisions as a frame.

In: a table of scores. Out: a folder of score files for `prune`, in the system's temporary folder; and decisions as one
frame.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import polars as pl

from curate.errors import SchemaError
from curate.pruning.make_pools import Folder, folder
from curate.pruning.requirements.reading import Requirements
from curate.storage import artifacts, disk_errors, files, manifest, s3
from curate.storage.scratch import scratch_folder
from curate.tables import frames, scored, writer
from curate.tables.frames import ArrowExportable
from curate.tables.reading import BATCH_ROWS
from curate.tables.scored import DECISIONS, SCORES

NAME = "table.parquet"  # of the file that holds the table, as the input of its own scores
ScoresToPrune = Folder | frames.Table


def is_table(scores: ScoresToPrune) -> bool:
    """Return whether scores are a table in memory, and not a folder or a result that was written to one."""
    return isinstance(scores, pl.LazyFrame | ArrowExportable)


@contextmanager
def score_folder(scores: ScoresToPrune) -> Iterator[Path]:
    """Yield the folder of scores. A table in memory is written to a scratch folder, which is removed at the end.

    The table is also recorded as the data that was scored, so that conditions and examples find all its columns.
    """
    if isinstance(scores, str | Path) or (hasattr(scores, "out") and not is_table(scores)):
        yield folder(cast(Folder, scores))
        return
    table = frames.frame(cast(frames.Table, scores))
    with scratch_folder() as place, disk_errors.scratch_errors(place):
        output, data = place / "table", place / "data" / NAME
        score_file = output / (NAME + SCORES)
        names = dict.fromkeys(map(str, (score_file, data, output)), "the table")
        with frames.shown_as({**names, "the score files": "the columns of the table"}):
            writer.write(score_file, table.iter_slices(writer.GROUP_ROWS), schema=dict(table.schema))
            data.parent.mkdir()
            os.link(score_file, data)
            record = {"data": [str(data)], "scorers": ["table"], "text_column": "text", "batch_rows": BATCH_ROWS}
            artifacts.save(scored.record_path(output), "score_job", record)
            yield output


def check(required: Requirements, out: Path | None) -> None:
    """Check that a table in memory has what a call of `prune` needs.

    Raises:
        SchemaError: if groups of duplicates must be formed again, or decisions about the table are to be written.
    """
    if out is not None:
        raise SchemaError(
            f"out={str(out)!r}: decisions about a table in memory are returned, and not written. Call prune without "
            "out, or give the folder that `score` wrote"
        )
    if required.plain and required.regrouping:
        bound = required.regrouping[0].text
        raise SchemaError(
            f"--require {bound!r} beside other conditions forms groups of duplicates again, from links that a table in "
            "memory does not have. Give the folder that `score` wrote; or prune twice, first by the other conditions"
        )


def decisions(place: Path) -> pl.DataFrame:
    """Return the decisions about all rows in the folder ``place``, in file and row order: id, source, keep, reason."""
    paths = [path for path in files.below(place, DECISIONS) if manifest.FOLDER not in path.relative_to(place).parts]
    # In the order of the score files: by their names without the ending.
    ordered = sorted(paths, key=lambda path: path.relative_to(place).as_posix().removesuffix(DECISIONS))
    return pl.concat(pl.read_parquet(s3.shown(path), glob=False, hive_partitioning=False) for path in ordered)
