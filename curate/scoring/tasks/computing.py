"""Compute columns of scorers for the rows of a task, before the score file is written.

In: tasks, with the stages of columns that are there. Out: one more stage of columns on disk (`learning.columns`).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from curate.scoring import parts, worker
from curate.scoring.learning import small_columns
from curate.scoring.learning.columns import ColumnFolder
from curate.scoring.learning.learned_scorers import AnyScorer
from curate.scoring.learning.small_columns import SharedFile, SmallColumns
from curate.scoring.tasks.judging import judged
from curate.scoring.tasks.scoring_task import TOGETHER, ScoringOutcome, ScoringTask
from curate.storage import files
from curate.tables import writer
from curate.tables.formats.bad_lines import BadLines
from curate.tables.scored_inputs import line_losses, row_hash
from curate.tables.scored_inputs.row_hash import RowHasher
from curate.tables.shards import has_lines


def compute_tasks(scorers: tuple[AnyScorer, ...], bare_tasks: Sequence[ScoringTask]) -> list[ScoringOutcome]:
    """Compute the columns of scorers for the rows of tasks, as the next stage of their columns.

    The first stage also hashes the rows. It shows whether a shard is bad before scorers learn from it. The columns of
    small shards are written together.
    """
    outcomes: list[ScoringOutcome] = []
    # Files have the same columns if the labels of all their shards are among them, or of none.
    small: dict[tuple[str, ...], list[ScoringTask]] = {}
    for task in (bare.with_scorers(scorers) for bare in bare_tasks):
        if isinstance(task.columns, SmallColumns):
            small.setdefault(tuple(task.stage_schema), []).append(task)
        else:
            outcomes.append(judged(task, _compute))
    for tasks in small.values():
        for low in range(0, len(tasks), TOGETHER):
            outcomes += _compute_small(tasks[low : low + TOGETHER])
    return outcomes


def stored_outcomes(small_folder: Path, stage: int) -> dict[tuple[str, str], ScoringOutcome]:
    """Return the outcomes of tasks whose small shards have columns of a stage on disk, by name and stamp of the shard.

    A job that was killed continues with them.
    """
    stored: dict[tuple[str, str], ScoringOutcome] = {}
    for index in small_columns.indices(small_folder, stage):
        for outcome in msgspec.json.decode(index, type=list[ScoringOutcome]):
            if outcome.place is not None:
                stored[outcome.shard, outcome.place.stamp] = outcome
    return stored


def _compute(task: ScoringTask, bad_lines: BadLines) -> ScoringOutcome:
    """Write the columns of a stage, as far as they are missing."""
    assert isinstance(task.columns, ColumnFolder)
    stage, schema = task.columns.stages, task.stage_schema
    folder = task.columns.stage(stage)
    if not stage:
        task.columns.discard_stale(task.stamp)
    _, position, ended = parts.done_parts(folder, task.start, task.stop)
    hasher = None if stage else RowHasher()
    if not ended:
        frames = (frame[:, list(schema)] for frame in worker.recorded(task, position, bad_lines, hasher))
        worker.write_parts(task, folder, frames, schema, position, hasher)
    if stage:
        return ScoringOutcome(task.shard.relative, 0, start=task.start, computed=tuple(schema))
    # Listed after the last part is written: parts that lay behind a gap were written again.
    stored = [writer.part(path) for path in task.columns.files(0)]
    blocks, names = parts.hashed(stored) or ([], ())
    if has_lines(task.shard):
        # Where nothing was left to read, the record tells which lines are bad.
        for row, reason in line_losses.table(task.out, task.shard.relative).iter_rows():
            if row not in bad_lines.numbers:
                bad_lines.add(row, reason or "")
    digest = "" if len(task.spans) > 1 else row_hash.combined(blocks)
    rows = sum(part.rows for part in stored)
    return ScoringOutcome(
        task.shard.relative,
        rows,
        digest,
        names,
        start=task.start,
        blocks=tuple(blocks),
        computed=tuple(schema),
    )


def _compute_small(tasks: Sequence[ScoringTask]) -> list[ScoringOutcome]:
    """Write the columns of a stage of several small shards as one file."""
    small = tasks[0].columns
    assert isinstance(small, SmallColumns)
    inputs = [(task.shard.relative, task.stamp) for task in tasks]
    # What the file needs beside it, such as the records of bad lines, is moved into place before the file is.
    with files.together(), small_columns.shared_file(small.folder, small.stages, inputs, tasks[0].stage_schema) as file:
        outcomes = [judged(task, partial(_append, file)) for task in tasks]
        file.end(msgspec.json.encode([outcome for outcome in outcomes if outcome.reason is None]))
    return outcomes


def _append(file: SharedFile, task: ScoringTask, bad_lines: BadLines) -> ScoringOutcome:
    """Add the columns of a stage of one small shard to a file."""
    assert isinstance(task.columns, SmallColumns)
    schema, hasher = task.stage_schema, None if task.columns.stages else RowHasher()
    frames = (frame[:, list(schema)] for frame in worker.recorded(task, 0, bad_lines, hasher))
    rows, place = file.add(frames, task.stamp)
    blocks, names = task.columns.hashed() if hasher is None else (hasher.blocks(), hasher.columns)
    return ScoringOutcome(
        task.shard.relative,
        rows,
        row_hash.combined(blocks),
        names,
        blocks=tuple(blocks),
        computed=tuple(schema),
        place=place,
    )
