"""Score the rows of a task, and write the score file or parts of it.

A task is pure and idempotent: when it runs twice, on any machine, it writes the same bytes.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import polars as pl

from curate.errors import SchemaError
from curate.scorers import Scorer
from curate.scoring import carried, parts
from curate.scoring.learning import columns
from curate.scoring.learning.columns import ColumnFolder
from curate.scoring.learning.learned_scorers import AnyScorer
from curate.scoring.learning.small_columns import AnyColumns
from curate.scoring.specs import inputs
from curate.scoring.tasks.judging import judged
from curate.scoring.tasks.scoring_task import LABEL, TOGETHER, ScoringOutcome, ScoringTask
from curate.storage import files, manifest
from curate.tables import batches as tables
from curate.tables import writer
from curate.tables.formats.bad_lines import BadLines
from curate.tables.scored_inputs import line_losses, row_hash, scored_rows
from curate.tables.scored_inputs.row_hash import RowHasher
from curate.tables.shards import has_lines
from curate.tables.writer import ScoredPart


def score_tasks(scorers: tuple[AnyScorer, ...], bare_tasks: Sequence[ScoringTask]) -> list[ScoringOutcome]:
    """Score the rows of tasks, and join the parts of a shard if all are there.

    ``bare_tasks`` have no scorers yet. A shard that is one task is recorded as done. Small files are written and
    recorded together.
    """
    outcomes: list[ScoringOutcome] = []
    for low in range(0, len(bare_tasks), TOGETHER):
        tasks = [task.with_scorers(scorers) for task in bare_tasks[low : low + TOGETHER]]
        whole = [task for task in tasks if task.parts is None]
        with files.together() if len(whole) == len(tasks) else nullcontext():
            results = [_score(task) for task in tasks]
        for task, outcome in zip(tasks, results, strict=True):
            if outcome.reason is not None:
                # Whoever reads the folder must not find scores of a shard that is not done.
                files.remove(task.output)
        pairs = zip(tasks, results, strict=True)
        finish([(task, outcome) for task, outcome in pairs if task.parts is None and outcome.reason is None])
        outcomes += results
    return outcomes


def finish(done: Sequence[tuple[ScoringTask, ScoringOutcome]]) -> None:
    """Record that shards are done, and remove the columns that their score files have now."""
    if not done:
        return
    entries = []
    for task, outcome in done:
        entry = manifest.entry(
            scored_rows.SCORE_STEP,
            task.shard.relative,
            task.shard.path,
            digest=outcome.digest,
            config=task.config,
            rows=outcome.rows,
            columns=outcome.columns,
        )
        # The stamp from before the shard was read: a change since then must be seen next time.
        entries.append(replace(entry, stamp=task.stamp))
    manifest.record_all(done[0][0].out, entries)
    for task, _ in done:
        # The columns of small shards are removed when the job ends.
        if isinstance(task.columns, ColumnFolder):
            files.remove(task.columns.path)


def _score(task: ScoringTask) -> ScoringOutcome:
    """Score the rows of a task. An error leaves no score file of its shard."""
    try:
        return judged(task, _score_whole if task.parts is None else _score_parts)
    except SchemaError:
        files.remove(task.output)
        raise


def _score_whole(task: ScoringTask, bad_lines: BadLines) -> ScoringOutcome:
    """Write the score file of a shard that is one task."""
    hasher = RowHasher()
    rows = writer.write_whole(task.output, recorded(task, 0, bad_lines, hasher), task.schema, task.fields)
    if task.columns is not None:
        blocks, names = task.columns.hashed()
    else:
        blocks, names = hasher.blocks(), hasher.columns
    return ScoringOutcome(task.shard.relative, rows, row_hash.combined(blocks), tuple(names), whole=True)


def _score_parts(task: ScoringTask, bad_lines: BadLines) -> ScoringOutcome:
    """Write the parts of a task that are missing. Join all parts of the shard if they are there."""
    folder, schema = task.parts or Path(), task.schema
    _, position, ended = parts.done_parts(folder, task.start, task.stop)
    # A killed job continues after the last part that it finished.
    hasher = None if task.columns is not None else RowHasher()
    written = 0
    if not ended:
        frames = recorded(task, position, bad_lines, hasher)
        written = sum(part.rows for part in write_parts(task, folder, frames, schema, position, hasher))
    if (complete := parts.complete(folder, task.spans)) is not None:
        writer.join(task.output, complete, schema, task.fields)
    return ScoringOutcome(task.shard.relative, written, whole=complete is not None)


def write_parts(
    task: ScoringTask,
    folder: Path,
    frames: Iterator[pl.DataFrame],
    schema: dict[str, pl.DataType],
    position: int,
    hasher: RowHasher | None,
) -> list[ScoredPart]:
    """Write the rows from ``position`` to the end of a task as parts."""
    written: list[ScoredPart] = []
    ended = False
    while not ended:
        part_frames = parts.until(frames, parts.PART_ROWS)
        part = writer.write_part(parts.part_path(folder, position), part_frames, schema, hasher, task.stamp)
        written.append(part)
        rows, position = part.rows, position + part.rows
        ended = rows < parts.PART_ROWS if task.stop is None else position == task.stop
        if not ended and rows < parts.PART_ROWS:
            raise SchemaError(
                f"{task.shard.path} has {position} rows instead of {task.stop} or more: it is damaged, or it changed "
                "while it was read. Repair it, and score again"
            )
    return written


def recorded(task: ScoringTask, start: int, bad_lines: BadLines, hasher: RowHasher | None) -> Iterator[pl.DataFrame]:
    """Yield the scores from row ``start`` on, and record the bad lines after the last row.

    The record is in place before the score file or its last part. So a job that reads these can skip the same lines.
    """
    yield from scored(task, start, task.stop, bad_lines, hasher)
    # A file of lines is read by one task from its first line on, even if that task skips rows that are scored already.
    if has_lines(task.shard) and (task.columns is None or not task.columns.stages):
        line_losses.save(task.out, task.shard, bad_lines)


def scored(
    task: ScoringTask,
    start: int,
    stop: int | None,
    bad_lines: BadLines | None = None,
    hasher: RowHasher | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the scores of rows [start, stop), batch by batch. Where a batch ends depends on the rows alone.

    Lines that cannot be read are added to ``bad_lines``; without it, the first one is an error. ``hasher`` hashes the
    rows as they are read. Columns that were computed before are not computed again.
    """
    scorers = task.scorers
    if task.columns is not None and task.columns.stages:
        yield from _scored_from_columns(task, task.columns, scorers, start)
        return
    hasher = hasher or RowHasher()
    label = (LABEL,) if task.label else ()
    added = [name for scorer in scorers for name in scorer.schema]
    copied = [column.name for column in task.carried if column.present]
    needs = (*inputs(scorers), *task.also, *task.kept, *label, *copied)
    reading = replace(task.reading, bad_lines=bad_lines)
    read = tables.batches(task.shard, needs, reading=reading, size=tables.BATCH_BYTES, start=start, hasher=hasher)
    for batch in parts.row_range(task.shard, start, stop).cut(read):
        # A scorer may make an identity column: `length` with a tokenizer makes the tokens.
        names = dict.fromkeys((*task.identity, *task.kept, *added))
        yield _copied(apply(scorers, batch), task)[:, list(names)]


