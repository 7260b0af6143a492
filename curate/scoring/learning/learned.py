"""Let scorers learn from all rows before they score, and keep what they learned in the output folder.

What was learned is used again by the same job. It is refused for other inputs or arguments if some shards are scored
with it, since scores of two learned scorers cannot be compared.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from curate import open_sets
from curate.engines import Engine, WorkerDied
from curate.errors import CurateError, Interrupted, SchemaError, amount, first_few
from curate.scorers import Scorer
from curate.scoring import dependencies, renamed
from curate.scoring import specs as scorer_specs
from curate.scoring.learning import corpus_parts, kept_results, learned_scorers, places, seals
from curate.scoring.learning.corpus_parts import ScoringPart
from curate.scoring.learning.failing_files import FilesFail, GuardedEngine
from curate.scoring.learning.kept_results import KeptResults
from curate.scoring.learning.learned_scorers import AnyScorer, LearnedScorer
from curate.scoring.learning.learned_states import (
    LearnedState,
    LearningInput,
    check_continues,
    learned_state,
    missing_file,
    origin_key,
)
from curate.scoring.scoring_job import ScoringJob, recorded
from curate.scoring.specs import inputs, learns
from curate.storage import artifacts, files, job_record, manifest, origin, s3
from curate.tables.corpus import Corpus, array_files
from curate.tables.corpus.array_files import DamagedFile
from curate.tables.corpus.corpus import EXCHANGES
from curate.tables.scored_inputs.scored_rows import SCORE_STEP

# Computes the columns of scorers that are ready, for all parts; returns the parts with these columns.
Materialise = Callable[[Sequence[AnyScorer], tuple[ScoringPart, ...]], tuple[ScoringPart, ...]]


def forget(job: ScoringJob) -> None:
    """Remove what scorers learned, and all that was computed of parts."""
    files.remove(places.learned_folder(job.out))
    files.remove(job.out / manifest.FOLDER / manifest.PARTS)
    files.remove(places.corpus_record(job.out))
    # The job before may have had scorers that this one has not.
    before = cast(Sequence[str], (recorded(job.out) or {}).get("scorers", ()))
    for spec in {*job.specs, *before}:
        name = open_sets.parse(spec)[0]
        if open_sets.is_own(name) or (open_sets.exists("scorers", name) and places.keeps_results(name)):
            files.remove(places.results_folder(job.out, spec))


def forget_learning_from(out: Path, names: Collection[str]) -> None:
    """Remove the learned states that learned from some files, since scorers learn again without them or one by one.

    No row is scored with these states yet.
    """
    for path in files.below(places.learned_folder(out), ".json"):
        inputs = job_record.from_json(artifacts.load(path, "learned")).inputs
        if not inputs.keys().isdisjoint(names):
            _remove_state(path)


def _forget_other_inputs(learning: LearningInput) -> None:
    """Remove what scorers learned from other files than there are now. Call it only if no row is scored yet.

    Such states come from calls that were killed. A later call, when some rows are scored, could take one of them for
    the state that these scores come from.
    """
    for path in files.below(places.learned_folder(learning.job.out), ".json"):
        if job_record.from_json(artifacts.load(path, "learned")).inputs != learning.files:
            _remove_state(path)


def _remove_state(record: Path) -> None:
    for remains in (record, record.with_suffix(".npz"), record.with_suffix("")):
        files.remove(remains)


def prepare(
    learning: LearningInput, engine: Engine, materialise: Materialise, *, fresh: bool
) -> tuple[tuple[AnyScorer, ...], tuple[ScoringPart, ...], tuple[str, ...]]:
    """Return the scorers of a job in order. Those that learn do so now, or reload what they learned before.

    Also return the parts, with the columns that were computed meanwhile, and notes for the user. ``fresh`` says that no
    shard is scored yet. ``materialise`` computes columns of a scorer that has learned, if another one learns from them.

    Raises:
        Interrupted: if some shards are scored with another learned state, or what later jobs rely on is gone.
        FilesFail: if a scorer cannot learn from the rows of some files.
        SchemaError: if a scorer reads a column from the data that another makes, too late.
    """
    job, out = learning.job, learning.job.out
    scorers: list[AnyScorer] = []
    late: list[int] = []  # positions of scorers that are ready, and whose columns are not computed yet
    messages: list[str] = []
    first = dependencies.independent(job.specs)
    learning_specs = {position: spec for position, spec in enumerate(job.specs) if learns(spec)}
    if fresh:
        _forget_other_inputs(learning)
    states = {position: learned_state(learning, position, fresh=fresh) for position in learning_specs}
    if not fresh:
        # All that may be refused is refused before anything is written.
        for position in states:
            check_continues(learning, position, states)
    corpus_parts.record(learning.parts, out)
    for position, spec in enumerate(job.specs):
        if position not in states:
            scorers.append(scorer_specs.build(spec))
            late += [] if spec in first else [position]
            continue
        state = states[position]
        if missing_file(state, spec, learning.parts) is not None:
            if dependencies.depends(spec, [job.specs[earlier] for earlier in late]):
                learning = replace(learning, parts=materialise([scorers[earlier] for earlier in late], learning.parts))
                late = []
            state = replace(state, kept=_learn(position, learning, states, engine))
        scorers.append(_recorded_scorer(learning, spec, state))
        late.append(position)
        if state.new:
            messages.append(_kept_note(open_sets.parse(spec)[0], state))
    used = {places.work_folder(out, spec, scorer_specs.formats((spec,))) for spec in learning_specs.values()}
    places.remove_other_caches(out, used)
    # Only now is it known what learned scorers read and add.
    built = learned_scorers.ready(scorers)
    read = set(inputs(built))
    if clash := sorted(read & {column for scorer in built for column in scorer.schema}):
        raise SchemaError(f"{clash[0]} is read from the data by one scorer and made by a later one: change their order")
    return tuple(scorers), learning.parts, (*notes(built), *messages)


def _recorded_scorer(learning: LearningInput, spec: str, state: LearnedState) -> LearnedScorer:
    """Record a learned state, and return its scorer.

    The record is written after every use, and not only after learning, so that a record of format 1 becomes one of the
    present format.
    """
    # The record keeps the inputs that were learned from. If some were set aside then, this job has more.
    all_files = all(shard.relative in state.record.inputs for shard in learning.shards)
    learned = LearnedScorer(spec, state.path, files.stamp(state.path), of_all_files=all_files)
    record = {"scorer": spec, **state.record.to_json(), **state.kept.to_json(), "aside": sorted(state.aside)}
    record["notes"] = list(notes((learned.scorer(),)))
    artifacts.save(state.path.with_suffix(".json"), "learned", seals.sealed(record))
    return learned


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


def _learn(position: int, learning: LearningInput, states: Mapping[int, LearnedState], engine: Engine) -> KeptResults:
    """Let the scorer at ``position`` learn, and write what it learned; return what it keeps for later jobs."""
    spec, state = learning.job.specs[position], states[position]
    name, _, options = renamed.split_name(spec)
    out, path = learning.job.out, state.path
    work = places.work_folder(out, spec, scorer_specs.formats((spec,)))
    origin.keep_if_from(work, origin_key(learning.job, spec, states))
    if learning.job.quarantine:
        engine = GuardedEngine(engine, name, learning.parts)
    corpus = Corpus(
        learning.parts,
        work,
        engine,
        places.scorer_words(name),
        learning.rows,
        learned=path.with_suffix(""),
        out=out,
        reading=learning.job.reading,
    )
    # Long shards that are begun were scored with what was learned before.
    files.remove(out / manifest.FOLDER / manifest.PARTS / SCORE_STEP)
    try:
        scorer = open_sets.module("scorers", name).learn(corpus, **options)
    except WorkerDied as death:
        raise CurateError(
            f"scorer {name} cannot learn: {death}. If it ends in the same way, leave out that file or this scorer"
        ) from None
    except DamagedFile as damage:
        if state.before is None:
            raise
        # What older files were scored with cannot be computed again.
        raise Interrupted(f"{s3.shown(damage.path)} is damaged ({damage.reason}). {seals.REMEDY}") from None
    except (CurateError, OSError, FilesFail):
        raise
    except Exception as error:
        if not open_sets.is_own(name):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SchemaError(f"scorer {name} failed while it learned ({what}). Repair its function learn") from error
    array_files.write_arrays(path, scorer.arrays)
    files.remove(work / EXCHANGES)
    kept_results.remove_other_parts(work, learning.parts)
    return kept_results.of_state(out, work, name, learning.parts)
