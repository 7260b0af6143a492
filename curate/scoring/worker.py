"""Score a range of one shard's rows, and write the score file or parts of it.

A task is pure and idempotent: when it runs twice, on any machine, it writes the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.scorers import Scorer
from curate.scoring import parts
from curate.scoring.learning import columns, learned_scorers, small_columns
from curate.scoring.learning.columns import ColumnFolder
from curate.scoring.learning.learned_scorers import AnyScorer
from curate.scoring.learning.small_columns import AnyColumns, SharedBatches, SharedFile, SmallColumns
from curate.scoring.parts import Span
from curate.scoring.specs import declarations, inputs
from curate.scoring.tasks import file_faults
from curate.storage import files, manifest
from curate.tables import batches as tables
from curate.tables import meanings, readers, writer
from curate.tables.columns import arrow_types
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.scored_inputs import line_losses, row_hash, scored_rows
from curate.tables.scored_inputs.row_hash import RowHasher
from curate.tables.shards import Shard, has_lines
from curate.tables.writer import ScoredPart

LABEL = "label"
# Small files that are written and recorded together. A killed job scores up to so many again. With 64, syncing to disk
# takes less than a tenth of the time that it takes file by file (docs/decisions.md).
TOGETHER = 64


@dataclass(frozen=True)
class ScoringTask:
    """A task: score rows [start, stop) of a shard into the score file ``output`` below the folder ``out``.

    A long shard has several tasks. They write to the folder ``parts``, and ``spans`` are the rows of each. ``columns``
    are the columns that were computed of these rows before. If some scorers have learned, ``part`` is the name of the
    part of the corpus that has these rows.
    """

    shard: Shard
    output: Path
    out: Path
    scorers: tuple[Scorer, ...]
    reading: Reading
    stamp: str = ""
    start: int = 0
    stop: int | None = None  # None: the end of the shard
    parts: Path | None = None
    spans: tuple[Span, ...] = ((0, None),)
    quarantine: bool = False
    also: tuple[str, ...] = ()  # columns that `compute_tasks` reads and hashes as well
    kept: tuple[str, ...] = ()  # columns of texts that it reads, and stores with those that it computes
    label: bool = False  # the score file has the class label of the input
    columns: AnyColumns | None = None
    part: str = ""
    config: str = ""  # the hash of the job's arguments, for the record of a shard that is done

    def __str__(self) -> str:
        """Return the file, and which rows of it."""
        rows = "" if len(self.spans) == 1 else f"rows {self.start} to {self.stop} of "
        return f"{rows}{self.shard.path}"

    def with_scorers(self, scorers: tuple[AnyScorer, ...]) -> "ScoringTask":
        """Return the task with scorers that have learned, and know what was learned about its rows."""
        return replace(self, scorers=learned_scorers.ready(scorers, self.part))

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of the score file."""
        schema = self.identity
        for scorer in self.scorers:
            schema |= scorer.schema
        return schema

    @property
    def stage_schema(self) -> dict[str, pl.DataType]:
        """The columns of the next stage that the task computes: stage 0 has the identity of the rows as well."""
        schema = {} if self.columns is not None and self.columns.stages else self.identity
        schema |= dict.fromkeys(self.kept, pl.String())
        for scorer in self.scorers:
            schema |= scorer.schema
        return schema

    @property
    def identity(self) -> dict[str, pl.DataType]:
        """The columns that a score file has of the input."""
        return dict(tables.IDENTITY) | ({LABEL: pl.String()} if self.label else {})

    @property
    def fields(self) -> dict[str, object]:
        """The JSON fields of a score file's metadata, which record what its scores mean."""
        return meanings.fields(declarations(self.scorers))


