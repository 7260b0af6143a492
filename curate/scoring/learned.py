"""Let scorers learn from all rows before they score, and keep what they learned in the output folder.

What was learned is used again by the same job. It is refused for other inputs or arguments if some shards are scored
with it, since scores of two learned scorers cannot be compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import numpy as np
import polars as pl

from curate import open_sets
from curate.errors import Interrupted, SchemaError
from curate.progress import report
from curate.scorers import Scorer
from curate.scoring import specs as scorer_specs
from curate.scoring.scoring_job import ScoringJob, is_old, recorded
from curate.scoring.specs import inputs, learns
from curate.scoring.worker import apply
from curate.storage import artifacts, files, job_record, manifest
from curate.storage.files import content_hash, replacing, text_hash
from curate.storage.job_record import InputFile, JobRecord
from curate.tables import batches
from curate.tables.batches import Stream
from curate.tables.formats.bad_lines import BadLines
from curate.tables.scored_inputs.row_hash import PREFIX
from curate.tables.shards import Shard


@dataclass(frozen=True)
class LearningInput:
    """What the scorers of a job learn from: the good shards and their content hashes by name.

    ``aside`` names the bad shards, which are left out.
    """

    job: ScoringJob
    shards: tuple[Shard, ...]
    digests: Mapping[str, str]
    aside: tuple[str, ...]
    rows: int | None = None  # of all shards, where the files say how many they have

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

    ``refusal`` says why an older state cannot be reused; it is empty if there is none, or it can be reused.
    """

    path: Path
    record: JobRecord
    aside: tuple[str, ...]
    refusal: str = ""


def folder(out: Path) -> Path:
    """Return the folder of learned states."""
    return out / manifest.FOLDER / "learned"


def prepare(learning: LearningInput, *, fresh: bool) -> tuple[Scorer, ...]:
    """Return the scorers of a job in order. Those that learn do so now, or reload what they learned before.

    ``fresh`` says that no shard is scored yet.

    Raises:
        Interrupted: if some shards are scored with another learned state.
        SchemaError: if a scorer reads a column from the data that a later one adds.
    """
    scorers: tuple[Scorer, ...] = ()
    out = learning.job.out
    for position, spec in enumerate(learning.job.specs):
        if not learns(spec):
            scorers += (scorer_specs.build(spec),)
            continue
        state = learned_state(learning, position)
        if state.refusal and not fresh:
            raise Interrupted(
                f"{out}: scorer {open_sets.parse(spec)[0]} was {state.refusal}, and some shards are scored with it. "
                "Give --restart to learn and score again, or another --out"
            )
        scorer = _load(spec, state.path) if files.exists(state.path) else _learn(spec, scorers, learning, state.path)
        # Written after every use, not only after learning: a record of format 1 becomes one of the present format. It
        # keeps the inputs that were learned from, which are fewer than those of this job if some were set aside then.
        record = {"scorer": spec, **state.record.to_json(), "aside": sorted(state.aside), "notes": notes((scorer,))}
        artifacts.save(state.path.with_suffix(".json"), "learned", record)
        scorers += (scorer,)
    # Only now is it known what learned scorers read and add.
    read = set(inputs(scorers))
    if clash := sorted(read & {column for scorer in scorers for column in scorer.schema}):
        raise SchemaError(f"{clash[0]} is read from the data by one scorer and made by a later one: change their order")
    return scorers


def notes(scorers: Sequence[Scorer]) -> tuple[str, ...]:
    """Return the notes of scorers on what they learned: their property ``notes``, if they have one."""
    return tuple(note for scorer in scorers for note in getattr(scorer, "notes", ()))


