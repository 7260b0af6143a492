"""The plan: which pools, in what ratio, for each compute budget; gradient descent on the capped simplex."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate import constraints, harm, schedules, simplex
from curate.blend import Predictor
from curate.errors import SchemaError
from curate.pools import Budget, Pool
from curate.recipes import Recipes

NEAR = 1e-3  # restarts within this of the best loss, in nats per token, count as equally good
AT_LIMIT = 1e-6
SMALL_SHARE = 0.02  # a share below it is not called an extrapolation


@dataclass(frozen=True)
class Plan:
    """A mixture for one budget. ``loss``, ``low``, ``high``: predicted, with the interval of a new run.

    ``gain``: loss of size-proportional sampling minus the plan's, paired over bootstrap draws (90 % interval);
    ``gains`` the same against every baseline: (gain, low, high). ``spread``: largest total-variation distance between
    restarts that are as good as the best within 1e-3 nats. ``residual``: KKT residual, None where the plan was
    searched and not differentiated. ``limits``: what binds or warns.
    """

    budget: Budget
    weights: Mapping[str, float]
    epochs: Mapping[str, float]
    loss: float
    low: float
    high: float
    gains: Mapping[str, tuple[float, float, float]]
    spread: float
    residual: float | None
    limits: tuple[str, ...]

    @property
    def gain(self) -> tuple[float, float, float]:
        """Gain over size-proportional sampling: value, low, high."""
        return self.gains["proportional"]


def optimize(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    *,
    max_epochs: float | None = None,
    min_weight: Mapping[str, float] | None = None,
    max_weight: Mapping[str, float] | None = None,
    starts: int = 24,
    seed: int = 0,
) -> Plan:
    """Return the mixture that minimises the fitted loss at ``budget``; the same as ``frontier`` with one budget."""
    return frontier(
        fit,
        pools,
        [budget],
        max_epochs=max_epochs,
        min_weight=min_weight,
        max_weight=max_weight,
        starts=starts,
        seed=seed,
    )[0]


def frontier(
    fit: Predictor,
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    *,
    max_epochs: float | None = None,
    min_weight: Mapping[str, float] | None = None,
    max_weight: Mapping[str, float] | None = None,
    starts: int = 24,
    seed: int = 0,
) -> tuple[Plan, ...]:
    """One plan a budget; all budgets and starts are minimised in one batch.

    Errors: pools that are not those of the fit, and caps that no mixture satisfies, with the numbers.
    """
    ordered = match(fit, pools)
    low, high = constraints.bounds(
        ordered, budgets, max_epochs=max_epochs, min_weight=min_weight, max_weight=max_weight
    )
    first = _starts(ordered, starts, seed)
    m, s, p = len(budgets), len(first), len(ordered)
    base = _recipes(ordered, budgets, first.expand(m, s, p).reshape(m * s, p))

    def objective(weights: Tensor) -> Tensor:
        return fit.loss(Recipes(weights, base.tokens, base.params, base.unique))

    solve = simplex.minimize if fit.differentiable else simplex.search
    found = solve(objective, base.weights, low.repeat_interleave(s, 0), high.repeat_interleave(s, 0))
    points, values = found.point.reshape(m, s, p), found.value.reshape(m, s)
    residuals = found.residual.reshape(m, s)
    plans = []
    for i, budget in enumerate(budgets):
        best = int(values[i].argmin())
        near = points[i][values[i] <= values[i, best] + NEAR]
        spread = float((near - points[i, best]).abs().sum(dim=1).max() / 2)
        limits = _limits(fit, ordered, budget, points[i, best], low[i], high[i])
        plans.append(
            _plan(
                fit,
                ordered,
                budget,
                points[i, best],
                spread=spread,
                residual=float(residuals[i, best]) if fit.differentiable else None,
                limits=limits,
            )
        )
    return tuple(plans)


def match(fit: Predictor, pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """Return the pools in the fit's order; a missing or unknown name is an error that lists the known ones."""
    named = {pool.name: pool for pool in pools}
    if set(named) != set(fit.pools):
        odd = sorted(set(named) ^ set(fit.pools))
        raise SchemaError(
            f"pools and fit do not match: {', '.join(odd)} on one side only; the fit knows {', '.join(fit.pools)}. "
            "Give the pools.json that the pilot runs were made from"
        )
    return tuple(named[name] for name in fit.pools)


def _starts(pools: Sequence[Pool], count: int, seed: int) -> Tensor:
    """(s, p): the baselines, single pools, and Dirichlet draws."""
    p = len(pools)
    known = np.stack([*schedules.fixed(pools).values(), *(0.02 / p + 0.98 * np.eye(p))])
    draws = np.random.default_rng(seed).dirichlet(np.ones(p), size=max(0, count - len(known)))
    return torch.from_numpy(np.concatenate([known, draws])[: max(count, 3)])


