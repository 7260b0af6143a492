"""Answer what users ask about plans beyond the mixtures: how free shares are, Pareto fronts, bins to keep.

In: a `PlanRequest` and its plans. Out: records that go into plan.json, and into the text and tables of `Plans`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import inf, log

from curate.errors import SchemaError
from curate.planning import aims, plan
from curate.planning.details import crossings, keep_curve, near_optimal, pareto_front, scoring_cost
from curate.planning.details.crossings import PoolCrossing
from curate.planning.details.keep_curve import KeepChange, KeepCurve
from curate.planning.details.scoring_cost import PayingRange, ScoringGain
from curate.planning.plan import Plan
from curate.planning.request import PlanRequest
from curate.pool.pool import Budget
from curate.runs.predictors.predictor import Predictor

SAME = 1e-6  # budgets whose tokens are this near, in logarithms, are one
KEEP_POINTS = 16  # budgets a decade of a keep curve: where it changes is known to 15 %

Ends = dict[str, tuple[float, float]]  # lowest and highest share, by pool


@dataclass(frozen=True)
class ShareIntervals:
    """How far each share of one plan may move.

    ``near_optimal``: the ends of the shares in mixtures whose loss is at most ``within`` nats above the lowest.
    ``over_draws``: the ends of 90 % of the shares that bootstrap draws would plan. None where it was not computed.
    """

    within: float
    near_optimal: Ends | None = None
    over_draws: Ends | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields of one plan in plan.json that hold these intervals."""
        record: dict[str, object] = {}
        if self.near_optimal is not None:
            record |= {"within": self.within, "ranges": {name: list(ends) for name, ends in self.near_optimal.items()}}
        if self.over_draws is not None:
            record["shares"] = {name: list(ends) for name, ends in self.over_draws.items()}
        return record


@dataclass(frozen=True)
class EvalFront:
    """The Pareto front of two evals at one budget."""

    budget: Budget
    evals: tuple[str, str]
    plans: tuple[Plan, ...]

    def to_json(self) -> dict[str, object]:
        """Return the front as one entry of the list ``front`` in plan.json."""
        return {
            "tokens": self.budget.tokens,
            "params": self.budget.params,
            "evals": list(self.evals),
            "plans": plan.to_json(self.plans),
        }


@dataclass(frozen=True)
class KeepAdvice:
    """How many of the best bins to keep at each budget, and at which budgets that number changes.

    ``changes`` is None if the tokens of the budgets do not rise. ``scoring`` says at each budget whether scoring pays,
    and ``paying`` is the range of training tokens where it does; both are there only if the cost of scoring was given.
    """

    curve: KeepCurve
    changes: tuple[KeepChange, ...] | None
    scoring: tuple[ScoringGain, ...] = ()
    paying: PayingRange | None = None

    def to_json(self) -> dict[str, object]:
        """Return the advice as the field ``keep`` of plan.json."""
        record: dict[str, object] = {"bins": list(self.curve.bins), "curve": self.curve.table().to_dicts()}
        if self.changes is not None:
            record["changes"] = [as_entry(change) for change in self.changes]
        if self.scoring:
            record["scoring"] = [entry.to_json() for entry in self.scoring]
        if self.paying is not None:
            record["paying"] = as_entry(self.paying)
        return record


def share_intervals(
    request: PlanRequest, plans: Sequence[Plan]
) -> tuple[tuple[ShareIntervals, ...], tuple[PoolCrossing, ...] | None]:
    """Return how far the shares of each plan may move, and where pools enter and leave the mixture.

    If the option ``within`` is 0, there are no near-optimal ranges. If ``draws`` is 0, there are no shares over
    bootstrap draws. Crossings are None if there are no draws, or if the tokens of the budgets do not rise.
    """
    budgets, within, draws = request.budgets, request.options.within, request.options.draws
    ranges: Sequence[Ends | None] = [None] * len(budgets)
    shares: Sequence[Ends | None] = [None] * len(budgets)
    crossed = None
    if within and request.smooth:
        fit, pools, limits, aim = request.fit, request.pools, request.limits, request.aim
        ranges = near_optimal.ranges(fit, pools, plans, limits, aim=aim, within=within)
    if draws and request.smooth:
        shares, crossed = _over_draws(request, draws)
    pairs = zip(ranges, shares, strict=True)
    return tuple(ShareIntervals(within, near, drawn) for near, drawn in pairs), crossed


