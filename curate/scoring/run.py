"""Run the tasks of a scoring job on its engine, and record each shard that is done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from curate.engines import Engine
from curate.errors import Interrupted
from curate.progress import Progress
from curate.scoring import carried, parts, worker
from curate.scoring.learning import corpus_parts
from curate.scoring.learning.corpus_parts import Piece, ScoringPart
from curate.scoring.learning.learned_scorers import AnyScorer
from curate.scoring.parts import Span
from curate.scoring.preflight import Preflight
from curate.scoring.scoring_job import ScoringJob, set_aside
from curate.scoring.tasks import scoring_task
from curate.scoring.tasks.bundles import run_bundles
from curate.scoring.tasks.scoring_task import ScoringOutcome, ScoringTask
from curate.storage import files, manifest
from curate.tables import writer
from curate.tables.readers import Head
from curate.tables.scored_inputs import line_losses, row_hash, scored_rows
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Shard
from curate.tables.writer import ScoredPart


@dataclass(frozen=True)
class ReadyJob:
    """A scoring job that can start: the heads of its files are read, and its scorers have learned.

    ``learned_parts`` are the parts of the data that scorers learned from; there are none if no scorer learns.
    """

    job: ScoringJob
    preflight: Preflight
    scorers: tuple[AnyScorer, ...]
    learned_parts: tuple[ScoringPart, ...] = ()

    def units(self, shards: Sequence[Shard]) -> tuple[str, int, Mapping[str, int]]:
        """Return what progress counts, how much there is in all, and in each shard.

        It counts rows if all files say how many they have, else files.
        """
        if self.preflight.rows:
            heads = self.preflight.heads
            return "rows scored", self.preflight.rows, {name: head.rows or 0 for name, head in heads.items()}
        return "files scored", len(self.job.shards), {shard.relative: 1 for shard in shards}


@dataclass(frozen=True)
class ShardRun:
    """The tasks of one shard, the outcomes so far, and its share of the progress in units."""

    shard: Shard
    tasks: tuple[ScoringTask, ...]
    units: int
    outcomes: list[ScoringOutcome] = field(default_factory=list)

    def add(self, outcome: ScoringOutcome) -> int:
        """Add an outcome; return by how much the progress grows."""
        self.outcomes.append(outcome)
        count, total = len(self.outcomes), len(self.tasks)
        # Whole units that add up to all of them after the last task.
        return self.units * count // total - self.units * (count - 1) // total


def task(job: ScoringJob, shard: Shard, head: Head) -> ScoringTask:
    """Return the task of a whole shard, without its scorers."""
    return ScoringTask(
        shard,
        job.output(shard),
        job.out,
        (),
        job.reading,
        files.stamp(shard.path),
        quarantine=job.quarantine,
        label=scoring_task.is_labelled(head),
        carried=carried.of_file(job.carried, head),
        config=job.config,
    )


def split(whole: ScoringTask, head: Head, before: tuple[Span, ...] = ()) -> Iterator[ScoringTask]:
    """Yield the tasks of a shard: one, or for a long shard several that take a range of rows each.

    ``before`` are the ranges that an earlier job took. They are taken again if they cover the shard, even if it was
    written again in other row groups.
    """
    covered = parts.cover(before, head)
    # A range without an end is a whole file. A file of lines has no other ranges, even if it is long.
    is_whole = before == ((0, None),) if covered and head.groups is not None else not parts.is_long(whole.shard, head)
    if is_whole:
        yield whole
        return
    spans = before if covered else parts.spans(head)
    folder = manifest.parts_path(whole.out, SCORE_STEP, whole.shard.relative)
    for start, stop in spans:
        yield replace(whole, start=start, stop=stop, parts=folder, spans=spans)


def run(ready: ReadyJob, shards: Sequence[Shard], engine: Engine, progress: Progress) -> tuple[int, dict[str, str]]:
    """Score shards; return the rows that were scored, and the shards set aside with their reasons."""
    job = ready.job
    what, total, units = ready.units(shards)
    learned = _learned_tasks(ready)
    # Listing the tasks asks the store for stamps and parts of every shard, so many are listed at a time.
    listed = files.each(lambda shard: tuple(_tasks(ready, shard, learned)), shards, job.shards[0].path)
    shard_runs = {
        shard.relative: ShardRun(shard, tasks, units[shard.relative])
        for shard, tasks in zip(shards, listed, strict=True)
    }
    bundles = corpus_parts.bundles((item for tasks in listed for item in tasks), ready.preflight.sizes)
    rows, bad = 0, dict[str, str]()
    done = total - sum(item.units for item in shard_runs.values())
    progress(what, done, total)
    results = run_bundles(engine, partial(worker.score_tasks, ready.scorers), bundles, quarantine=job.quarantine)
    for outcome in results:
        current = shard_runs[outcome.shard]
        rows, done = rows + outcome.rows, done + current.add(outcome)
        progress(what, done, total)
        if len(current.outcomes) < len(current.tasks):
            continue
        # All tasks of the shard have ended. One bad task makes the whole shard bad.
        if reason := next((part.reason for part in current.outcomes if part.reason), None):
            bad[outcome.shard] = reason
            set_aside(job.out, current.shard, reason, current.tasks[0].stamp)
        else:
            _finish(ready, current)
    return rows, bad


def _learned_tasks(ready: ReadyJob) -> Mapping[str, list[tuple[ScoringPart, Piece]]]:
    """Return the pieces of each shard, with their parts, if some scorers have learned."""
    pieces: dict[str, list[tuple[ScoringPart, Piece]]] = {}
    for part in ready.learned_parts:
        for piece in part.pieces:
            pieces.setdefault(piece.shard.relative, []).append((part, piece))
    return pieces


def _tasks(
    ready: ReadyJob, shard: Shard, learned: Mapping[str, list[tuple[ScoringPart, Piece]]]
) -> Iterator[ScoringTask]:
    """Yield the tasks of a shard, and record that it is begun if there are several."""
    job, name = ready.job, shard.relative
    head = ready.preflight.heads[name]
    whole = task(job, shard, head)
    if name in learned:
        # The tasks are the pieces that scorers learned from, so that each reads what was learned about its own rows.
        pieces = sorted(learned[name], key=lambda item: item[1].start)
        spans = tuple((piece.start, piece.stop) for _, piece in pieces)
        tasks = [replace(whole, part=part.name, columns=piece.computed) for part, piece in pieces]
    else:
        tasks = list(split(whole, head))
        spans = tasks[0].spans
    if len(tasks) == 1 and not parts.is_long(shard, head):
        yield tasks[0]
        return
    folder = manifest.parts_path(job.out, SCORE_STEP, name)
    entry = manifest.begun(job.out, SCORE_STEP, name)
    recorded = tuple((int(start or 0), stop) for start, stop in entry.spans) if entry is not None else ()
    if recorded and name not in learned:
        # The file may have been written again meanwhile, with the same rows in other row groups.
        spans, tasks = recorded, [whole] * len(recorded)
    elif recorded != spans and (entry is None or recorded or len(spans) > 1):
        # Recorded before the first part, so that parts of another input or job are never taken for ours. Entries of
        # format 2 had tasks that end elsewhere, so only a shard that is one task continues from their parts.
        files.remove(folder)
        begun = manifest.entry(SCORE_STEP, name, shard.path, digest="", config=job.config, rows=None, spans=spans)
        manifest.record(job.out, replace(begun, stamp=whole.stamp))
    for (start, stop), item in zip(spans, tasks, strict=True):
        yield replace(item, start=start, stop=stop, parts=folder, spans=spans)


def _finish(ready: ReadyJob, shard_run: ShardRun) -> None:
    """Record that a shard of several tasks is done. Join its parts first, if no worker saw them all.

    A shard that is one task was recorded by its worker.
    """
    job, outcomes, shard = ready.job, shard_run.outcomes, shard_run.shard
    first = shard_run.tasks[0].with_scorers(ready.scorers)
    if first.parts is None:
        return
    complete = parts.complete(first.parts, first.spans)
    if complete is None:
        raise Interrupted(f"{first.parts}: parts are missing; was the folder changed? Run the same command again")
    stored = [writer.part(path) for path in complete]
    hashed = _hashed(shard_run, stored)
    if hashed is None:
        columns = job.columns(shard, label=first.label)
        digest = scored_rows.row_digest(shard, columns, line_losses.aligned(job.reading, job.out, shard))
    else:
        digest, columns = row_hash.combined(hashed[0]), hashed[1]
    if not any(outcome.whole for outcome in outcomes):
        writer.join(first.output, complete, first.schema, first.fields)
    rows = sum(part.rows for part in stored)
    worker.finish([(first, replace(outcomes[0], rows=rows, digest=digest, columns=columns))])


def _hashed(shard_run: ShardRun, stored: Sequence[ScoredPart]) -> tuple[list[str], tuple[str, ...]] | None:
    """Return the digests of all blocks of a shard and the columns that were hashed; None if they are not recorded."""
    computed = [item.columns for item in shard_run.tasks if item.columns is not None]
    if not computed:
        return parts.hashed(stored)
    hashes = [folder.hashed() for folder in computed]
    return [block for blocks, _ in hashes for block in blocks], hashes[0][1]
