"""Tell how far a run of a recipe came: the state of each step, its rows, and what is next.

In: the output folder of a run. Out: `RunStatus`. The recipe is not needed: the folder records what began and ended.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import polars as pl

from curate.errors import CurateError, amount
from curate.pool.pool import load_pools
from curate.pruning import removal_table
from curate.recipe import record
from curate.recipe.keys import JOBS, MATERIALIZE, POOLS, PRUNE, SCORE
from curate.recipe.record import RunRecord
from curate.recipe.steps import FOLDERS, RecipeStep
from curate.scoring.reports import status
from curate.storage import artifacts, completion, files, s3
from curate.storage.locks import lock
from curate.training_set.job import INDEX

RUN = "run"  # the name of the job in its record of completion
DONE, RUNNING, STOPPED, FAILED, TO_DO = "done", "running", "stopped", "failed", "to do"


@dataclass(frozen=True)
class StepState:
    """One step of a run: its state, its rows, the path that it writes, and why it is not done.

    ``rows`` counts those scored, kept, in pools, or drawn; None where that is not known. ``state`` is one of done,
    running, stopped (before its end), failed and to do.
    """

    step: str
    state: str
    rows: int | None
    out: str
    why: str


@dataclass(frozen=True)
class RunStatus:
    """The steps of a run in order. ``recipe`` is the path of its recipe, and ``running`` the process that works now.

    ``edited`` says that the recipe was changed since the run, or is not in its place any more.
    """

    out: Path
    recipe: str
    steps: tuple[StepState, ...]
    running: str = ""
    edited: bool = False

    @property
    def next_step(self) -> StepState | None:
        """Return the first step that is not done; None if all are."""
        return next((step for step in self.steps if step.state != DONE), None)

    @property
    def next_line(self) -> str:
        """Return in one line what is next."""
        again = f"Run the same `curate run` again ({self.recipe})"
        if self.running:
            return f"the run still works: {self.running}"
        if (step := self.next_step) is None:
            line = f"all {amount(len(self.steps), 'step')} done"
        elif step.state == FAILED:
            line = f"next is {step.step}, which failed. Change what its message names. {again}"
        elif step.state == STOPPED:
            line = f"next is {step.step}, which was stopped before its end. {again}: it goes on there"
        else:
            line = f"next is {step.step}. {again}"
        return line + (f". {self.recipe} was changed or moved since: --dry-run tells what is done again" * self.edited)

    def table(self) -> pl.DataFrame:
        """Return one row for each step: step, state, rows, out, why."""
        schema = {"step": pl.String, "state": pl.String, "rows": pl.Int64, "out": pl.String, "why": pl.String}
        return pl.DataFrame([asdict(step) for step in self.steps], schema=schema)

    def record(self) -> dict[str, object]:
        """Return the state as plain values, ready for JSON."""
        step = self.next_step
        values = {"recipe": self.recipe, "running": self.running, "edited": self.edited}
        return {**values, "steps": self.table().to_dicts(), "next": None if step is None else step.step}


def has_run(out: Path) -> bool:
    """Return whether a recipe was run in a folder."""
    return files.exists(record.path(out)) or files.exists(completion.path(out, RUN))


def run_status(out: Path) -> RunStatus:
    """Return how far the run of a recipe came in a folder.

    Raises:
        CurateError: if a record of the folder is damaged.
    """
    # A run that is killed at once has recorded the names of its steps alone.
    recorded = record.load(out) or RunRecord("", "")
    begun = completion.read(out, RUN)
    names = {*recorded.steps, *(begun.inputs if begun is not None and not begun.ended else ())}
    ordered = [job.name for job in JOBS.values() if job.name in names]
    holder = lock.running(out)
    steps = [
        RecipeStep(name, number, len(ordered), out / FOLDERS[name], (), {}, {})
        for number, name in enumerate(ordered, start=1)
    ]
    states = tuple(_state(step, recorded, is_running=holder is not None) for step in steps)
    recipe = record.named(recorded.recipe, out)
    return RunStatus(out, recipe, states, "" if holder is None else str(holder), _is_edited(recorded, out))


def _is_edited(recorded: RunRecord, out: Path) -> bool:
    if not recorded.recipe:
        return False
    try:
        path = Path(recorded.recipe) if s3.remote(Path(recorded.recipe)) else out / recorded.recipe
        return files.text_hash(files.read_bytes(path).decode("utf-8-sig")) != recorded.content
    except (OSError, UnicodeDecodeError, CurateError):
        return True


def _state(step: RecipeStep, recorded: RunRecord, *, is_running: bool) -> StepState:
    before, place = recorded.steps.get(step.name), s3.shown(step.out)
    if recorded.failed is not None and recorded.failed.step == step.name:
        return StepState(step.name, FAILED, None, place, recorded.failed.reason)
    if before is None:
        return StepState(step.name, TO_DO, None, place, "")
    if not before.ended:
        rows, why = _scored_so_far(step.out) if step.name == SCORE.name else (None, "")
        return StepState(step.name, RUNNING if is_running else STOPPED, rows, place, why)
    if why := step.changes_since(before):
        return StepState(step.name, TO_DO, None, place, why)
    return StepState(step.name, DONE, _rows(step), place, "")


def _scored_so_far(scores: Path) -> tuple[int | None, str]:
    """Return how many rows are scored, and how many of the files."""
    try:
        states = status.status(scores)
    except CurateError:
        return None, ""  # the step was stopped before it had listed its files
    done = [state for state in states if state["state"] == DONE]
    return sum(int(state["rows"] or 0) for state in done), f"{len(done)} of {amount(len(states), 'file')} scored"


def _rows(step: RecipeStep) -> int | None:
    """Return the rows of a step that has ended: scored, kept, in pools, or drawn."""
    if step.name == SCORE.name:
        return _scored_so_far(step.out)[0]
    if step.name == PRUNE.name:
        with files.opened(step.out / removal_table.TABLE) as source:
            table = pl.read_parquet(source.read(), columns=["reason", "rows"])
        return int(table.filter(pl.col("reason") == removal_table.KEPT_REASON)["rows"].sum())
    if step.name == POOLS.name:
        counts = [pool.examples for pool in load_pools(step.out)]
        return None if None in counts else sum(cast(list[int], counts))
    assert step.name == MATERIALIZE.name
    shards = artifacts.load(step.out / INDEX, "training_set")["shards"]
    return sum(int(cast(int, shard["rows"])) for shard in cast(list[Mapping[str, object]], shards))
