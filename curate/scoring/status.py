"""What is done in an output folder, what is left, and why the job that made it would refuse to continue."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from curate.scoring import learned as learning
from curate.scoring.learned import Lesson
from curate.scoring.score import Job
from curate.storage import files, manifest
from curate.storage.files import content_hash
from curate.storage.manifest import Entry
from curate.tables import batches, scored, writer
from curate.tables.readers import DOCUMENT_BYTES
from curate.tables.scored import SCORE_STEP, SCORES
from curate.tables.shards import Shard

State = dict[str, str | int | None]


def status(out: Path) -> list[State]:
    """Return shard, state (done, begun, to do, quarantined or refused), rows done and why, for every shard of a job."""
    job, why = asked(out)
    return [_state(job, shard, why) for shard in job.found]


def asked(out: Path) -> tuple[Job, list[str]]:
    """Return the job that made ``out``, as this version would do it, and in words what would be different."""
    before = scored.job(out)
    job = Job(
        batches.shards(cast(list[str], before["data"])), tuple(cast(list[str], before["scorers"])), out,
        str(before["text_column"]), cast(int, before["batch_rows"]), DOCUMENT_BYTES, quarantine=True,
    )  # fmt: skip
    return job, manifest.differences({key: before.get(key) for key in job.asked}, job.asked)


def learned(out: Path) -> list[str]:
    """Say for every scorer that learned why what it learned would be refused; empty when it would not."""
    job, _ = asked(out)
    if not any(map(learning.learns, job.specs)):
        return []
    entries = {shard.relative: manifest.read(out, SCORE_STEP, shard.relative) for shard in job.found}
    if all(entry is None for entry in entries.values()):
        return []
    aside = tuple(s.relative for s in job.found if manifest.quarantined(out, SCORE_STEP, s.relative))
    good = tuple(shard for shard in job.found if shard.relative not in aside)
    digests = {shard.relative: _digest(out, shard, entries[shard.relative]) for shard in good}
    lesson = Lesson(good, digests, aside, job.specs, job.text_column, job.batch_rows, job.document_bytes)
    found = []
    for position, spec in enumerate(job.specs):
        if learning.learns(spec) and (why := learning.known(lesson, out, position)[1]):
            found.append(f"scorer {spec} {why}")
    return found


def _digest(out: Path, shard: Shard, entry: Entry | None) -> str:
    at = manifest.entry_path(out, SCORE_STEP, shard.relative)
    known = entry is not None and files.stamp(shard.path) == entry.stamp and not files.newer(shard.path, at)
    return entry.input if known and entry is not None else content_hash(shard.path)


def _state(job: Job, shard: Shard, words: Sequence[str]) -> State:
    name = shard.relative
    entry, at = manifest.read(job.out, SCORE_STEP, name), manifest.entry_path(job.out, SCORE_STEP, name)
    done = entry is not None and files.exists(job.out / (name + SCORES))
    bad = manifest.quarantined(job.out, SCORE_STEP, name)
    if not done:
        entry, at = (
            manifest.begun(job.out, SCORE_STEP, name),
            manifest.parts_path(job.out, SCORE_STEP, name) / "begun.json",
        )
    state = "done" if done else "quarantined" if bad else "begun" if entry else "to do"
    why = bad.reason if bad and not done else ""
    if entry is not None and not bad and (found := manifest.changes(entry, shard.path, job.config, words, at=at)):
        state, why = "refused", "; ".join(found)
    count = entry.rows if done and entry is not None else _parts_rows(job.out, name) if entry else None
    return {"shard": name, "state": state, "rows": count, "why": why}


def _parts_rows(out: Path, name: str) -> int:
    return sum(writer.part_rows(p) for p in files.below(manifest.parts_path(out, SCORE_STEP, name), ".arrow"))


def counts(states: Sequence[Mapping[str, object]]) -> dict[str, int]:
    """Return how many shards are in each state."""
    found: dict[str, int] = {}
    for one in states:
        found[str(one["state"])] = found.get(str(one["state"]), 0) + 1
    return found
