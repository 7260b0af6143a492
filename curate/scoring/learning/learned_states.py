"""Find what a scorer learned in an earlier call, and decide whether this call can use it.

In: the good shards of a job with the hashes of their rows. Out: the files of a learned state. It is refused for other
inputs or arguments if some shards are scored with it, since scores of two learned scorers cannot be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from curate import open_sets
from curate.errors import Interrupted
from curate.scoring import dependencies
from curate.scoring import specs as scorer_specs
from curate.scoring.learning import kept_results, places, seals
from curate.scoring.learning.corpus_parts import ScoringPart
from curate.scoring.learning.kept_results import KeptResults
from curate.scoring.scoring_job import ScoringJob, is_old, recorded
from curate.storage import artifacts, files, job_record, s3
from curate.storage.files import content_hash, text_hash
from curate.storage.job_record import InputFile, JobRecord
from curate.tables.corpus.corpus import stored_path
from curate.tables.scored_inputs.row_hash import PREFIX
from curate.tables.shards import Shard


@dataclass(frozen=True)
class LearningInput:
    """What the scorers of a job learn from: the good shards and their content hashes by name, and the parts of rows.

    ``aside`` names the bad shards, which are left out.
    """

    job: ScoringJob
    shards: tuple[Shard, ...]
    digests: Mapping[str, str]
    aside: tuple[str, ...]
    rows: int | None = None  # of all shards, where the files say how many they have
    parts: tuple[ScoringPart, ...] = ()

    @property
    def files(self) -> dict[str, InputFile]:
        """The content hashes as a job's record has them."""
        return {name: InputFile(digest) for name, digest in self.digests.items()}

    def record(self, position: int) -> JobRecord:
        """Return what decides the learned state of the scorer at ``position``."""
        return JobRecord(self.job.arguments_until(position + 1), self.files)


@dataclass(frozen=True)
class LearnedState:
    """What a scorer learned: its file, the arguments and inputs, and the shards that were set aside then.

    ``refusal`` says why an older state cannot be reused; it is empty if there is none, or it can be reused. ``new`` are
    the files that were added since. If the state is ``recorded``, the scorer has learned it before, and ``kept`` is
    what it left for later jobs then. ``before`` is what it left when it learned from fewer files.
    """

    path: Path
    record: JobRecord
    aside: tuple[str, ...]
    refusal: str = ""
    new: tuple[str, ...] = ()
    recorded: bool = False
    kept: KeptResults = KeptResults()
    before: KeptResults | None = None


def learned_state(learning: LearningInput, position: int, *, fresh: bool = False) -> LearnedState:
    """Return the learned state of the scorer at ``position``: an older one if it can be reused, else a new one.

    Shards that were set aside when the scorer learned, and are whole now, are scored with the state as it is. So are
    files that were added after shards were scored, unless the scorer can learn from them without changing old scores.
    """
    name = open_sets.parse(learning.job.specs[position])[0]
    out, refusal = learning.job.out, ""
    adds = places.learns_added_files(name)
    same: LearnedState | None = None
    older: LearnedState | None = None
    for path in files.below(places.learned_folder(out), ".json"):
        if not path.name.startswith(f"{position}-{places.file_name(name)}-"):
            continue
        state = _recorded_state(learning, position, path, adds=adds)
        if state.refusal:
            refusal = state.refusal
        elif not state.new:
            same = _of_more_files(same, state)
        elif not fresh:
            older = _of_more_files(older, state)
    earlier = None if older is None else older.kept
    if same is not None:
        return replace(same, before=earlier)
    if older is not None and not adds:
        return older
    expected = learning.record(position)
    key = text_hash(repr((sorted(expected.arguments.items()), sorted(learning.digests.items()))))[:16]
    path = places.learned_folder(out) / f"{position}-{places.file_name(name)}-{key}.npz"
    return LearnedState(path, expected, learning.aside, "" if older else refusal, before=earlier)


def _recorded_state(learning: LearningInput, position: int, path: Path, *, adds: bool) -> LearnedState:
    """Return the learned state whose record is ``path``: why this job cannot reuse it, or the files that are new to it.

    ``adds`` says that the scorer learns from added files. Files that were set aside then and are whole now are new to
    such a scorer. Others score them with the state as it is.
    """
    record, expected = artifacts.load(path, "learned"), learning.record(position)
    seals.check(path, record)
    before = job_record.from_json(record)
    aside_then = tuple(cast(Sequence[str], record["aside"]))
    paths = {shard.relative: shard.path for shard in learning.shards}
    inputs = {
        relative: _comparable(file, before.inputs.get(relative), paths[relative])
        for relative, file in expected.inputs.items()
    }
    repaired = () if adds else aside_then
    added = tuple(sorted(inputs.keys() - before.inputs.keys() - {*repaired, *learning.aside}))
    changes = job_record.input_changes(
        {relative: file for relative, file in before.inputs.items() if relative not in learning.aside},
        {relative: file for relative, file in inputs.items() if relative in before.inputs},
    )
    # Records of format 1 hold no arguments. Those states have them in their file names, as a hash.
    if "arguments" in record:
        same_arguments = before.arguments == expected.arguments
    else:
        same_arguments = path.stem.endswith(_old_key(learning, before, position))
    refusal = ""
    if changes:
        refusal = f"learned from other input files than these ({job_record.listed(changes)})"
    elif not same_arguments:
        refusal = "learned with other options, or in another place among the scorers"
    known_record, kept = JobRecord(expected.arguments, before.inputs), kept_results.from_json(record)
    return LearnedState(path.with_suffix(".npz"), known_record, aside_then, refusal, added, True, kept)


