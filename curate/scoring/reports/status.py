"""Tell what is done in a score folder, what remains, and why the job that made it would be refused."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from curate.errors import CurateError, SchemaError
from curate.scoring.learning.learned_states import LearningInput, check_recorded, learned_state
from curate.scoring.scoring_job import ScoringJob, recorded_types, stamp
from curate.scoring.specs import learns
from curate.scoring.tasks.scoring_task import is_labelled
from curate.storage import files, manifest
from curate.storage.manifest import Configuration, ManifestEntry
from curate.tables import batches, readers, scored, writer
from curate.tables.scored import SCORES
from curate.tables.scored_inputs import line_losses, scored_rows
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Shard

State = dict[str, str | int | None]


def status(out: Path) -> list[State]:
    """Return ``shard, state, rows, why`` for every input file of a score folder.

    The state is done, begun, to do, quarantined, or refused: then the same command would stop at this shard.

    Raises:
        Interrupted: if the folder was not made by `curate score`.
    """
    job = recorded_job(out)
    configuration = job.configuration()
    states = [_state(job, shard, configuration) for shard in job.shards]
    unusable = batches.inputs(cast(list[str], scored.job(out)["data"])).unusable
    return states + [
        {"shard": name, "state": "quarantined", "rows": None, "why": why} for name, why in unusable.items()
    ]


def recorded_job(out: Path) -> ScoringJob:
    """Return the job that made a score folder, as this version would do it."""
    record = scored.job(out)
    reading = replace(
        scored.reading(out), batch_rows=cast(int, record["batch_rows"]), dtype=str(record.get("dtype", ""))
    )
    shards = scored.inputs(out)
    carry = tuple(sorted(recorded_types(record)))
    return ScoringJob(shards, tuple(cast(list[str], record["scorers"])), out, reading, quarantine=True, carry=carry)


def learned(out: Path) -> list[str]:
    """Return, for each scorer whose learned state would be refused, one phrase that says why.

    Results of earlier calls are not looked for here: the same command checks them before it learns from added files.
    """
    job = recorded_job(out)
    if not any(map(learns, job.specs)):
        return []
    # Nothing is refused as long as no shard is scored: the scorers would just learn again.
    entries = {shard.relative: manifest.read(out, SCORE_STEP, shard.relative) for shard in job.shards}
    if all(entry is None for entry in entries.values()):
        return []
    aside = tuple(s.relative for s in job.shards if manifest.quarantined(out, SCORE_STEP, s.relative))
    good = tuple(shard for shard in job.shards if shard.relative not in aside)
    digests: dict[str, str] = {}
    for shard in good:
        # The same command would set a file aside that cannot be read.
        with suppress(SchemaError, OSError):
            digests[shard.relative] = _digest(job, shard, entries[shard.relative])
    aside = (*aside, *(shard.relative for shard in good if shard.relative not in digests))
    good = tuple(shard for shard in good if shard.relative in digests)
    rows = LearningInput(job, good, digests, aside)
    phrases = []
    for position, spec in enumerate(job.specs):
        if not learns(spec):
            continue
        try:
            state = learned_state(rows, position)
            check_recorded(rows, position, state)
        except CurateError as error:
            phrases.append(str(error))
            continue
        if state.refusal:
            phrases.append(f"scorer {spec} was {state.refusal}")
    return phrases


def cache_bytes(out: Path) -> int:
    """Return the bytes of the work files of scorers that learn, which `--relearn` reads again."""
    folder = out / manifest.FOLDER / manifest.PARTS
    return sum(map(files.size, files.below(folder, "")))


def _digest(job: ScoringJob, shard: Shard, entry: ManifestEntry | None) -> str:
    """Return the hash of an input's rows. The input is read if the entry has no hash, or the file may have changed."""
    columns = job.columns(shard, label=is_labelled(readers.head(shard, (), job.reading.whole_mapping)))
    if entry is not None and set(entry.columns) == set(columns):
        path = manifest.entry_path(job.out, SCORE_STEP, shard.relative)
        if manifest.is_stamped(entry, shard.path, path=path):
            return entry.input
    return scored_rows.row_digest(shard, columns, line_losses.aligned(job.reading, job.out, shard))


def _state(job: ScoringJob, shard: Shard, configuration: Configuration) -> State:
    name = shard.relative
    entry, path = manifest.read(job.out, SCORE_STEP, name), manifest.entry_path(job.out, SCORE_STEP, name)
    done = entry is not None and files.exists(job.out / (name + SCORES))
    bad = manifest.quarantined(job.out, SCORE_STEP, name)
    if not done:
        entry, path = manifest.begun(job.out, SCORE_STEP, name), manifest.begun_path(job.out, SCORE_STEP, name)
    state = "done" if done else "quarantined" if bad else "begun" if entry else "to do"
    why = bad.reason if bad and not done else ""
    if why and bad and bad.stamp != stamp(shard.path):
        why = f"the file was changed since it was set aside, so the same command tries it again. The reason was: {why}"
    changes = (
        manifest.changes(entry, shard.path, configuration, path=path, same_rows=job.same_rows)
        if entry is not None and not bad
        else []
    )
    if changes:
        state, why = "refused", "; ".join(changes)
    if done and not why:
        why = line_losses.summary(job.out, shard)
    rows = entry.rows if done and entry is not None else _rows_in_parts(job.out, name) if entry else None
    return {"shard": name, "state": state, "rows": rows, "why": why}


def _rows_in_parts(out: Path, name: str) -> int:
    paths = files.below(manifest.parts_path(out, SCORE_STEP, name), ".arrow")
    return sum(part.rows for path in paths if (part := writer.whole_part(path)) is not None)


def counts(states: Sequence[Mapping[str, object]]) -> dict[str, int]:
    """Return how many shards are in each state."""
    return dict(Counter(str(row["state"]) for row in states))
