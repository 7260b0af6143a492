"""Run the tasks of a scoring job on its engine, and record each shard that is done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from curate.engines import Engine
from curate.errors import Interrupted
from curate.progress import Progress
from curate.scorers import Scorer
from curate.scoring import parts, worker
from curate.scoring.preflight import Preflight
from curate.scoring.scoring_job import ScoringJob, set_aside
from curate.scoring.worker import ScoringOutcome, ScoringTask
from curate.storage import files, manifest
from curate.tables import writer
from curate.tables.scored_inputs import line_losses, row_hash, scored_rows
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Shard


@dataclass(frozen=True)
class ReadyJob:
    """A scoring job that can start: the heads of its files are read, and its scorers have learned."""

    job: ScoringJob
    preflight: Preflight
    scorers: tuple[Scorer, ...]

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


def task(job: ScoringJob, shard: Shard, scorers: tuple[Scorer, ...]) -> ScoringTask:
    """Return the task of a whole shard."""
    return ScoringTask(shard, job.output(shard), job.out, scorers, job.reading, quarantine=job.quarantine)


def run(ready: ReadyJob, shards: Sequence[Shard], engine: Engine, progress: Progress) -> tuple[int, dict[str, str]]:
    """Score shards; return the rows that were scored, and the shards set aside with their reasons."""
    job = ready.job
    what, total, units = ready.units(shards)
    # Listing the tasks asks the store for stamps and parts of every shard, so many are listed at a time.
    listed = files.each(lambda shard: tuple(_tasks(ready, shard)), shards, job.shards[0].path)
    shard_runs = {
        shard.relative: ShardRun(shard, tasks, units[shard.relative])
        for shard, tasks in zip(shards, listed, strict=True)
    }
    # The scorers go with the function, which an engine that can sends to each machine once.
    bare_tasks = [replace(whole, scorers=()) for item in shard_runs.values() for whole in item.tasks]
    rows, bad = 0, dict[str, str]()
    done = total - sum(item.units for item in shard_runs.values())
    progress(what, done, total)
    for outcome in engine.run(partial(worker.score_task, ready.scorers), bare_tasks):
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
            _finish(job, current)
    return rows, bad


def _tasks(ready: ReadyJob, shard: Shard) -> Iterator[ScoringTask]:
    """Yield the tasks of a shard: one, or for a long shard one for every few row groups."""
    job, name = ready.job, shard.relative
    stamp, head = files.stamp(shard.path), ready.preflight.heads[name]
    whole = replace(task(job, shard, ready.scorers), stamp=stamp, label=worker.is_labelled(head))
    if not parts.is_long(shard, head):
        yield whole
        return
    folder, spans = manifest.parts_path(job.out, SCORE_STEP, name), parts.spans(head)
    entry = manifest.begun(job.out, SCORE_STEP, name)
    if entry is not None and entry.spans:
        # The file may have been written again meanwhile, with the same rows in other row groups.
        spans = tuple((int(start or 0), stop) for start, stop in entry.spans)
    elif entry is None or len(spans) > 1:
        # Recorded before the first part, so that parts of another input or job are never taken for ours. Entries of
        # format 2 had tasks that end elsewhere, so only a shard that is one task continues from their parts.
        entry = manifest.entry(SCORE_STEP, name, shard.path, digest="", config=job.config, rows=None, spans=spans)
        files.remove(folder)
        manifest.record(job.out, replace(entry, stamp=stamp))
    for start, stop in spans:
        yield replace(whole, start=start, stop=stop, parts=folder, spans=spans)


def _finish(job: ScoringJob, shard_run: ShardRun) -> None:
    """Record that a shard is done. Join its parts first, if no worker saw them all."""
    first, outcomes, shard = shard_run.tasks[0], shard_run.outcomes, shard_run.shard
    rows, digest, columns = outcomes[0].rows, outcomes[0].digest, outcomes[0].columns
    if first.parts is not None:
        complete = parts.complete(first.parts, first.spans)
        if complete is None:
            raise Interrupted(f"{first.parts}: parts are missing; was the folder changed? Run the same command again")
        stored = [writer.part(path) for path in complete]
        rows = sum(part.rows for part in stored)
        hashed = parts.hashed(stored)
        if hashed is None:
            columns = job.columns(shard, label=first.label)
            digest = scored_rows.row_digest(shard, columns, line_losses.aligned(job.reading, job.out, shard))
        else:
            digest, columns = row_hash.combined(hashed[0]), hashed[1]
        if not any(outcome.whole for outcome in outcomes):
            writer.join(first.output, complete, first.schema, first.fields)
    name = shard.relative
    done = manifest.entry(SCORE_STEP, name, shard.path, digest=digest, config=job.config, rows=rows, columns=columns)
    # The stamp from before the shard was read: a change since then must be seen next time.
    manifest.record(job.out, replace(done, stamp=first.stamp))
