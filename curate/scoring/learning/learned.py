"""Let scorers learn from all rows before they score, and keep what they learned in the output folder.

What was learned is used again by the same job. It is refused for other inputs or arguments if some shards are scored
with it, since scores of two learned scorers cannot be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from curate import open_sets
from curate.engines import Engine, WorkerDied
from curate.errors import CurateError, Interrupted, SchemaError, amount, first_few
from curate.scorers import Scorer
from curate.scoring import dependencies
from curate.scoring import specs as scorer_specs
from curate.scoring.learning import learned_scorers
from curate.scoring.learning.corpus_parts import ScoringPart
from curate.scoring.learning.learned_scorers import AnyScorer, LearnedScorer
from curate.scoring.scoring_job import ScoringJob, is_old, recorded
from curate.scoring.specs import inputs, learns
from curate.storage import artifacts, files, job_record, manifest, origin
from curate.storage.files import content_hash, text_hash
from curate.storage.job_record import InputFile, JobRecord
from curate.tables.corpus import Corpus, array_files
from curate.tables.corpus.corpus import EXCHANGES, stored_path
from curate.tables.scored_inputs.row_hash import PREFIX
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Shard

# Computes the columns of scorers that are ready, for all parts; returns the parts with these columns.
Materialise = Callable[[Sequence[AnyScorer], tuple[ScoringPart, ...]], tuple[ScoringPart, ...]]


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
    the files that were added since.
    """

    path: Path
    record: JobRecord
    aside: tuple[str, ...]
    refusal: str = ""
    new: tuple[str, ...] = ()


def forget(job: ScoringJob) -> None:
    """Remove what scorers learned, and all that was computed of parts."""
    files.remove(folder(job.out))
    files.remove(job.out / manifest.FOLDER / manifest.PARTS)
    files.remove(job.out / manifest.FOLDER / "corpus.json")
    # The job before may have had scorers that this one has not.
    before = cast(Sequence[str], (recorded(job.out) or {}).get("scorers", ()))
    for name in {open_sets.parse(spec)[0] for spec in (*job.specs, *before)}:
        if open_sets.is_own(name) or (open_sets.exists("scorers", name) and _keeps_results(name)):
            files.remove(job.out / manifest.FOLDER / _file_name(name))


def folder(out: Path) -> Path:
    """Return the folder of learned states."""
    return out / manifest.FOLDER / "learned"


def work_folder(out: Path, spec: str, formats: Mapping[str, int]) -> Path:
    """Return the folder where a scorer keeps what it computes of parts while it learns.

    It is a cache that may be removed. Scorers whose file says ``KEEPS_RESULTS`` have a folder of results instead, which
    later jobs read.
    """
    name = open_sets.parse(spec)[0]
    if _keeps_results(name):
        return out / manifest.FOLDER / _file_name(name)
    key = text_hash(repr((spec, sorted(formats.items()))))[:16]
    return out / manifest.FOLDER / manifest.PARTS / "learning" / f"{scorer_words(name).replace(' ', '_')}-{key}"


def prepare(
    learning: LearningInput, engine: Engine, materialise: Materialise, *, fresh: bool
) -> tuple[tuple[AnyScorer, ...], tuple[ScoringPart, ...], tuple[str, ...]]:
    """Return the scorers of a job in order. Those that learn do so now, or reload what they learned before.

    Also return the parts, with the columns that were computed meanwhile, and notes for the user. ``fresh`` says that no
    shard is scored yet. ``materialise`` computes columns of a scorer that has learned, if another one learns from them.

    Raises:
        Interrupted: if some shards are scored with another learned state.
        SchemaError: if a scorer reads a column from the data that another makes, too late.
    """
    scorers: list[AnyScorer] = []
    late: list[int] = []  # positions of scorers that are ready, and whose columns are not computed yet
    messages: list[str] = []
    first = dependencies.independent(learning.job.specs)
    for position, spec in enumerate(learning.job.specs):
        if not learns(spec):
            scorers.append(scorer_specs.build(spec))
            late += [] if spec in first else [position]
            continue
        state = learned_state(learning, position, fresh=fresh)
        name = open_sets.parse(spec)[0]
        if state.refusal and not fresh:
            raise Interrupted(
                f"{learning.job.out}: scorer {name} was {state.refusal}, and some shards are scored with it. "
                "Give --restart to learn and score again, or another --out"
            )
        if not is_whole(state, spec, learning.parts):
            if dependencies.depends(spec, [learning.job.specs[earlier] for earlier in late]):
                learning = replace(learning, parts=materialise([scorers[earlier] for earlier in late], learning.parts))
                late = []
            _learn(spec, learning, state.path, engine)
        # Written after every use, not only after learning, so that a record of format 1 becomes one of the present
        # format. The record keeps the inputs that were learned from. If some were set aside then, this job has more.
        all_files = all(shard.relative in state.record.inputs for shard in learning.shards)
        learned = LearnedScorer(spec, state.path, files.stamp(state.path), of_all_files=all_files)
        record = {"scorer": spec, **state.record.to_json(), "aside": sorted(state.aside)}
        artifacts.save(state.path.with_suffix(".json"), "learned", {**record, "notes": notes((learned.scorer(),))})
        if state.new:
            messages.append(_kept_note(name, state))
        scorers.append(learned)
        late.append(position)
    # Only now is it known what learned scorers read and add.
    built = learned_scorers.ready(scorers)
    read = set(inputs(built))
    if clash := sorted(read & {column for scorer in built for column in scorer.schema}):
        raise SchemaError(f"{clash[0]} is read from the data by one scorer and made by a later one: change their order")
    return tuple(scorers), learning.parts, (*notes(built), *messages)


