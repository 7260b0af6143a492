"""The steps of a run: what each one is given, which files it writes, and why it must be done again.

In: a recipe and an output folder. Out: steps in order. A step calls the same function as its command.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from curate.engines import Engine
from curate.errors import CurateError, Interrupted, SchemaError, amount
from curate.progress import Progress, reporting
from curate.pruning.make_pools import Pools
from curate.recipe.keys import JOBS, MATERIALIZE, POOLS, PRUNE, SCORE, JobFunction
from curate.recipe.read_recipe import DataRecipe
from curate.recipe.record import StepRecord
from curate.scoring.reports import status
from curate.storage import arguments as written_arguments
from curate.storage import completion, files, job_record, manifest
from curate.storage.job_record import InputFile
from curate.storage.s3 import spelled
from curate.tables import batches, scored

FOLDERS: Mapping[str, str] = {"score": "scores", "prune": "kept", "pools": "pools.json", "materialize": "train"}
NEVER_DONE = "first time"
STOPPED = "it was stopped before its end"


@dataclass(frozen=True)
class HowToRun:
    """Where the steps of a run work, and what they may overwrite: the same for all steps."""

    engine: Engine
    restart: bool
    take_over: bool


@dataclass(frozen=True)
class RecipeStep:
    """One step: its name, its number from 1 of ``total``, its inputs, its options, and the file or folder it writes.

    ``inputs`` are positional arguments of the job's function. ``options`` are those by name, as the recipe says.
    """

    name: str
    number: int
    total: int
    out: Path
    inputs: tuple[object, ...]
    options: Mapping[str, object]
    flags: Mapping[str, object]

    def __str__(self) -> str:
        """Return the step as progress lines name it."""
        return f"{self.number} of {self.total} {self.name}"

    @property
    def arguments(self) -> dict[str, object]:
        """All arguments on which the results of the step depend, as JSON values."""
        values = written_arguments.as_json({"inputs": list(self.inputs), "out": self.out, **self.options})
        # Addresses of objects are spelled as in the record, with which they are compared.
        return cast(dict[str, object], json.loads(spelled(json.dumps(values))))

    def reason(self, before: StepRecord | None, earlier: str) -> str:
        """Return why the step must be done (again), as part of a sentence; empty if all that it writes is in place."""
        if before is None:
            return NEVER_DONE
        if changes := job_record.argument_changes(before.arguments, self.arguments):
            return job_record.listed(changes)
        if not before.ended or not self._has_ended():
            return STOPPED
        if before.earlier != earlier:
            return "an earlier step has other results"
        return self.changes_since(before)

    def changes_since(self, before: StepRecord) -> str:
        """Return what happened to the files of a step that had ended, and to its input files; empty if nothing."""
        if changes := job_record.input_changes(before.outputs, self.outputs(before.outputs)):
            return job_record.listed(changes)
        return _unscored(self.out) if self.name == SCORE.name else ""

    def outputs(self, before: Mapping[str, InputFile]) -> dict[str, InputFile]:
        """Return the files that the step has written, by name; a file is hashed if it is not as it was ``before``."""
        if self.name == POOLS.name:
            return {self.out.name: _file(self.out, before.get(self.out.name))} if files.exists(self.out) else {}
        ending = scored.SCORES if self.name == SCORE.name else ""
        names = {path: path.relative_to(self.out).as_posix() for path in files.below(self.out, ending)}
        names = {path: name for path, name in names.items() if not name.startswith((manifest.FOLDER, "."))}
        return {name: _file(path, before.get(name)) for path, name in names.items()}

    def run(self, how: HowToRun, *, owned: bool, progress: Progress) -> object:
        """Do the step, and return the result of its job.

        ``owned`` says that an earlier run began this step: then what is in its folder may be replaced.
        """
        options: dict[str, object] = {**self.options, "engine": how.engine}
        if self.name != POOLS.name:
            options |= {"take_over": how.take_over, "progress": progress}
        if self.name in (SCORE.name, MATERIALIZE.name):
            options["restart"] = how.restart
        function = _function(self.name)
        with reporting(progress):
            if self.name == POOLS.name:
                pools = cast(Pools, function(*self.inputs, **options))
                pools.save(self.out)
                return pools
            try:
                return function(*self.inputs, self.out, **options)
            except Interrupted:
                # The recipe changed since this training set was drawn. It takes no hours, as scores do.
                if self.name != MATERIALIZE.name or not owned or how.restart:
                    raise
                return function(*self.inputs, self.out, **{**options, "restart": True})

    def _has_ended(self) -> bool:
        """Return whether the job of the step has come to its end in its folder."""
        if self.name == POOLS.name:
            return files.exists(self.out)
        record = completion.read(self.out, self.name)
        return record is not None and record.ended


def steps(recipe: DataRecipe, out: Path) -> tuple[RecipeStep, ...]:
    """Return the steps of a recipe that writes below ``out``."""
    names = [job.name for job in JOBS.values() if job.name in recipe.options]
    return tuple(
        RecipeStep(
            name,
            number,
            len(names),
            out / FOLDERS[name],
            _inputs(name, recipe, out),
            _options(name, recipe, out),
            recipe.flags[name],
        )
        for number, name in enumerate(names, start=1)
    )


def read_besides(step: RecipeStep, recipe: DataRecipe) -> str:
    """Return a text that changes with the files that a step reads besides those of earlier steps: data and a plan.

    The scores do not tell of columns that no scorer reads. A requirement may read these.
    """
    try:
        stamps = [(shard.relative, files.stamp(shard.path)) for shard in batches.inputs(recipe.data).shards]
    except (SchemaError, OSError):
        # The step `score` says what is wrong with the data.
        stamps = []
    plan = recipe.options[step.name].get("plan") if step.name == MATERIALIZE.name else None
    hashed = files.content_hash(Path(str(plan))) if plan is not None and files.exists(Path(str(plan))) else ""
    return repr((stamps, hashed))


def _inputs(name: str, recipe: DataRecipe, out: Path) -> tuple[object, ...]:
    if name == SCORE.name:
        return list(recipe.data), list(recipe.scorers)
    if name == MATERIALIZE.name:
        return (recipe.options[name].get("plan", str(out / FOLDERS[POOLS.name])),)
    return (str(out / FOLDERS[SCORE.name]),)


def _options(name: str, recipe: DataRecipe, out: Path) -> dict[str, object]:
    options = dict(recipe.options[name])
    if name == POOLS.name and PRUNE.name in recipe.options:
        options["kept"] = str(out / FOLDERS[PRUNE.name])
    if name == MATERIALIZE.name and options.pop("plan", None) is not None:
        options["pools"] = str(out / FOLDERS[POOLS.name])
    return options


def _function(name: str) -> JobFunction:
    return next(job.function for job in JOBS.values() if job.name == name)


def _file(path: Path, before: InputFile | None) -> InputFile:
    """Return a file as it is now. It is read only if its stamp is not that of ``before``."""
    return job_record.current_inputs([path], {} if before is None else {str(path): before})[str(path)]


def _unscored(scores: Path) -> str:
    """Return how many input files a scoring job that has ended would still score; empty if none."""
    try:
        counts = status.counts(status.status(scores))
    except CurateError:
        # The job itself says what is wrong with its inputs.
        return "its inputs changed"
    counts.pop("done", 0)
    words = {"quarantined": "set aside", "refused": "changed", "to do": "not scored"}
    return ", ".join(f"{amount(count, 'input file')} {words.get(state, state)}" for state, count in counts.items())