def _over_draws(request: PlanRequest, draws: int) -> tuple[list[Ends], tuple[PoolCrossing, ...] | None]:
    budgets = request.budgets
    # The asked budgets and those in between are planned in one batch, so that each is planned once.
    between = budgets_between(budgets, crossings.POINTS)
    new = [budget for budget in between if all(abs(log(budget.tokens / b.tokens)) > SAME for b in budgets)]
    rising = sorted({*budgets, *new}, key=lambda budget: budget.tokens)
    planned = crossings.paths(
        request.fit, request.pools, rising, request.limits, aim=request.aim, draws=draws, seed=request.seed
    )
    frames = dict(zip(rising, planned.table().iter_slices(len(request.pools)), strict=True))
    shares = [
        {pool: (low, high) for pool, low, high in frames[budget].select("pool", "low", "high").iter_rows()}
        for budget in budgets
    ]
    return shares, crossings.crossings(planned) if between else None


def fronts(request: PlanRequest, evals: tuple[str, str]) -> tuple[EvalFront, ...]:
    """Return the Pareto front of two evals at every budget."""
    return tuple(
        EvalFront(
            budget,
            evals,
            pareto_front.front(
                request.whole_fit, request.pools, budget, request.limits, evals=evals, seed=request.seed
            ),
        )
        for budget in request.budgets
    )


def check_evals(fit: Predictor, evals: tuple[str, str]) -> None:
    """Check that the fit has these evals.

    Raises:
        SchemaError: if one is missing. The message lists the evals of the fit.
    """
    aims.weighted(fit, dict.fromkeys(evals, 1.0))


def check_scoring_cost(request: PlanRequest) -> None:
    """Check the options on the cost of scoring.

    Raises:
        SchemaError: if they are impossible, or scoring costs at least as much as every budget.
    """
    cost, most = request.scoring_cost, max(budget.tokens for budget in request.budgets)
    if cost is not None and cost.training_tokens >= most:
        raise SchemaError(
            f"scoring costs as much as training on {cost.training_tokens:.4g} tokens, and the largest budget has "
            f"{most:.4g}. Lower --score-cost or --scored-tokens, or raise the budget"
        )


def keep_advice(request: PlanRequest, best_first: Sequence[str]) -> KeepAdvice:
    """Return how many bins to keep at each budget, and at which tokens that number changes.

    Budgets that scoring alone would use up have no entry in the curve.
    """
    fit, pools, cost = request.fit, request.pools, request.scoring_cost
    spent = 0.0 if cost is None else cost.training_tokens
    budgets = [budget for budget in request.budgets if budget.tokens > spent]
    # The table is at the asked budgets; where it changes is looked for between them, on a finer grid.
    curve = keep_curve.curve(fit, pools, budgets, best_first=best_first, spent=spent)
    dense = budgets_between(budgets, KEEP_POINTS)
    changes = (
        keep_curve.changes(keep_curve.curve(fit, pools, dense, best_first=best_first, spent=spent)) if dense else None
    )
    if cost is None:
        return KeepAdvice(curve, changes)
    scoring = scoring_cost.gains(fit, pools, request.budgets, best_first, cost)
    between = budgets_between(request.budgets, KEEP_POINTS)
    paying = scoring_cost.paying_range(scoring_cost.gains(fit, pools, between, best_first, cost)) if between else None
    return KeepAdvice(curve, changes, scoring, paying)


def budgets_between(budgets: Sequence[Budget], points: int) -> tuple[Budget, ...]:
    """Return a fine series of budgets through all ``budgets``, with ``points`` of them in each decade of tokens.

    The series is empty if the tokens do not rise, as when model sizes are compared at the same number of tokens.
    """
    rising = sorted({*budgets}, key=lambda budget: budget.tokens)
    if len(rising) < 2 or any(log(larger.tokens / smaller.tokens) <= SAME for smaller, larger in pairwise(rising)):
        return ()
    legs = [crossings.between(smaller, larger, points=points) for smaller, larger in pairwise(rising)]
    return (*(budget for leg in legs for budget in leg[:-1]), rising[-1])


def as_entry(event: PoolCrossing | KeepChange | PayingRange) -> dict[str, object]:
    """Return a crossing or a change as a JSON object, with its line of text. Infinity becomes null."""
    fields = {name: None if value == inf else value for name, value in asdict(event).items()}
    return fields | {"text": str(event)}
