"""Hold the plans for several budgets, with all that `curate plan` reports: tables, a chart, the text and plan.json.

In: what `curate.planning.job.plans` computed. Out: `Plans`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.planning import plan as planner
from curate.planning import summary
from curate.planning.details import answers
from curate.planning.details.answers import EvalFront, KeepAdvice, ShareIntervals
from curate.planning.details.crossings import PoolCrossing
from curate.planning.details.grid import Grid
from curate.planning.plan import Plan
from curate.pool import baselines
from curate.pool.pool import Pool, to_json
from curate.storage import artifacts
from curate.storage.artifacts import Provenance
from curate.tables.token_counts import estimate_lines

if TYPE_CHECKING:
    from curate.charts.chart import Chart


@dataclass(frozen=True, repr=False)
class Plans:
    """Plans for one or several budgets. It is a sequence of `Plan`: ``len``, iteration and indexing work.

    Attributes:
        plans: one plan a budget.
        intervals: how far the shares of each plan may move.
        grid: plans at 16 token counts from a third of the smallest to three times the largest planned tokens, for each
            planned size. They show how the best mixture changes with the tokens.
        fitted: smallest and largest ``tokens`` and ``params`` of the fitted runs. What lies outside is extrapolated.
        crossings: pools that enter or leave between the budgets; None if that was not looked for.
        fronts: the Pareto front of two evals at each budget; empty if none was asked for.
        keep: how many score bins to keep; None if that was not asked for.
        pools: the pools, in the order in which they were given.
        origin: the arguments and inputs that plan.json records.
    """

    plans: tuple[Plan, ...]
    intervals: tuple[ShareIntervals, ...]
    grid: Grid
    fitted: Mapping[str, tuple[float, float]]
    crossings: tuple[PoolCrossing, ...] | None
    fronts: tuple[EvalFront, ...]
    keep: KeepAdvice | None
    pools: tuple[Pool, ...]
    origin: Provenance

    def __len__(self) -> int:
        """Return the number of budgets."""
        return len(self.plans)

    def __iter__(self) -> Iterator[Plan]:
        """Iterate over the plans, one a budget."""
        return iter(self.plans)

    def __getitem__(self, i: int) -> Plan:
        """Return the plan of budget number ``i``, from 0."""
        return self.plans[i]

    def __repr__(self) -> str:
        """Return one line: the number of budgets and their range."""
        tokens = [plan.budget.tokens for plan in self.plans]
        return f"Plans({len(self)} budgets of {min(tokens):.3g} to {max(tokens):.3g} tokens, {len(self.pools)} pools)"

    def table(self) -> pl.DataFrame:
        """Return one row for each budget and pool; see `curate.planning.plan.table`."""
        return planner.table(self.plans)

    def interval_table(self) -> pl.DataFrame:
        """Return one row a budget and pool: tokens, params, pool, weight, near_low, near_high, low, high.

        ``near_low`` and ``near_high`` bound the share among near-optimal mixtures; ``low`` and ``high`` bound it over
        bootstrap draws. They are null where they were not computed.
        """
        rows = []
        for plan, interval in zip(self.plans, self.intervals, strict=True):
            for pool, weight in plan.weights.items():
                near = (interval.near_optimal or {}).get(pool, (None, None))
                drawn = (interval.over_draws or {}).get(pool, (None, None))
                rows.append((plan.budget.tokens, plan.budget.params, pool, weight, *near, *drawn))
        titles = ("tokens", "params", "pool", "weight", "near_low", "near_high", "low", "high")
        schema = {title: pl.String if title == "pool" else pl.Float64 for title in titles}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def chart(self) -> "Chart":
        """Return an Altair chart of the shares over the budgets; of one budget, a bar a pool."""
        import altair as alt

        from curate.charts import plan_charts

        if len(self) > 1:
            return plan_charts.shares(self.table())
        title = "share of training tokens"
        bars: Chart = (
            alt.Chart(self.table()).mark_bar().encode(x=alt.X("weight:Q", title=title), y=alt.Y("pool:N", sort="-x"))
        )
        return bars

    def summary(self) -> str:
        """Return the text that `curate plan` prints."""
        parts = [summary.explanation(self.plans), *estimate_lines(self.pools), "", summary.plans_table(self.plans)]
        if any(interval.to_json() for interval in self.intervals):
            parts += ["", summary.FREEDOM, summary.intervals_table(self.plans, self.intervals)]
        if self.crossings is not None:
            title = "Pools that enter or leave the mixture as compute grows:"
            parts += ["", title, *summary.crossing_lines(self.crossings)]
        if self.keep is not None:
            parts += ["", "How much of the scored data to keep:", *summary.keep_lines(self.keep)]
        for front in self.fronts:
            title = f"Pareto front of {' and '.join(front.evals)} at {front.budget.tokens:.2g} tokens:"
            parts += ["", title, summary.front_table(front)]
        warnings = list(summary.warning_lines(self.plans))
        return "\n".join([*parts, *([""] if warnings and warnings[0] else []), *warnings])

    def record(self) -> dict[str, object]:
        """Return the content of plan.json, without its format number."""
        rows = planner.to_json(self.plans)
        plans = [row | interval.to_json() for row, interval in zip(rows, self.intervals, strict=True)]
        fixed = baselines.fixed(self.pools).items()
        record: dict[str, object] = {
            "plans": plans,
            "grid": planner.to_json(self.grid.plans),
            "fitted": {name: list(ends) for name, ends in self.fitted.items()},
            "baselines": {name: baselines.named(self.pools, shares) for name, shares in fixed},
            "pools": to_json(self.pools),
            "made_by": self.origin.made_by(),
        }
        if self.grid.omitted:
            record["grid_omitted"] = [point.to_json() for point in self.grid.omitted]
        if self.crossings is not None:
            record["crossings"] = [answers.as_entry(crossing) for crossing in self.crossings]
        if self.fronts:
            record["front"] = [front.to_json() for front in self.fronts]
        if self.keep is not None:
            record["keep"] = self.keep.to_json()
        return record

    def save(self, path: str | Path) -> None:
        """Write plan.json to ``path``, exactly as `curate plan` does."""
        artifacts.save(Path(path), "plan", self.record())

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{escape(line)}</li>" for line in summary.warning_lines(self.plans) if line)
        return f"<p>{escape(repr(self))}</p>{self.table()._repr_html_()}<ul>{lines}</ul>"
