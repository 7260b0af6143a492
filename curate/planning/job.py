"""Plan mixtures for one or several budgets, with all that `curate plan` reports: the function behind the command.

In: a predictor, pools and budgets. Out: `Plans`, which knows plan.json. A fit.json on disk is read one floor higher, by
`curate.fitting.from_fit.plan`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import polars as pl

from curate.errors import SchemaError
from curate.planning import aims, provenance, summary
from curate.planning import plan as planner
from curate.planning.aims import Aim
from curate.planning.details import answers
from curate.planning.details.answers import Front, KeepAdvice, PlanRequest, ShareIntervals
from curate.planning.details.crossings import PoolCrossing
from curate.planning.details.keep_curve import by_score
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.plan import Plan
from curate.pool import baselines
from curate.pool.pool import Budget, Pool, load_pools, parse_budget, to_json
from curate.runs.predictor import Predictor
from curate.storage import artifacts

if TYPE_CHECKING:
    from curate.charts import Chart

STRENGTH = 0.05  # nats of loss that a nat of divergence from a prior is worth
WITHIN = 1e-3  # nats that a near-optimal mixture may lose: about the noise of a run
DRAWS = 40  # bootstrap draws whose plans are searched; the ends of a 90 % interval need 40 or more
WORST = {"worst": "regret", "worst:loss": "loss"}  # targets that are no weighted sum


@runtime_checkable
class HasPredictor(Protocol):
    """Any result that carries a predictor, such as the report of a fit."""

    @property
    def predictor(self) -> Predictor:
        """The predictor."""
        ...


@dataclass(frozen=True, repr=False)
class Plans:
    """Plans for one or several budgets. It is a sequence of `Plan`: ``len``, iteration and indexing work.

    Attributes:
        plans: one plan a budget.
        intervals: how far the shares of each plan may move.
        crossings: pools that enter or leave between the budgets; None if that was not looked for.
        fronts: the Pareto front of two evals at each budget; empty if none was asked for.
        keep: how many score bins to keep; None if that was not asked for.
        pools: the pools, in the order in which they were given.
        source: the arguments and inputs that plan.json records.
    """

    plans: tuple[Plan, ...]
    intervals: tuple[ShareIntervals, ...]
    crossings: tuple[PoolCrossing, ...] | None
    fronts: tuple[Front, ...]
    keep: KeepAdvice | None
    pools: tuple[Pool, ...]
    source: provenance.Source

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
        """Return one row a budget and pool: tokens, params, pool, weight, epochs, loss, low, high, gain."""
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

        from curate import charts

        if len(self) > 1:
            return charts.shares(self.table())
        title = "share of training tokens"
        bars: Chart = (
            alt.Chart(self.table()).mark_bar().encode(x=alt.X("weight:Q", title=title), y=alt.Y("pool:N", sort="-x"))
        )
        return bars

    def summary(self) -> str:
        """Return the text that `curate plan` prints."""
        parts = [summary.EXPLANATION, "", summary.plans_table(self.plans)]
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
            "baselines": {name: baselines.named(self.pools, shares) for name, shares in fixed},
            "pools": to_json(self.pools),
            "made_by": self.source.made_by(),
        }
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


def plan(
    fit: Predictor | HasPredictor,
    pools: str | Path | Iterable[Pool],
    budgets: Budget | str | Sequence[Budget | str],
    *,
    limits: Limits | None = None,
    target: str | Mapping[str, float] = "mean",
    pareto: tuple[str, str] | None = None,
    robust: float | None = None,
    prior: Mapping[str, float] | None = None,
    strength: float = STRENGTH,
    within: float = WITHIN,
    draws: int = DRAWS,
    keep_curve: bool = False,
    seed: int = 0,
) -> Plans:
    """Return the best mixture of pools for each budget, and how free its shares are.

    Args:
        fit: a predictor of losses, or a result that carries one.
        pools: the path of pools.json, or pools.
        budgets: one budget or several; "2e10:1e9" is 2e10 tokens and 1e9 parameters.
        limits: what every mixture must keep; None for no limits.
        target: what is minimised over the evals of the fit: "mean"; "worst", the largest excess over what each eval
            could have at best; "worst:loss", the largest loss; the name of an eval; or weights by eval.
        pareto: two evals whose Pareto front is wanted too.
        robust: minimise this quantile over bootstrap draws, such as 0.9; None minimises the loss itself.
        prior: shares of a mixture to stay near. A divergence of one nat from it costs ``strength`` nats of loss.
        strength: see ``prior``.
        within: nats of loss that near-optimal mixtures may lose; 0 for no near-optimal ranges.
        draws: bootstrap draws that are planned too; 0 for none.
        keep_curve: the pools are bins of one score, and the number of bins to keep is wanted too.
        seed: every random choice follows from it.

    Raises:
        SchemaError: for pools, evals or limits that do not fit together.
        Infeasible: if no mixture keeps the limits, with the numbers that would have to change.
        FitError: if the fit gives no finite loss at a budget.
    """
    request = _request(
        fit.predictor if isinstance(fit, HasPredictor) else fit,
        load_pools(Path(pools)) if isinstance(pools, str | Path) else tuple(pools),
        _budgets(budgets),
        limits=NO_LIMITS if limits is None else limits,
        target=target,
        aim=Aim(_worst(target), robust, prior, strength if prior else 0.0),
        seed=seed,
    )
    # Mistakes in what is wanted beyond the mixture are found before the long work.
    if pareto is not None:
        answers.check_evals(request.whole_fit, pareto)
    best_first = by_score(request.pools) if keep_curve else ()
    plans = planner.frontier(
        request.fit, request.pools, request.budgets, request.limits, aim=request.aim, seed=request.seed
    )
    intervals, crossings = answers.share_intervals(request, plans, within=within, draws=draws)
    arguments = {
        "fit": request.whole_fit.eval,
        "pools": pools if isinstance(pools, str | Path) else None,
        **provenance.budget_arguments(request.budgets),
        **provenance.limit_arguments(request.limits),
        "target": target if isinstance(target, str) else ",".join(provenance.pairs(target)),
        "pareto": None if pareto is None else ",".join(pareto),
        "robust": robust,
        "prior": None if prior is None else ",".join(provenance.pairs(prior)),
        "strength": strength,
        "within": within,
        "draws": draws,
        "keep_curve": keep_curve,
    }
    return Plans(
        plans=plans,
        intervals=intervals,
        crossings=crossings,
        fronts=answers.fronts(request, pareto) if pareto is not None else (),
        keep=answers.keep_advice(request, best_first) if best_first else None,
        pools=request.pools,
        source=provenance.source(arguments, pools if isinstance(pools, str | Path) else request.pools, seed),
    )


def _request(
    fit: Predictor,
    pools: tuple[Pool, ...],
    budgets: tuple[Budget, ...],
    *,
    limits: Limits,
    target: str | Mapping[str, float],
    aim: Aim,
    seed: int,
) -> PlanRequest:
    if not budgets:
        raise SchemaError("no budgets: give at least one, such as Budget(2e10, 1e9)")
    minimised = fit
    if isinstance(target, Mapping):
        minimised = aims.weighted(fit, target)
    elif target != "mean" and target not in WORST:
        minimised = aims.weighted(fit, {target: 1.0})
    return PlanRequest(fit, minimised, pools, budgets, limits, aim, seed)


def _worst(target: str | Mapping[str, float]) -> str | None:
    return WORST.get(target) if isinstance(target, str) else None


def _budgets(budgets: Budget | str | Sequence[Budget | str]) -> tuple[Budget, ...]:
    several = [budgets] if isinstance(budgets, Budget | str) else budgets
    return tuple(parse_budget(budget) if isinstance(budget, str) else budget for budget in several)