def _kept_note(name: str, state: LearnedState) -> str:
    """Return the note that new files are scored with what was learned before they came."""
    return (
        f"{name} did not learn from {amount(len(state.new), 'new file')} ({first_few(state.new)}): it scored with what "
        f"it learned from {amount(len(state.record.inputs), 'older file')}. Give --relearn to learn from all files and "
        "to score all rows again"
    )


def notes(scorers: Sequence[Scorer]) -> tuple[str, ...]:
    """Return the notes of scorers on what they learned: their property ``notes``, if they have one."""
    return tuple(note for scorer in scorers for note in getattr(scorer, "notes", ()))


def learned_state(learning: LearningInput, position: int, *, fresh: bool = False) -> LearnedState:
    """Return the learned state of the scorer at ``position``: an older one if it can be reused, else a new one.

    Shards that were set aside when the scorer learned, and are whole now, are scored with the state as it is. So are
    files that were added after shards were scored, unless the scorer can learn from them without changing old scores.
    """
    name = open_sets.parse(learning.job.specs[position])[0]
    out, expected, refusal = learning.job.out, learning.record(position), ""
    older: LearnedState | None = None
    for path in files.below(folder(out), ".json"):
        if not path.name.startswith(f"{position}-{_file_name(name)}-"):
            continue
        record = artifacts.load(path, "learned")
        before = job_record.from_json(record)
        aside_then = tuple(cast(Sequence[str], record["aside"]))
        paths = {shard.relative: shard.path for shard in learning.shards}
        inputs = {
            name: _comparable(file, before.inputs.get(name), paths[name]) for name, file in expected.inputs.items()
        }
        # What is not a file that was learned from then is a new file, or one that was set aside and is whole now.
        added = tuple(sorted(inputs.keys() - before.inputs.keys() - {*aside_then, *learning.aside}))
        changes = job_record.input_changes(
            {name: file for name, file in before.inputs.items() if name not in learning.aside},
            {name: file for name, file in inputs.items() if name in before.inputs},
        )
        # Records of format 1 hold no arguments. Those states have them in their file names, as a hash.
        if "arguments" in record:
            same_arguments = before.arguments == expected.arguments
        else:
            same_arguments = path.stem.endswith(_old_key(learning, before, position))
        state = path.with_suffix(".npz")
        if same_arguments and not changes and files.exists(state):
            known_record = JobRecord(expected.arguments, before.inputs)
            if not added:
                return LearnedState(state, known_record, aside_then)
            if not fresh:
                older = LearnedState(state, known_record, aside_then, new=added)
            continue
        refusal = "learned with other options, or in another place among the scorers"
        if changes:
            refusal = f"learned from other input files than these ({job_record.listed(changes)})"
    key = text_hash(repr((sorted(expected.arguments.items()), sorted(learning.digests.items()))))[:16]
    path = folder(out) / f"{position}-{_file_name(name)}-{key}.npz"
    if older is None:
        return LearnedState(path, expected, learning.aside, refusal)
    if getattr(open_sets.module("scorers", name), "LEARNS_ADDED_FILES", False):
        return LearnedState(path, expected, learning.aside)
    return older


def is_whole(state: LearnedState, spec: str, parts: Sequence[ScoringPart]) -> bool:
    """Return whether all that was learned is on disk: the arrays of the scorer, and those of each part.

    If a long file was written again with the same rows, its parts may be cut in another way now. Then the arrays of
    some parts are missing.
    """
    if not files.exists(state.path):
        return False
    if not getattr(open_sets.implementation("scorers", open_sets.parse(spec)[0]), "part_arrays", ()):
        return True
    by_part = state.path.with_suffix("")
    learned_from = [part for part in parts if any(p.shard.relative in state.record.inputs for p in part.pieces)]
    return all(files.exists(stored_path(by_part, part.name)) for part in learned_from)


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


def _keeps_results(name: str) -> bool:
    """Return whether what a scorer computes of parts is a result that later jobs read, and not a cache."""
    return bool(getattr(open_sets.module("scorers", name), "KEEPS_RESULTS", False))


def _file_name(name: str) -> str:
    """Return a scorer's name as part of a file name. The user's own scorer is named by a path."""
    return f"own_{text_hash(name)[:16]}" if open_sets.is_own(name) else name


def _learn(spec: str, learning: LearningInput, path: Path, engine: Engine) -> None:
    """Let a scorer learn, and write what it learned."""
    name, options = open_sets.parse(spec)
    work = work_folder(learning.job.out, spec, scorer_specs.formats((spec,)))
    # Columns that it reads may come from scorers which had other options when a job was killed.
    arguments = learning.job.arguments_of(dependencies.with_providers(spec, learning.job.specs))
    origin.keep_if_from(work, text_hash(repr(sorted(arguments.items()))))
    corpus = Corpus(learning.parts, work, engine, scorer_words(name), learning.rows, learned=path.with_suffix(""))
    # Long shards that are begun were scored with what was learned before.
    files.remove(learning.job.out / manifest.FOLDER / manifest.PARTS / SCORE_STEP)
    try:
        scorer = open_sets.module("scorers", name).learn(corpus, **options)
    except WorkerDied as death:
        raise CurateError(
            f"scorer {name} cannot learn: {death}. If it ends in the same way, leave out that file or this scorer"
        ) from None
    except (CurateError, OSError):
        raise
    except Exception as error:
        if not open_sets.is_own(name):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SchemaError(f"scorer {name} failed while it learned ({what}). Repair its function learn") from error
    array_files.write_arrays(path, scorer.arrays)
    files.remove(work / EXCHANGES)


def scorer_words(name: str) -> str:
    """Return a scorer's name as words for progress: ``class prototypes``. The user's own scorers have no such name."""
    return name.replace("_", " ") if name.replace("_", "").isalpha() else "from the data"