def learned_state(learning: LearningInput, position: int) -> LearnedState:
    """Return the learned state of the scorer at ``position``: an older one if it can be reused, else a new one.

    Shards that were set aside when the scorer learned, and are whole now, are scored with the state as it is.
    """
    name = open_sets.parse(learning.job.specs[position])[0]
    out, expected, refusal = learning.job.out, learning.record(position), ""
    for path in files.below(folder(out), ".json"):
        if not path.name.startswith(f"{position}-{name}-"):
            continue
        record = artifacts.load(path, "learned")
        before = job_record.from_json(record)
        aside_then = tuple(cast(Sequence[str], record["aside"]))
        aside = {*aside_then, *learning.aside}
        paths = {shard.relative: shard.path for shard in learning.shards}
        inputs = {
            name: _comparable(file, before.inputs.get(name), paths[name]) for name, file in expected.inputs.items()
        }
        changes = job_record.input_changes(
            {name: file for name, file in before.inputs.items() if name not in learning.aside},
            {name: file for name, file in inputs.items() if name in before.inputs or name not in aside},
        )
        # Records of format 1 hold no arguments. Those states have them in their file names, as a hash.
        if "arguments" in record:
            same_arguments = before.arguments == expected.arguments
        else:
            same_arguments = path.stem.endswith(_old_key(learning, before, position))
        if same_arguments and not changes and files.exists(path.with_suffix(".npz")):
            return LearnedState(path.with_suffix(".npz"), JobRecord(expected.arguments, before.inputs), aside_then)
        refusal = "learned with other options, or in another place among the scorers"
        if changes:
            refusal = f"learned from other input files than these ({job_record.listed(changes)})"
    key = text_hash(repr((sorted(expected.arguments.items()), sorted(learning.digests.items()))))[:16]
    return LearnedState(folder(out) / f"{position}-{name}-{key}.npz", expected, learning.aside, refusal)


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


def _load(spec: str, path: Path) -> Scorer:
    name, options = open_sets.parse(spec)
    scorer = open_sets.implementation("scorers", name)
    # Options that are also fields of the scorer. The other options only matter while it learns.
    plain = {field.name: options[field.name] for field in fields(scorer) if field.name in options}
    try:
        # Arrays only: a pickle could run any code.
        with files.opened(path) as file, np.load(file, allow_pickle=False) as state:
            return cast(Scorer, scorer(**dict(state.items()), **plain))
    except (ValueError, TypeError, EOFError, BadZipFile) as error:
        raise Interrupted(
            f"{path} is damaged ({' '.join(str(error).split())}): give --restart to learn and score again"
        ) from None


def _learn(spec: str, earlier: tuple[Scorer, ...], learning: LearningInput, path: Path) -> Scorer:
    name, options = open_sets.parse(spec)
    scorer = open_sets.module("scorers", name).learn(_stream(earlier, learning, name), **options)
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **scorer.arrays)
    return cast(Scorer, scorer)


def scorer_words(name: str) -> str:
    """Return a scorer's name as words for progress: ``class prototypes``. The user's own scorers have no such name."""
    return name.replace("_", " ") if name.replace("_", "").isalpha() else "from the data"


def _stream(earlier: tuple[Scorer, ...], learning: LearningInput, name: str) -> Stream:
    """Return the function that gives a scorer its batches, with the columns that earlier scorers add."""
    added = {column for scorer in earlier for column in scorer.schema}
    counts = "rows" if learning.rows else "files"
    words, total = f"{counts} read to learn {scorer_words(name)}", learning.rows or len(learning.shards)

    def stream(needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        # Columns that earlier scorers add are not read but computed, from the columns that those scorers read.
        others = (name for name in needs if name not in added and name not in batches.IDENTITY)
        wanted = tuple(dict.fromkeys((*inputs(earlier), *others)))
        rows = 0
        report(words, 0, total)
        for done, shard in enumerate(learning.shards, start=1):
            # Bad lines are passed over here. The job counts and records them when it scores.
            reading = replace(learning.job.reading, bad_lines=BadLines())
            for batch in batches.batches(shard, wanted, reading=reading, size=batches.BATCH_BYTES):
                yield apply(earlier, batch)
                rows += batch.height
                if learning.rows:
                    report(words, rows, total)
            if not learning.rows:
                report(words, done, total)

    return stream
