"""The result of `select`: how much to take of each source, as a table, a chart and plan.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.errors import first_few
from curate.planning import plan
from curate.pool.pool import Pool, to_json
from curate.selection.purchase import MixtureChoice, Pilots
from curate.selection.sources import examples_of
from curate.storage import artifacts
from curate.transport.ground_cost import TransportProblem

if TYPE_CHECKING:
    from curate.charts.chart import Chart


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """How many examples to take of each source.

    ``choice``: the mixture and what it was compared with. ``pools``: the sources, with tokens and examples on offer.
    ``problem``: the samples. ``pilots``: small runs, if there were any. ``made_by``: arguments and content hashes.
    ``notes``: the sources that were left out.
    """

    choice: MixtureChoice
    pools: tuple[Pool, ...]
    problem: TransportProblem
    pilots: Pilots | None
    made_by: Mapping[str, object]
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to mind about the chosen mixture and the small runs, and which sources were left out."""
        return (*self.notes, *self.choice.plan.warnings, *(self.pilots.notes if self.pilots is not None else ()))

    def table(self) -> pl.DataFrame:
        """Return one row a source: source, share (of examples), examples."""
        shares = self.choice.plan.weights
        rows = [{"source": name, "share": shares[name], "examples": n} for name, n in self.choice.examples.items()]
        return pl.DataFrame(rows)

    def compared(self) -> pl.DataFrame:
        """Return the comparison with other mixtures; see `MixtureChoice.table` for the columns.

        Columns that were not measured are left out: those of a loss without runs, the cost without prices.
        """
        table = self.choice.table()
        if self.pilots is None:
            table = table.drop("loss", "low", "high", "gain", "gain_low", "gain_high")
        return table.drop("cost") if table["cost"].null_count() else table

    def chart(self) -> "Chart":
        """Show the share of each source, and the distance of the compared mixtures."""
        from curate.charts import row_charts

        return row_charts.selection(self.table(), self.choice.table(), self.choice.chosen)

    def to_json(self) -> dict[str, object]:
        """Return the content of plan.json, without ``made_by``."""
        choice = self.choice
        return {
            "plans": [self._plan()],
            "baselines": {
                row.name: dict(zip(self.problem.names, row.weights.tolist(), strict=True))
                for row in choice.rows
                if row.weights is not None
            },
            "compared": choice.table().to_dicts(),
            "chosen": {"name": choice.chosen, "why": choice.why, "form": choice.form, "left_out": dict(choice.errors)},
            "pools": to_json(self.pools),
        }

    def save(self, path: Path | str) -> None:
        """Write plan.json, which `export` and `materialize` read."""
        artifacts.save(Path(path), "plan", self.to_json() | {"made_by": self.made_by})

    def _plan(self) -> dict[str, object]:
        """Return the plan. Training is counted in tokens, so that shares and budget are; examples stand beside."""
        (entry,) = plan.to_json([self.choice.plan])
        tokens_per_example = {pool.name: pool.tokens / examples_of(pool) for pool in self.pools}
        tokens = {name: count * tokens_per_example[name] for name, count in self.choice.examples.items()}
        total = sum(tokens.values())
        entry["budget"] = {"tokens": float(round(total)), "params": self.choice.plan.budget.params}
        entry["weights"] = {name: count / total for name, count in tokens.items()}
        entry["epochs"] = {pool.name: tokens[pool.name] / pool.tokens for pool in self.pools}
        entry["examples"] = dict(self.choice.examples)
        entry["predicts"] = "distance" if self.pilots is None else ("error" if self.pilots.top else "loss")
        return entry

    def __repr__(self) -> str:
        """Return the examples of each source and the reason for the choice."""
        counts = first_few(f"{name} {count:,}" for name, count in self.choice.examples.items() if count)
        return f"Selection({counts})\n{self.choice.chosen}: {self.choice.why}"

    def _repr_html_(self) -> str:
        from html import escape

        reason = escape(f"{self.choice.chosen}: {self.choice.why}")
        return f"{self.table()._repr_html_()}<p>{reason}</p>{self.compared()._repr_html_()}"
