"""The job `run`: score, prune, make pools and draw a training set, as a recipe says, with one resume.

In: a recipe and an output folder. Out: ``OUT/scores``, ``OUT/kept``, ``OUT/pools.json`` and ``OUT/train``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import CurateError, SchemaError
from curate.progress import Progress, silent
from curate.recipe import record, steps
from curate.recipe.keys import SCORE
from curate.recipe.read_recipe import DataRecipe, read
from curate.recipe.record import RunRecord, StepFailure, StepRecord
from curate.recipe.result import JobResult, RecipeResult, StepDone
from curate.recipe.steps import HowToRun, RecipeStep
from curate.storage import completion, files, s3
from curate.storage.locks import lock

STEP = "run"  # the name of this job in the records of its folder


def run(
    recipe: str | Path | Mapping[str, object],
    out: str | Path = "",
    *,
    dry_run: bool = False,
    restart: bool = False,
    engine: Engine | None = None,
    take_over: bool = False,
    progress: Progress = silent,
) -> RecipeResult:
    """Do the steps of a recipe that are not done yet: score, prune, pools and materialize.

    Call it again to continue a run that was interrupted. After an edit of the recipe, a step is done again if its own
    options changed, or if an earlier step wrote other files. Scores are never deleted without ``restart``: a change of
    the scorers is refused by the step `score`, with what changed.

    Args:
        recipe: the path of a TOML file with the tables ``[data]``, ``[[score]]``, ``[prune]``, ``[pools]`` and
            ``[materialize]``, or a dictionary of the same tables. Relative paths in a file begin at its folder.
        out: the folder to write. Empty: the key ``out`` of the recipe.
        dry_run: only say which steps would be done, and why. Nothing is written.
        restart: delete the results of earlier runs and start over.
        engine: where the steps run; None runs them in this process.
        take_over: write even if a job on another machine holds ``out``; that job stops.
        progress: is called with three values: what is counted, such as ``2 of 4 prune, rows read``, how many are done,
            and how many there are.

    Returns:
        What each step did, with the results of the jobs.

    Raises:
        SchemaError: if the recipe is wrong. Nothing is done then. Or if a step cannot use its input.
        Interrupted: if ``out`` holds the results of another recipe, or its scores are of other scorers.
        FolderBusy: if another job writes in ``out``.
    """
    checked = read(recipe)
    folder = _folder(checked, out)
    lock.check_place(folder)
    todo = steps.steps(checked, folder)
    if dry_run:
        return RecipeResult(folder, _preview(checked, folder, todo, restart=restart), dry_run=True)
    with (
        lock.held(folder, STEP, take_over=take_over, progress=progress),
        # One set of workers for all steps: starting them takes seconds.
        (engine or Local()).session(folders=(folder,)) as session,
    ):
        return _run(checked, folder, todo, HowToRun(session, restart, take_over), progress)


def _folder(recipe: DataRecipe, out: str | Path) -> Path:
    if not str(out) and not recipe.out:
        raise SchemaError('no folder to write: give --out DIR, or write out = "DIR" above the tables of the recipe')
    return Path(out) if str(out) else Path(recipe.out)


def _run(
    recipe: DataRecipe, out: Path, todo: tuple[RecipeStep, ...], how: HowToRun, progress: Progress
) -> RecipeResult:
    """Do the steps that are to do, in a folder that this job holds."""
    recorded = record.load(out)
    state = record.begun(out, recipe, recorded, restart=how.restart)
    done: list[StepDone] = []
    for step in todo:
        before, earlier = state.steps.get(step.name), _earlier(state, todo, step, recipe)
        why = step.reason(before, earlier)
        if not why:
            done.append(StepDone(step, ""))
            continue
        if not any(item.why for item in done):
            completion.begin(out, STEP, [item.name for item in todo])
        # A run that is killed in this step finds that the files of the step are its own.
        record.save(out, state.with_step(step.name, StepRecord(step.arguments, earlier)))
        try:
            result = cast(JobResult, step.run(how, owned=before is not None, progress=_numbered(step, progress)))
        except CurateError as error:
            # A step that refuses its options has changed nothing: when the user takes them back, all is as before.
            record.save(out, replace(state, failed=StepFailure(step.name, str(error))))
            error.args = (f"step {step}: {error}", *error.args[1:])
            raise
        outputs = step.outputs({} if before is None else before.outputs)
        state = state.with_step(step.name, StepRecord(step.arguments, earlier, ended=True, outputs=outputs))
        record.save(out, state)
        done.append(StepDone(step, why, result))
    final = replace(state, steps={step.name: state.steps[step.name] for step in todo})
    if final != recorded:
        record.save(out, final)
    _record_end(out, [step.name for step in todo])
    return RecipeResult(out, tuple(done), notes=_left_over(state, todo, out))


def _record_end(out: Path, names: list[str]) -> None:
    """Record that all steps are done, unless that is recorded. A run may be killed between its last step and this."""
    before = completion.read(out, STEP)
    if before is None or set(before.inputs) != set(names):
        completion.begin(out, STEP, names)
    elif before.ended:
        return
    completion.end(out, STEP)


def _preview(recipe: DataRecipe, out: Path, todo: tuple[RecipeStep, ...], *, restart: bool) -> tuple[StepDone, ...]:
    """Return the steps with why each would be done."""
    state = record.begun(out, recipe, record.load(out), restart=restart)
    done: list[StepDone] = []
    for step in todo:
        why = step.reason(state.steps.get(step.name), _earlier(state, todo, step, recipe))
        if not why and (first := next((item for item in done if item.why), None)):
            why = f"only if {first.step.name} gives other results"
        done.append(StepDone(step, why))
    return tuple(done)


def _earlier(state: RunRecord, todo: tuple[RecipeStep, ...], step: RecipeStep, recipe: DataRecipe) -> str:
    """Return a hash of what a step reads: the files of earlier steps, and the data. The first step checks itself."""
    if step.name == SCORE.name:
        return ""
    outputs = {
        f"{other.name}/{name}": file.hash
        for other in todo[: step.number - 1]
        if other.name in state.steps
        for name, file in state.steps[other.name].outputs.items()
    }
    return files.text_hash(repr(sorted(outputs.items())) + steps.read_besides(step, recipe))


def _numbered(step: RecipeStep, progress: Progress) -> Progress:
    """Return a callback that names the step before what is counted."""
    if progress is silent:
        return silent

    def report(what: str, done: int, total: int) -> None:
        progress(f"{step}, {what}", done, total)

    return report


def _left_over(state: RunRecord, todo: tuple[RecipeStep, ...], out: Path) -> tuple[str, ...]:
    """Return a note for each earlier output that the recipe does not make any more."""
    gone = [name for name in state.steps if name not in {step.name for step in todo}]
    return tuple(
        f"{s3.shown(out / steps.FOLDERS[name])} is of an earlier version of the recipe, which had [{name}]. Remove it "
        "if you do not need it"
        for name in gone
    )
