"""Compute once what needs no learning: the hashes of all rows, and the columns of scorers that do not learn.

In: the shards of a job with scorers that learn. Out: the columns on disk, the bad shards, and the lines that cannot be
read. All rows are read before any scorer learns. Otherwise a scorer could learn from a shard that turns out to be bad.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from curate.engines import Engine
from curate.progress import counted
from curate.scoring import dependencies, run, specs
from curate.scoring.learning import columns, corpus_parts, small_columns
from curate.scoring.learning.columns import ColumnFolder, columns_folder
from curate.scoring.learning.corpus_parts import Piece, ScoringPart
from curate.scoring.learning.failing_files import FilesFail
from curate.scoring.learning.learned_scorers import AnyScorer
from curate.scoring.learning.small_columns import AnyColumns, SmallColumns
from curate.scoring.preflight import Preflight
from curate.scoring.scoring_job import ScoringJob
from curate.scoring.tasks import computing
from curate.scoring.tasks.bundles import run_bundles
from curate.scoring.tasks.scoring_task import ScoringOutcome, ScoringTask
from curate.storage import files, manifest, origin
from curate.storage.files import text_hash
from curate.tables.readers import Head
from curate.tables.scored_inputs import row_hash
from curate.tables.scored_inputs.line_losses import Losses
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Shard, has_lines

# The layout of the columns on disk, and how long files are cut. Columns of another layout are computed again.
LAYOUT = 2
# The texts of inputs up to this size are stored with the columns that are computed of them. To open such an input again
# for each scorer that learns takes longer than to copy its texts. Of larger inputs the copies would fill disks.
KEPT_BYTES = 1 << 15


@dataclass(frozen=True)
class FirstPass:
    """What the first pass over the shards yields.

    By name of the shard: its ``tasks``, the hash of its rows (``digests``), and the reason if it is ``bad``. ``lost``
    are the lines that cannot be read.
    """

    tasks: Mapping[str, tuple[ScoringTask, ...]]
    digests: Mapping[str, str]
    bad: Mapping[str, str]
    lost: Losses

    def tasks_of(self, shards: Sequence[Shard]) -> list[ScoringTask]:
        """Return the tasks of some shards, in the order of the shards."""
        return [task for shard in shards for task in self.tasks[shard.relative]]


def compute(job: ScoringJob, heads: Preflight, shards: Sequence[Shard], todo: set[str], engine: Engine) -> FirstPass:
    """Read the shards that are still to score, hash them, and compute the columns of scorers that need no learning.

    Shards that are done were read when they were scored, and have not changed since; their score files have the
    columns.
    """
    independent = dependencies.independent(job.specs)
    prepared = dependencies.prepared(job.specs)
    scorers = (*map(specs.build, independent), *prepared)
    learner_columns = sorted(name for item in prepared for name in item.schema)
    arguments = sorted(job.arguments_of(independent).items())
    # The largest size of a text and the columns that are judged decide which lines are bad.
    judging = (job.reading.document_bytes, job.reading.judged, *job.carried)
    decided_by = (LAYOUT, arguments, job.needs, *judging, learner_columns)
    origin.keep_if_from(columns_folder(job.out), text_hash(repr(decided_by)))
    tasks, digests = _tasks(job, heads, shards, todo)
    pending = [task for name, items in tasks.items() if name not in digests for task in items]
    bundles = corpus_parts.bundles(pending, heads.sizes)
    outcomes: dict[str, list[ScoringOutcome]] = {}
    for outcome in _computed(engine, scorers, bundles, quarantine=job.quarantine):
        outcomes.setdefault(outcome.shard, []).append(outcome)
    by_name = {shard.relative: shard for shard in shards}
    # In the order of shards, so that the first reason does not depend on which task ended first.
    ordered = {name: sorted(outcomes[name], key=lambda item: item.start) for name in by_name if name in outcomes}
    bad = {name: item.reason for name, items in ordered.items() for item in reversed(items) if item.reason}
    for name, items in ordered.items():
        if name not in bad:
            digests[name] = row_hash.combined([block for item in items for block in item.blocks])
            tasks[name] = tuple(
                replace(task, columns=_with_stage(task.columns, item))
                for task, item in zip(tasks[name], items, strict=True)
            )
    good = [items for name, items in ordered.items() if name not in bad]
    return FirstPass(tasks, digests, bad, _lost(good, by_name))


def _tasks(
    job: ScoringJob, heads: Preflight, shards: Sequence[Shard], todo: set[str]
) -> tuple[dict[str, tuple[ScoringTask, ...]], dict[str, str]]:
    """Return the tasks of every shard by its name.

    Also return the hash of the rows of each shard that need not be read.
    """
    tasks, digests = dict[str, tuple[ScoringTask, ...]](), dict[str, str]()
    # Files are cut as they were when scorers first learned from them. They may have other row groups now.
    before = corpus_parts.recorded_spans(job.out)
    for shard in shards:
        name, head = shard.relative, heads.heads[shard.relative]
        whole = run.task(job, shard, head)
        entry = None if name in todo else manifest.read(job.out, SCORE_STEP, name)
        if entry is not None and set(entry.columns) == set(job.columns(shard, label=whole.label)):
            digests[name] = entry.input
            tasks[name] = tuple(run.split(whole, head, before.get(name, ())))
            continue
        # Scorers that learn read further columns later, so these are hashed too.
        whole = replace(whole, also=job.needs)
        kept = ("text",) if _reads_text(job, head) and heads.sizes[name] <= KEPT_BYTES else ()
        tasks[name] = tuple(
            replace(task, columns=_no_columns(job, task), kept=kept if task.parts is None else ())
            for task in run.split(whole, head, before.get(name, ()))
        )
    return tasks, digests


def materialise(
    engine: Engine, quarantine: bool, scorers: Sequence[AnyScorer], parts: tuple[ScoringPart, ...]
) -> tuple[ScoringPart, ...]:
    """Compute the columns of scorers that have learned, so that another scorer can learn from these columns.

    Raises:
        FilesFail: with ``quarantine``, if a scorer fails on the rows of some files.
        SchemaError: without it, for the first such file.
    """
    # Shards that are done have these columns in their score files.
    tasks = [
        [corpus_parts.column_task(part, piece, quarantine=quarantine) for piece in part.pieces if piece.computed]
        for part in parts
    ]
    todo = [group for group in tasks if group]
    if todo:
        _remove_other_stages(todo, scorers)
    outcomes: dict[tuple[str, int], ScoringOutcome] = {}
    bad: dict[str, str] = {}
    for outcome in _computed(engine, tuple(scorers), todo, quarantine=quarantine):
        if outcome.reason:
            bad[outcome.shard] = outcome.reason
        outcomes[outcome.shard, outcome.start] = outcome
    if bad:
        # Scorers have learned from these files: they learn again without them.
        raise FilesFail(bad)

    def with_stage(piece: Piece) -> Piece:
        outcome = outcomes.get((piece.shard.relative, piece.start))
        return piece if outcome is None else replace(piece, computed=_with_stage(piece.computed, outcome))

    return tuple(replace(part, pieces=tuple(map(with_stage, part.pieces))) for part in parts)


def _computed(
    engine: Engine, scorers: tuple[AnyScorer, ...], groups: Sequence[Sequence[ScoringTask]], *, quarantine: bool
) -> Iterator[ScoringOutcome]:
    """Compute the next stage of columns, and yield the outcome of every task.

    A small shard whose columns a killed job has left is not read again.
    """
    # All small shards of a job have their columns in one folder, and the same stages.
    small = next((task.columns for group in groups for task in group if isinstance(task.columns, SmallColumns)), None)
    stored = {} if small is None else computing.stored_outcomes(small.folder, small.stages)

    def is_stored(task: ScoringTask) -> bool:
        return isinstance(task.columns, SmallColumns) and (task.shard.relative, task.stamp) in stored

    yield from (stored[task.shard.relative, task.stamp] for group in groups for task in group if is_stored(task))
    remaining = [[task for task in group if not is_stored(task)] for group in groups]
    results = run_bundles(
        engine, partial(computing.compute_tasks, scorers), list(filter(None, remaining)), quarantine=quarantine
    )
    yield from counted(results, "parts read", sum(map(len, remaining)))


def _remove_other_stages(groups: Sequence[Sequence[ScoringTask]], scorers: Sequence[AnyScorer]) -> None:
    """Remove the columns of the next stage if a killed job computed them with scorers that had learned otherwise.

    ``scorers`` name the files of what they learned, and these names depend on the data and the options.
    """
    first = groups[0][0]
    assert first.columns is not None
    stage, folder = first.columns.stages, columns_folder(first.out)
    path, before = folder / f"stage-{stage}.txt", folder / f"stage-{stage - 1}.txt"
    key = text_hash(repr((files.read_text(before) if files.exists(before) else "", scorers)))
    if not origin.is_from(path, key):
        files.remove(small_columns.stage_folder(small_columns.folder(first.out), stage))
        for task in (task for group in groups for task in group):
            if isinstance(task.columns, ColumnFolder):
                files.remove(task.columns.stage(stage))
        origin.record(path, key)


def _reads_text(job: ScoringJob, head: Head) -> bool:
    """Return whether the first pass reads texts anyway: for a scorer, or to count tokens."""
    return "text" in job.needs or ("text" in head.columns and "tokens" not in head.columns)


def _no_columns(job: ScoringJob, task: ScoringTask) -> AnyColumns:
    """Return where the columns of a task will lie."""
    if task.parts is None:
        return SmallColumns(small_columns.folder(job.out))
    return ColumnFolder(columns.folder(job.out, task.shard), (), task.start, task.stop)


def _with_stage(computed: AnyColumns | None, outcome: ScoringOutcome) -> AnyColumns:
    """Return columns with the stage that a task computed."""
    if isinstance(computed, SmallColumns):
        assert outcome.place is not None
        return computed.with_stage(outcome.computed, outcome.place, (outcome.blocks, outcome.columns))
    assert computed is not None
    return computed.with_stage(outcome.computed)


def _lost(good: Iterable[Sequence[ScoringOutcome]], shards: Mapping[str, Shard]) -> Losses:
    """Return the lines that cannot be read in the good shards."""
    lines, bad_lines, first = 0, dict[str, int](), ""
    for items in good:
        name, count = items[0].shard, sum(item.bad_lines for item in items)
        if count:
            bad_lines[name], first = count, first or next(item.first_bad for item in items if item.first_bad)
        lines += sum(item.rows for item in items) + count if has_lines(shards[name]) else 0
    return Losses(lines, bad_lines, first)