@dataclass(frozen=True)
class ScoringOutcome:
    """What a task did: how many ``rows`` it scored, and the hash of its shard's rows in the ``columns`` that were read.

    ``digest`` is empty if the shard has several parts, which hold the digests of their rows. A task that computed
    columns gives their names in ``computed``, and the digests of its blocks of rows in ``blocks``. ``place`` is where
    the columns of a small shard lie. ``whole`` says that the score file is in place. ``reason`` says why the shard is
    bad, if it is. ``bad_lines`` is the number of lines that were set aside, and ``first_bad`` is the first of them with
    its reason.
    """

    shard: str
    rows: int
    digest: str = ""
    columns: tuple[str, ...] = ()
    whole: bool = False
    reason: str | None = None
    bad_lines: int = 0
    first_bad: str = ""
    start: int = 0
    blocks: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    place: SharedBatches | None = None


def is_labelled(head: readers.Head) -> bool:
    """Return whether a shard has class labels: text, whole numbers or booleans. A measured number is no class."""
    kind = head.columns.get(LABEL)
    if kind is None:
        return False
    values = arrow_types.plain(kind)
    return arrow_types.is_text(kind) or bool(pa.types.is_integer(values) or pa.types.is_boolean(values))


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
            results = [_judged(task, _score_whole if task.parts is None else _score_parts) for task in tasks]
        for task, outcome in zip(tasks, results, strict=True):
            if outcome.reason is not None:
                # Whoever reads the folder must not find scores of a shard that is not done.
                files.remove(task.output)
        pairs = zip(tasks, results, strict=True)
        finish([(task, outcome) for task, outcome in pairs if task.parts is None and outcome.reason is None])
        outcomes += results
    return outcomes


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
            outcomes.append(_judged(task, _compute))
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


def _judged(task: ScoringTask, work: Callable[[ScoringTask, BadLines], ScoringOutcome]) -> ScoringOutcome:
    """Do the work of a task. If its shard is bad, raise an error, or with quarantine return the reason."""
    path = task.shard.path
    try:
        return _unchanged(task, work)
    except Exception as error:
        reason = file_faults.reason(error, path, quarantine=task.quarantine)
    if not task.quarantine:
        if work in (_score_whole, _score_parts):
            files.remove(task.output)
        raise SchemaError(reason)
    return ScoringOutcome(task.shard.relative, 0, reason=reason, start=task.start)


def _unchanged(task: ScoringTask, work: Callable[[ScoringTask, BadLines], ScoringOutcome]) -> ScoringOutcome:
    """Do the work of a task; raise SchemaError if its shard changed meanwhile."""
    path, bad_lines = task.shard.path, BadLines()
    # Taken before the rows are read, so that a change meanwhile is seen below.
    stamp = task.stamp or files.stamp(path)
    outcome = work(task, bad_lines)
    # A stamp costs nothing to compare; the rows are hashed again only if the stamp changed.
    if files.stamp(path) != stamp and not _has_rows(task, outcome):
        raise SchemaError(f"{path} changed while it was read. Leave it alone and score again")
    if task.columns is not None and task.columns.stages:
        return outcome
    return replace(outcome, bad_lines=len(bad_lines), first_bad=bad_lines.first(task.shard))


def _has_rows(task: ScoringTask, outcome: ScoringOutcome) -> bool:
    """Return whether the input still has the rows of a task, whose stamp changed while it ran."""
    if outcome.digest:
        reading = replace(task.reading, bad_lines=BadLines())
        return scored_rows.row_digest(task.shard, outcome.columns, reading) == outcome.digest
    folder = task.columns.stage(0) if isinstance(task.columns, ColumnFolder) else task.parts
    return parts.match(folder or Path(), task.shard, task.reading)


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
        frames = (frame[:, list(schema)] for frame in _recorded(task, position, bad_lines, hasher))
        _write_parts(task, folder, frames, schema, position, hasher)
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
        outcomes = [_judged(task, partial(_append, file)) for task in tasks]
        file.end(msgspec.json.encode([outcome for outcome in outcomes if outcome.reason is None]))
    return outcomes


