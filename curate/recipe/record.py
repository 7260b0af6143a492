"""Record which recipe a folder was made by, and how far each of its steps came: ``OUT/_curate/recipe.json``.

A step is recorded when it begins, when it ends, and when it fails. The record holds the arguments of the step, a hash
of what earlier steps wrote, and the hash of every file that the step wrote. A later run does a step again if one of
these differs.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

from curate.errors import Interrupted
from curate.recipe.read_recipe import DataRecipe
from curate.storage import artifacts, files, job_record, manifest, s3
from curate.storage.job_record import InputFile, JobRecord

NAME = "recipe.json"


@dataclass(frozen=True)
class StepRecord:
    """One step as it was begun or ended. ``earlier`` is a hash of what the steps before it wrote."""

    arguments: Mapping[str, object]
    earlier: str
    ended: bool = False
    outputs: Mapping[str, InputFile] = field(default_factory=dict)


@dataclass(frozen=True)
class StepFailure:
    """The step at which the last run stopped with an error, and its message."""

    step: str
    reason: str


@dataclass(frozen=True)
class RunRecord:
    """The recipe of a folder and its steps by name. ``recipe`` is its path as seen from the folder, or empty."""

    recipe: str
    content: str
    steps: Mapping[str, StepRecord] = field(default_factory=dict)
    failed: StepFailure | None = None

    def with_step(self, name: str, step: StepRecord) -> "RunRecord":
        """Return the record with one step replaced."""
        return replace(self, steps={**self.steps, name: step})


def path(out: Path) -> Path:
    """Return the path of the record of a folder."""
    return out / manifest.FOLDER / NAME


def load(out: Path) -> RunRecord | None:
    """Return the record of a folder; None if no recipe was run there."""
    if not files.exists(path(out)):
        return None
    fields = artifacts.load(path(out), "recipe_run")
    steps = {}
    for name, step in cast(Mapping[str, Mapping[str, object]], fields["steps"]).items():
        outputs = job_record.from_json({"arguments": {}, "inputs": step["outputs"]}).inputs
        arguments = cast(Mapping[str, object], step["arguments"])
        steps[name] = StepRecord(arguments, str(step["earlier"]), bool(step["ended"]), outputs)
    failed = cast(Mapping[str, str] | None, fields.get("failed"))
    failure = None if failed is None else StepFailure(failed["step"], failed["reason"])
    return RunRecord(str(fields["recipe"]), str(fields["content"]), steps, failure)


def save(out: Path, record: RunRecord) -> None:
    """Write the record of a folder."""
    steps = {
        name: {
            "arguments": dict(step.arguments),
            "earlier": step.earlier,
            "ended": step.ended,
            "outputs": JobRecord({}, step.outputs).to_json()["inputs"],
        }
        for name, step in record.steps.items()
    }
    fields: dict[str, object] = {"recipe": record.recipe, "content": record.content, "steps": steps}
    if record.failed is not None:
        fields["failed"] = asdict(record.failed)
    artifacts.save(path(out), "recipe_run", fields)


def begun(out: Path, recipe: DataRecipe, before: RunRecord | None, *, restart: bool) -> RunRecord:
    """Return the record with which a recipe goes on in a folder.

    A recipe that was edited goes on. Another recipe is refused: it would mix its results with those that are there.

    Raises:
        Interrupted: if the folder holds the results of another recipe.
    """
    name = _seen_from(out, recipe.name)
    if before is None or restart:
        return RunRecord(name, recipe.content)
    if name != before.recipe and recipe.content != before.content:
        raise Interrupted(
            f"{s3.shown(out)} holds the results of {named(before.recipe, out)}, and this is "
            f"{recipe.name or 'a recipe in memory'}. Give another --out, or --restart to replace them"
        )
    return RunRecord(name, recipe.content, before.steps)


def _seen_from(out: Path, recipe: str) -> str:
    """Return the path of a recipe from the output folder, so that both may be moved together."""
    if not recipe or s3.remote(out) or s3.remote(Path(recipe)):
        return recipe
    return Path(os.path.relpath(os.path.realpath(recipe), os.path.realpath(out))).as_posix()


def named(recipe: str, out: Path) -> str:
    """Return the path of the recipe of a record as seen from the working directory, or words for one without a file."""
    if not recipe:
        return "a recipe in memory"
    return recipe if s3.remote(out) else os.path.relpath(os.path.normpath(os.path.realpath(out / recipe)))
