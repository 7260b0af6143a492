"""The steps of a drawing that hold rows out: choose their groups, and write their rows.

In: a drawing job. Out: the mask of the groups that are held out, and the files of their split.
"""

from pathlib import Path
from typing import cast

import numpy as np

from curate.errors import SchemaError
from curate.storage import artifacts
from curate.storage.files import replacing
from curate.training_set import row_index, shuffle
from curate.training_set.columns import InputSchema
from curate.training_set.drawing_job import DrawingJob
from curate.training_set.holdout import groups, held_rows
from curate.training_set.holdout.groups import BUCKETS, GroupRule
from curate.training_set.holdout.held_rows import CollectTask
from curate.training_set.row_index import IndexTask

HELD = "held_rows"  # the field of the recorded draws with the number of rows that are held out


def chosen_groups(job: DrawingJob) -> tuple[GroupRule | None, Path | None]:
    """Return how rows are grouped for the holdout, and the file with the mask of the buckets that are held out."""
    if job.holdout is None:
        return None, None
    links = []
    # Values of a column make the groups, so that links are not read for them.
    for number, scores in enumerate(job.score_folders if not job.holdout.by else ()):
        if (linked := groups.save_links(Path(scores), job.folder / f"links-{number}.npy")) is not None:
            links.append((scores, linked))
    rule = GroupRule(job.holdout.by, job.seed, tuple(links))
    held = job.folder / "held.npy"
    if not held.is_file():
        tasks = [IndexTask(file, job.folder, job.seed, groups=rule) for file in job.data_files]
        sizes = np.zeros(BUCKETS, dtype=np.int64)
        for done, (buckets, tokens) in enumerate(job.engine.run(row_index.count_groups, tasks), start=1):
            sizes[buckets] += tokens
            job.progress("files with groups counted", done, len(tasks))
        mask = groups.chosen(sizes, job.holdout.share)
        with replacing(held) as temporary, temporary.open("wb") as handle:
            np.save(handle, mask, allow_pickle=False)
    return rule, held


def write_held(job: DrawingJob, names: tuple[str, ...], columns: InputSchema) -> None:
    """Collect the held-out rows of every data file, and write them to the files of their split."""
    counts = [(file, count) for file in job.data_files if (count := held_rows.rows(job.folder, file))]
    collected = [(held_rows.collected_path(job.folder, file.number), count) for file, count in counts]
    tasks = [
        CollectTask(file, job.folder, names, job.tag, columns)
        for (file, _), (path, _) in zip(counts, collected, strict=True)
        if not path.is_file()
    ]
    job.run("files with held-out rows read", held_rows.collect, tasks, total=len(counts))
    parts = held_rows.files_of(job.out / held_rows.FOLDER, collected, job.shard_rows)
    absent = [part for part in parts if not part.path.is_file()]
    job.run("files of the holdout written", held_rows.write, absent, total=len(parts))


def held_files(job: DrawingJob) -> list[Path]:
    """Return the files of the rows that are held out; none where nothing is, or where no draw is planned yet."""
    if job.holdout is None or not job.order.is_file():
        return []
    record = artifacts.load(job.order, "drawn_rows")
    if HELD not in record:
        raise SchemaError(f"{job.order} has no field {HELD!r}: {artifacts.AGAIN}")
    total = cast(int, record[HELD])
    return [job.out / held_rows.FOLDER / shuffle.part_name(i) for i in range(-(-total // job.shard_rows))]