def _scored_from_columns(
    task: ScoringTask, computed: AnyColumns, scorers: Sequence[Scorer], start: int
) -> Iterator[pl.DataFrame]:
    """Yield the scores of rows from ``start`` on, from the columns that were computed before.

    The input is read only for scorers that read its own columns.
    """
    present = set(computed.names)
    missing = [scorer for scorer in scorers if not set(scorer.schema) <= present]
    # Scorers read copied columns as the input has them.
    of_input = {LABEL, *(column.name for column in task.carried)}
    needs = [name for name in inputs(missing, present) if name not in present or name in of_input]
    frames = computed.batches(first=start)
    if needs:
        reading = line_losses.aligned(task.reading, task.out, task.shard)
        read = tables.batches(task.shard, needs, reading=reading, identity=(), size=tables.BATCH_BYTES, start=start)
        frames = columns.beside(frames, read, task.shard)
    added = [name for scorer in scorers for name in scorer.schema]
    for frame in frames:
        yield _copied(apply(missing, frame), task)[:, list(dict.fromkeys((*task.identity, *added)))]


def _copied(frame: pl.DataFrame, task: ScoringTask) -> pl.DataFrame:
    """Return a batch whose labels and carried columns are as in a score file. Scorers read them as the input has them.

    Labels are text in a score file.
    """
    if LABEL in frame.columns:
        frame = frame.replace_column(frame.get_column_index(LABEL), frame.get_column(LABEL).cast(pl.String))
    return carried.copied(frame, task.carried, task.shard)


def apply(scorers: Sequence[Scorer], batch: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of every scorer. Each scorer sees the columns of the earlier ones.

    Raises:
        SchemaError: if a score or vector is not finite.
    """
    for scorer in scorers:
        columns = scorer(batch)
        # Tokens that a tokenizer counted take the place of those of the input.
        replaced = [name for name in scorer.schema if name in tables.IDENTITY and name in batch.columns]
        batch = (batch.drop(replaced) if replaced else batch).hstack(columns)
        for name, kind_of_column in scorer.schema.items():
            # the reason of a verdict is text, and null for a row that passes
            if kind_of_column == pl.String:
                continue
            good = tables.finite(batch[name])
            if not good.all():
                kind, row = "score" if name.startswith("score.") else "vector", batch["id"][int(good.argmin())]
                raise SchemaError(
                    f"{name} is not a finite number in {int((~good).sum())} rows, the first with id {row!r}. "
                    f"Repair its input, or leave out the scorer that makes this {kind}"
                )
    return batch