def _recipes(pools: Sequence[Pool], budgets: Sequence[Budget], weights: Tensor) -> Recipes:
    """Rows of ``weights`` (m * s, p) in budget order, as recipes on the pools' unique tokens."""
    each = len(weights) // len(budgets)
    tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64).repeat_interleave(each)
    params = torch.tensor([b.params for b in budgets], dtype=torch.float64).repeat_interleave(each)
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64).expand(len(weights), -1)
    return Recipes(weights, tokens, params, unique)


def evaluate(fit: Predictor, pools: Sequence[Pool], budget: Budget, weights: Mapping[str, float]) -> Plan:
    """Return the Plan record of a given mixture: what the fit predicts for it, and against the baselines."""
    ordered = match(fit, pools)
    point = torch.tensor([weights.get(pool.name, 0.0) for pool in ordered], dtype=torch.float64)
    limits = _limits(fit, ordered, budget, point, torch.zeros_like(point), torch.ones_like(point))
    return _plan(fit, ordered, budget, point, spread=0.0, residual=0.0, limits=limits)


def _plan(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    point: Tensor,
    *,
    spread: float,
    residual: float | None,
    limits: tuple[str, ...],
) -> Plan:
    named = schedules.baselines(pools, budget.tokens)
    rows = torch.stack([point, *(torch.from_numpy(w) for w in named.values())])
    recipes = _recipes(pools, [budget], rows)
    losses, draws = fit.loss(recipes), fit.draw_losses(recipes)
    low, high = fit.interval(recipes)
    gains = {}
    tails = torch.tensor([0.05, 0.95], dtype=torch.float64)
    for i, name in enumerate(named, start=1):
        paired = torch.quantile(draws[:, i] - draws[:, 0], tails)
        gains[name] = (float(losses[i] - losses[0]), float(paired[0]), float(paired[1]))
    names = [pool.name for pool in pools]
    return Plan(
        budget=budget,
        weights=dict(zip(names, point.tolist(), strict=True)),
        epochs=dict(zip(names, recipes.epochs[0].tolist(), strict=True)),
        loss=float(losses[0]),
        low=float(low[0]),
        high=float(high[0]),
        gains=gains,
        spread=spread,
        residual=residual,
        limits=limits,
    )


def _limits(
    fit: Predictor, pools: Sequence[Pool], budget: Budget, w: Tensor, low: Tensor, high: Tensor
) -> tuple[str, ...]:
    found = []
    for i, pool in enumerate(pools):
        if w[i] >= high[i] - AT_LIMIT and high[i] < 1:
            found.append(f"{pool.name} is at its maximum share {float(high[i]):.3g}")
        if w[i] <= low[i] + AT_LIMIT and low[i] > 0:
            found.append(f"{pool.name} is at its minimum share {float(low[i]):.3g}")
    asked = {"tokens": budget.tokens, "params": budget.params}
    asked["epochs"] = max(float(w[i]) * budget.tokens / pool.tokens for i, pool in enumerate(pools))
    asked |= {f"share of {pool.name}": float(w[i]) for i, pool in enumerate(pools)}
    for what, value in asked.items():
        smallest, largest = fit.ranges[what]
        if value > max(largest, SMALL_SHARE) * (1 + 1e-9):
            times = f"{value / largest:.3g}x the largest fitted ({largest:.3g})"
            found.append(f"extrapolated: {what} {value:.3g} is {times}")
        if value < smallest * (1 - 1e-9) and what in ("tokens", "params"):
            found.append(f"extrapolated: {what} {value:.3g} is {smallest / value:.3g}x below the smallest fitted")
    for i, pool in enumerate(pools):
        if said := harm.warning(float(w[i]) * budget.tokens / pool.tokens - 1, budget.params):
            found.append(f"{pool.name}: {said}")
    return tuple(found)


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
            "spread": plan.spread,
            "residual": plan.residual,
            "limits": list(plan.limits),
        }
        for plan in plans
    ]


def table(plans: Sequence[Plan]) -> pl.DataFrame:
    """Return one row a budget and pool: tokens, params, pool, weight, epochs, loss, low, high, gain."""
    return pl.DataFrame(
        {
            "tokens": plan.budget.tokens, "params": plan.budget.params, "pool": name, "weight": weight,
            "epochs": plan.epochs[name], "loss": plan.loss, "low": plan.low, "high": plan.high, "gain": plan.gain[0],
        }
        for plan in plans
        for name, weight in plan.weights.items()
    )  # fmt: skip