def _append(file: SharedFile, task: ScoringTask, bad_lines: BadLines) -> ScoringOutcome:
    """Add the columns of a stage of one small shard to a file."""
    assert isinstance(task.columns, SmallColumns)
    schema, hasher = task.stage_schema, None if task.columns.stages else RowHasher()
    frames = (frame[:, list(schema)] for frame in _recorded(task, 0, bad_lines, hasher))
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


def _score_whole(task: ScoringTask, bad_lines: BadLines) -> ScoringOutcome:
    hasher = RowHasher()
    rows = writer.write_whole(task.output, _recorded(task, 0, bad_lines, hasher), task.schema, task.fields)
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
        frames = _recorded(task, position, bad_lines, hasher)
        written = sum(part.rows for part in _write_parts(task, folder, frames, schema, position, hasher))
    if (complete := parts.complete(folder, task.spans)) is not None:
        writer.join(task.output, complete, schema, task.fields)
    return ScoringOutcome(task.shard.relative, written, whole=complete is not None)


def _write_parts(
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
                f"{task.shard.path} ends at row {position}, not at {task.stop}: it is damaged, or it changed"
            )
    return written


def _recorded(task: ScoringTask, start: int, bad_lines: BadLines, hasher: RowHasher | None) -> Iterator[pl.DataFrame]:
    """Yield the scores from row ``start`` on, and record the bad lines after the last row.

    So the record is there before the score file or its last part is: whoever reads these can skip the same lines.
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
    needs = (*inputs(scorers), *task.also, *task.kept, *label)
    position = start
    reading = replace(task.reading, bad_lines=bad_lines)
    for batch in tables.batches(
        task.shard, needs, reading=reading, size=tables.BATCH_BYTES, start=start, hasher=hasher
    ):
        # Batches are cut by rows and bytes, so the last one may reach beyond the range.
        rows = batch if stop is None else batch.head(stop - position)
        position += rows.height
        yield _with_text_labels(apply(scorers, rows)[:, [*tables.IDENTITY, *label, *task.kept, *added]])
        if position == stop:
            return


def _scored_from_columns(
    task: ScoringTask, computed: AnyColumns, scorers: Sequence[Scorer], start: int
) -> Iterator[pl.DataFrame]:
    """Yield the scores of rows from ``start`` on, from the columns that were computed before.

    The input is read only for scorers that read its own columns.
    """
    present = set(computed.names)
    missing = [scorer for scorer in scorers if not set(scorer.schema) <= present]
    needs = [name for name in inputs(missing, present) if name not in present or name == LABEL]
    frames = computed.batches(first=start)
    if needs:
        reading = line_losses.aligned(task.reading, task.out, task.shard)
        read = tables.batches(task.shard, needs, reading=reading, identity=(), size=tables.BATCH_BYTES, start=start)
        frames = columns.beside(frames, read, task.shard)
    added = [name for scorer in scorers for name in scorer.schema]
    for frame in frames:
        yield _with_text_labels(apply(missing, frame)[:, [*task.identity, *added]])


def _with_text_labels(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a batch whose labels are text, as they are in a score file. Scorers read them as the input has them."""
    if LABEL not in frame.columns:
        return frame
    return frame.replace_column(frame.get_column_index(LABEL), frame.get_column(LABEL).cast(pl.String))


def apply(scorers: Sequence[Scorer], batch: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of every scorer. Each scorer sees the columns of the earlier ones.

    Raises:
        SchemaError: if a score or vector is not finite.
    """
    for scorer in scorers:
        batch = batch.hstack(scorer(batch))
        for name in scorer.schema:
            good = tables.finite(batch[name])
            if not good.all():
                kind, row = "score" if name.startswith("score.") else "vector", batch["id"][int(good.argmin())]
                raise SchemaError(
                    f"{name} is not a finite number in {int((~good).sum())} rows, the first with id {row!r}. "
                    f"Repair its input, or leave out the scorer that makes this {kind}"
                )
    return batch