def _of_more_files(state: LearnedState | None, other: LearnedState) -> LearnedState:
    """Return the state that learned from more files; the first of two that learned from equally many."""
    return other if state is None or len(other.record.inputs) > len(state.record.inputs) else state


def check_continues(learning: LearningInput, position: int, states: Mapping[int, LearnedState]) -> None:
    """Check that a job some of whose shards are scored can go on with what the scorer at ``position`` learned.

    Raises:
        Interrupted: if the scores of other shards would not agree with those that are there. The message names what
            changed, or the file that is missing.
    """
    out, spec, state = learning.job.out, learning.job.specs[position], states[position]
    name = open_sets.parse(spec)[0]
    if state.refusal:
        raise Interrupted(
            f"{s3.shown(out)}: scorer {name} was {state.refusal}, and some shards are scored with it. "
            "Give --restart to learn and score again, or another --out"
        )
    older = check_recorded(learning, position, state)
    if places.learns_added_files(name):
        kept_results.check_parts(out, name, older, learning.parts)
    lost = missing_file(state, spec, learning.parts)
    if lost is None:
        return
    if state.recorded and state.record.inputs.keys() != learning.digests.keys():
        # It would learn something else now.
        raise kept_results.gone(lost, name)
    if any(part.generation for part in learning.parts) and places.keeps_results(name):
        if state.before is None:
            raise kept_results.gone(_records_pattern(out, position, name), name)
        kept_results.check_files(out, name, state.before)
        work = places.work_folder(out, spec, scorer_specs.formats((spec,)))
        kept_results.check_origin(work, name, origin_key(learning.job, spec, states))


def check_recorded(learning: LearningInput, position: int, state: LearnedState) -> KeptResults:
    """Return what a scorer left for later jobs when it learned for a job some of whose shards are scored.

    Raises:
        Interrupted: if no record says that it has learned.
    """
    older = state.kept if state.recorded or state.refusal else state.before
    if older is None:
        name = open_sets.parse(learning.job.specs[position])[0]
        raise kept_results.gone(_records_pattern(learning.job.out, position, name), name)
    return older


def origin_key(job: ScoringJob, spec: str, states: Mapping[int, LearnedState]) -> str:
    """Return the hash of all that decides what a scorer keeps of a part, beside the rows of the part.

    ``states`` are the learned states of the job, by the position of the scorer.
    """
    # Columns that it reads may come from scorers which had other options when a job was killed.
    providers = dependencies.with_providers(spec, job.specs)
    arguments = repr(sorted(job.arguments_of(providers).items()))
    # They may also come from scorers that have learned. Then they depend on all data, and not only on the part. Scorers
    # that learn from added files are left out: what they found out about older rows stays as it was.
    learned = {
        job.specs[position]: state.path.stem.rpartition("-")[2]
        for position, state in states.items()
        if not places.learns_added_files(open_sets.parse(job.specs[position])[0])
    }
    return text_hash("".join((arguments, *sorted(learned[other] for other in {*providers} & {*learned} - {spec}))))


def missing_file(state: LearnedState, spec: str, parts: Sequence[ScoringPart]) -> Path | None:
    """Return a file of a learned state that is not there: its arrays, or those of a part. None: all are there.

    If a long file was written again with the same rows, its parts may be cut in another way now. Then the arrays of
    some parts are missing.
    """
    if not files.exists(state.path):
        return state.path
    if not getattr(open_sets.implementation("scorers", open_sets.parse(spec)[0]), "part_arrays", ()):
        return None
    by_part = state.path.with_suffix("")
    learned_from = [part for part in parts if any(p.shard.relative in state.record.inputs for p in part.pieces)]
    paths = (stored_path(by_part, part.name) for part in learned_from)
    return next((path for path in paths if not files.exists(path)), None)


def _records_pattern(out: Path, position: int, name: str) -> Path:
    """Return the glob of the records of a scorer's learned states."""
    return places.learned_folder(out) / f"{position}-{places.file_name(name)}-*.json"


def _comparable(file: InputFile, before: InputFile | None, path: Path) -> InputFile:
    """Return an input with the hash of its bytes, if that is what was recorded before, else with that of its rows."""
    if before is None or before.hash.startswith(PREFIX):
        return file
    return InputFile(content_hash(path))


def _old_key(learning: LearningInput, before: JobRecord, position: int) -> str:
    """Return the end of the file name that format 1 gave to a learned state.

    It was a hash of the arguments and of the version of curate, which ``score.json`` held then. Such a state is of the
    format 1 of all scorers.
    """
    record = recorded(learning.job.out)
    formats = cast(dict[str, int], learning.job.arguments_until(position + 1)["formats"])
    if record is None or not is_old(record) or any(number != 1 for number in formats.values()):
        return "no such key"
    reading = learning.job.reading
    digests = sorted((name, file.hash) for name, file in before.inputs.items())
    specs = tuple(learning.job.specs[: position + 1])
    return text_hash(repr((record.get("version"), specs, reading.text_column, reading.batch_rows, digests)))[:16]
