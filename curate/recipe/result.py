"""What a run of a recipe did, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.pool.pool import load_pools
from curate.pruning.make_pools import Pools
from curate.pruning.pruned import Pruned
from curate.recipe.keys import POOLS
from curate.recipe.steps import FOLDERS, RecipeStep
from curate.scoring.reports.result import Scored
from curate.storage import files, s3
from curate.training_set.draw import TrainingSet

if TYPE_CHECKING:
    from curate.charts.chart import Chart

JobResult = Scored | Pruned | Pools | TrainingSet


@dataclass(frozen=True)
class StepDone:
    """One step of a run. ``why`` says why it was done or is to be done; empty if it was done before.

    ``result`` is the result of its job; None if the step was done before, or in a dry run.
    """

    step: RecipeStep
    why: str
    result: JobResult | None = field(default=None, compare=False)


@dataclass(frozen=True, repr=False)
class RecipeResult:
    """What `run` did, or would do: its steps in order. ``notes`` say what lies in the folder and is not of the recipe.

    ``dry_run``: nothing was done.
    """

    out: Path
    steps: tuple[StepDone, ...]
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """Return whether every step was done before."""
        return not any(done.why for done in self.steps)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a user should know before going on, each warning once."""
        return tuple(dict.fromkeys(line for done in self.steps for line in getattr(done.result, "warnings", ())))

    @property
    def set_aside(self) -> Mapping[str, str]:
        """Return the input files that could not be read, with the reasons."""
        results = [done.result for done in self.steps]
        return next((result.quarantined for result in results if isinstance(result, Scored)), {})

    def table(self) -> pl.DataFrame:
        """Return one row for each step: step, state (done, done before, to do), why, and out, the path it writes."""
        schema = {name: pl.String for name in ("step", "state", "why", "out")}
        rows = [(done.step.name, self.state(done), done.why, s3.shown(done.step.out)) for done in self.steps]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def state(self, done: StepDone) -> str:
        """Return whether a step is done, was done before, or is to do."""
        return ("to do" if self.dry_run else "done") if done.why else "done before"

    def record(self) -> dict[str, object]:
        """Return the result as plain values, ready for JSON."""
        steps: list[dict[str, object]] = [
            {**row, "result": _record(done.result)}
            for row, done in zip(self.table().to_dicts(), self.steps, strict=True)
        ]
        record: dict[str, object] = {"out": str(self.out), "dry_run": self.dry_run, "steps": steps}
        return record | {"warnings": list(self.warnings), "notes": list(self.notes), "set_aside": dict(self.set_aside)}

    def chart(self) -> "Chart":
        """Return a bar chart of the unique tokens of each pool; it is empty if the recipe makes no pools."""
        from curate.charts import row_charts

        path = self.out / FOLDERS[POOLS.name]
        pools = load_pools(path) if files.exists(path) else ()
        return row_charts.pool_tokens(Pools(tuple(pools), {}).table())

    def __repr__(self) -> str:
        """Return the folder, and one line for each step."""
        lines = [f"RecipeResult in {s3.shown(self.out)}"]
        lines += [f"{done.step}: {self.state(done)}{f' ({done.why})' if done.why else ''}" for done in self.steps]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        notes = (*(f"warning: {line}" for line in self.warnings), *self.notes)
        return self.table()._repr_html_() + "".join(f"<p>{escape(note)}</p>" for note in notes)


def _record(result: JobResult | None) -> object:
    """Return the result of a step as plain values; a scoring job has no record of its own."""
    if result is None:
        return None
    if isinstance(result, Scored):
        record: dict[str, object] = {"rows": result.rows, "shards": result.shards, "notes": list(result.notes)}
        return record | {"quarantined": dict(result.quarantined), "bad_lines": dict(result.bad_lines)}
    return result.record()
