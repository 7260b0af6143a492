"""Plan the best mixture of pools for each budget, with its gain over the standard mixtures.

In: a predictor, pools, budgets, `Limits` and an `Aim`. Out: `Plan`, one a budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import FitError, first_few
from curate.planning import aims, binding, feasible, search, solve
from curate.planning.aims import PREDICTED_LOSS, Aim, Worst
from curate.planning.details import worst_eval
from curate.planning.details.planned_metric import PlannedMetric
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.search import PlanningProblem, SearchResult
from curate.pool import baselines
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.intervals import holding, mixture_ends
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

NEAR = 1e-3  # nats: restarts this near to the best loss count as equally good
STARTS = 24  # mixtures a budget from which a plan is searched
LEVEL = 0.9  # probability that a gain lies within its interval
SHOWN = 5e-4  # shares below it are not shown in a repr

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, repr=False)
class Plan:
    """The planned mixture for one budget. Losses are in nats per token; intervals hold 90 %.

    Attributes:
        budget: tokens seen and parameters.
        weights: share of training tokens, by pool; they sum to 1.
        epochs: passes over the unique tokens, by pool.
        loss, low, high: predicted loss, with the interval of a new run; of the worst eval if that is the aim.
        gains: (gain, low, high) by baseline: the baseline's loss minus the plan's. The interval is that of the
            difference between two new runs: the uncertainty of the laws, paired over their draws, and the scatter of
            both runs. What shifts the losses of all mixtures of one size alike is in ``low`` and ``high``, not here.
        losses: predicted loss by baseline, at the same budget; a gain is the baseline's loss minus ``loss``.
        evals: (loss, low, high) of the plan by eval; the interval is that of a new run.
        spread: largest total-variation distance between the best mixture and restarts within 1e-3 nats of it. A large
            spread says that quite different mixtures are equally good.
        residual: residual of the KKT conditions. It depends on the direction of the slope alone, so it need not be
            small where the loss is flat or has a kink. None where no gradient was used.
        gap: Frank-Wolfe gap in nats: for a convex law, no allowed mixture is better by more. With a limit on money it
            holds for mixtures that buy the same pools wholly. None where no gradient was used.
        cost: price of the unique tokens that are seen; None if no pool has a price.
        warnings: limits that shaped the plan, extrapolation, harmful repeats.
        metric: the predicted downstream metric; None if none was asked for.
    """

    budget: Budget
    weights: Mapping[str, float]
    epochs: Mapping[str, float]
    loss: float
    low: float
    high: float
    gains: Mapping[str, Interval]
    losses: Mapping[str, float]
    evals: Mapping[str, Interval]
    spread: float
    residual: float | None
    gap: float | None
    cost: float | None
    warnings: tuple[str, ...]
    metric: PlannedMetric | None = None

    @property
    def gain(self) -> Interval:
        """Gain over size-proportional sampling: value, low, high."""
        return self.gains["proportional"]

    def table(self) -> pl.DataFrame:
        """Return one row for each pool; see `table`."""
        return table([self])

    def __repr__(self) -> str:
        """Return one line: the budget, the shares, the loss and the gain."""
        shares = first_few(f"{name} {share:.3f}" for name, share in self.weights.items() if share >= SHOWN)
        gain, gain_low, gain_high = self.gain
        return (
            f"Plan({self.budget.tokens:.3g} tokens, {self.budget.params:.3g} params: {shares}; loss {self.loss:.4f} "
            f"({self.low:.3f} to {self.high:.3f}), gain over proportional {gain:.3f} ({gain_low:.3f} to "
            f"{gain_high:.3f}))"
        )


def optimize(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    limits: Limits = NO_LIMITS,
    *,
    aim: Aim = PREDICTED_LOSS,
    starts: int = STARTS,
    seed: int = 0,
) -> Plan:
    """Return the best mixture for one budget. It is the same as `frontier` with that budget."""
    return frontier(fit, pools, [budget], limits, aim=aim, starts=starts, seed=seed)[0]


def frontier(
    fit: Predictor,
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    limits: Limits = NO_LIMITS,
    *,
    aim: Aim = PREDICTED_LOSS,
    starts: int = STARTS,
    seed: int = 0,
) -> tuple[Plan, ...]:
    """Return the best mixture for each budget. All budgets and starts are minimised in one batch.

    ``fit`` is a law's fit, or a blend (a weighted sum of evals or laws).

    Raises:
        SchemaError: if the pools are not those of the fit, or limits have impossible values.
        Infeasible: if no mixture keeps the limits, with the numbers that would have to change.
        FitError: if the fit gives no finite loss.
    """
    if aim.worst is not None:
        # What is minimised depends on the budget, so budgets are planned one by one.
        targets = [worst(fit, pools, budget, limits, aim=aim, starts=starts, seed=seed) for budget in budgets]
        same_aim = replace(aim, worst=None)
        return tuple(
            optimize(target, pools, budget, limits, aim=same_aim, starts=starts, seed=seed)
            for target, budget in zip(targets, budgets, strict=True)
        )
    problem = search.problem(fit, pools, budgets, limits, aim)
    return of_search(problem, solve.solve(problem, starts=starts, seed=seed))


def of_search(problem: PlanningProblem, result: SearchResult) -> tuple[Plan, ...]:
    """Return the plans of a problem that was searched, one for each of its budgets."""
    gaps = search.gaps(problem, result.best) if problem.fit.differentiable else None
    return tuple(
        _plan(problem, result, i, None if gaps is None else float(gaps[i])) for i in range(len(problem.budgets))
    )


def worst(
    fit: Predictor, pools: Sequence[Pool], budget: Budget, limits: Limits, *, aim: Aim, starts: int, seed: int
) -> Worst:
    """Return a predictor of the largest loss or regret over the evals of ``fit``; see `Aim`.

    Raises:
        SchemaError: if the fit has one eval only.
    """
    if aim.worst == "loss":
        return worst_eval.largest_loss(fit)
    loss_alone = worst_eval.alone(aim)
    plans = [
        optimize(part, pools, budget, limits, aim=loss_alone, starts=starts, seed=seed)
        for part in worst_eval.several(fit)
    ]
    return worst_eval.largest_regret(
        fit, pools, budget, [plan.weights for plan in plans], [plan.loss for plan in plans]
    )


def evaluate(fit: Predictor, pools: Sequence[Pool], budget: Budget, weights: Mapping[str, float]) -> Plan:
    """Return the `Plan` of a mixture that is given: its predicted loss, and its gain over the baselines.

    Raises:
        SchemaError: if the weights are no mixture of these pools.
    """
    problem = search.problem(fit, pools, [budget], NO_LIMITS, PREDICTED_LOSS)
    shares = baselines.mixture(problem.pools, weights)
    point = torch.tensor([shares[pool.name] for pool in problem.pools], dtype=torch.float64)
    # The mixture is treated as the result of a search with one start.
    zero = torch.zeros(1, 1, dtype=torch.float64)
    return replace(_plan(problem, SearchResult(point[None, None], zero, zero), 0, None), residual=None)


def _plan(problem: PlanningProblem, result: SearchResult, i: int, gap: float | None) -> Plan:
    """Return the plan of budget number ``i``."""
    fit, pools, budget = problem.fit, problem.pools, problem.budgets[i]
    best = int(search.ranked(result.value[i : i + 1])[0, 0])
    point = result.point[i, best]
    near = result.point[i][result.value[i] <= result.value[i, best] + NEAR]
    mixtures = baselines.baselines(pools, budget.tokens)
    # The plan comes first, then the baselines.
    recipes = search.on_hand(pools, [budget], torch.stack([point, *(torch.from_numpy(w) for w in mixtures.values())]))
    losses, draws = fit.loss(recipes), _finite_draws(fit, recipes, budget)
    low, high = fit.interval(recipes)
    names = [pool.name for pool in pools]
    weights = dict(zip(names, point.tolist(), strict=True))
    warnings = binding.warnings(problem, i, point, mixtures)
    return Plan(
        budget=budget,
        weights=weights,
        epochs=dict(zip(names, recipes.epochs[0].tolist(), strict=True)),
        loss=float(losses[0]),
        low=float(low[0]),
        high=float(high[0]),
        gains=_gains(losses, draws, aims.run_deviation(fit, recipes), list(mixtures)),
        losses=dict(zip(mixtures, losses[1:].tolist(), strict=True)),
        evals=_losses_by_eval(fit, recipes.take(np.array([0]))),
        spread=float((near - point).abs().sum(dim=1).max() / 2),
        residual=float(result.residual[i, best]) if fit.differentiable else None,
        gap=gap,
        cost=feasible.paid(pools, budget, weights) if any(pool.cost_per_token for pool in pools) else None,
        warnings=(*warnings, *(binding.no_difference(losses) if len(names) > 1 else ())),
    )


def _finite_draws(fit: Predictor, recipes: Recipes, budget: Budget) -> Tensor:
    """Return the (b, n) losses of every bootstrap draw."""
    draws = fit.draw_losses(recipes)
    if not bool(draws.isfinite().all()):
        lost = int((~draws.isfinite()).any(dim=1).sum())
        raise FitError(
            f"{lost} of {len(draws)} bootstrap draws give no finite loss at {budget.tokens:.3g} tokens and "
            f"{budget.params:.3g} parameters: plan nearer to the runs, or fit another law"
        )
    return draws


def _gains(losses: Tensor, draws: Tensor, deviations: Tensor, names: Sequence[str]) -> dict[str, Interval]:
    """Return the gains of the first recipe over the others, which ``names`` names.

    ``losses`` (n,), ``draws`` (b, n) and ``deviations`` (n,) of new runs are in nats.
    """
    # Draws are paired: what shifts the losses of both mixtures alike cancels, so a gain is known better than a loss.
    differences = draws[:, 1:] - draws[:, :1]
    of_two_runs = torch.hypot(deviations[1:], deviations[0]).expand_as(differences)
    gains = losses[1:] - losses[0]
    low, high = holding(mixture_ends(differences, of_two_runs, LEVEL), gains)
    values = zip(gains.tolist(), low.tolist(), high.tolist(), strict=True)
    return dict(zip(names, values, strict=True))


def _losses_by_eval(fit: Predictor, recipe: Recipes) -> dict[str, Interval]:
    losses = {}
    for part in fit.parts if isinstance(fit, Worst) else aims.evals(fit):
        low, high = part.interval(recipe)
        losses[part.eval] = (float(part.loss(recipe)), float(low), float(high))
    return losses


def to_json(plans: Sequence[Plan]) -> list[dict[str, object]]:
    """Return plans as the ``plans`` list of plan.json."""
    return [
        {
            "budget": {"tokens": plan.budget.tokens, "params": plan.budget.params},
            "weights": dict(plan.weights),
            "epochs": dict(plan.epochs),
            "loss": plan.loss,
            "low": plan.low,
            "high": plan.high,
            "gain": plan.gain[0],
            "gain_low": plan.gain[1],
            "gain_high": plan.gain[2],
            "gains": {name: list(values) for name, values in plan.gains.items()},
            "losses": dict(plan.losses),
            "evals": {name: list(values) for name, values in plan.evals.items()},
            "spread": plan.spread,
            "residual": plan.residual,
            "gap": plan.gap,
            "cost": plan.cost,
            "warnings": list(plan.warnings),
        }
        | ({} if plan.metric is None else {"metric": plan.metric.to_json()})
        for plan in plans
    ]


def table(plans: Sequence[Plan]) -> pl.DataFrame:
    """Return one row for each budget and pool: tokens, params, pool, weight, epochs, loss, low, high, gain.

    With a downstream metric the columns metric, metric_low, metric_high and metric_gain follow.
    """
    return pl.DataFrame(
        {
            "tokens": plan.budget.tokens,
            "params": plan.budget.params,
            "pool": name,
            "weight": weight,
            "epochs": plan.epochs[name],
            "loss": plan.loss,
            "low": plan.low,
            "high": plan.high,
            "gain": plan.gain[0],
        }
        | _metric_columns(plan.metric)
        for plan in plans
        for name, weight in plan.weights.items()
    )


def _metric_columns(metric: PlannedMetric | None) -> dict[str, float]:
    if metric is None:
        return {}
    return {
        "metric": metric.value,
        "metric_low": metric.low,
        "metric_high": metric.high,
        "metric_gain": metric.gain[0],
    }
