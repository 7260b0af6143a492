"""The plan: which pools, in what ratio, for each compute budget; gradient descent on limited simplices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import FitError, SchemaError
from curate.planning import aims, extrapolation, feasible, search
from curate.planning.aims import Aim, Worst
from curate.planning.limits import Limits
from curate.planning.search import Found, Problem
from curate.pool import baselines
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

NEAR = 1e-3  # restarts within this of the best loss, in nats per token, count as equally good
AT_LIMIT = 1e-6
STARTS = 24


@dataclass(frozen=True)
class Plan:
    """A mixture for one budget. ``loss``, ``low``, ``high``: predicted, with the interval of a new run.

    ``gain``: loss of size-proportional sampling minus the plan's, paired over bootstrap draws (90 % interval);
    ``gains`` the same against every baseline: (gain, low, high). ``losses``: (loss, low, high) of every eval.
    ``spread``: largest total-variation distance between restarts that are as good as the best within 1e-3 nats.
    ``residual``: KKT residual, which is of the slopes' directions alone and so need not be small where the loss is flat
    or has a kink; ``gap``: Frank-Wolfe gap in nats, which for a convex law bounds what any allowed mixture could gain
    (with money, any that buys the same pools wholly); both None where the plan was searched and not differentiated.
    ``cost``: what its unique tokens cost.
    ``limits``: what binds or warns. Of a plan for the worst of several evals, ``loss`` and ``gains`` are of that worst.
    """

    budget: Budget
    weights: Mapping[str, float]
    epochs: Mapping[str, float]
    loss: float
    low: float
    high: float
    gains: Mapping[str, tuple[float, float, float]]
    losses: Mapping[str, tuple[float, float, float]]
    spread: float
    residual: float | None
    gap: float | None
    cost: float | None
    limits: tuple[str, ...]

    @property
    def gain(self) -> tuple[float, float, float]:
        """Gain over size-proportional sampling: value, low, high."""
        return self.gains["proportional"]


def optimize(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    limits: Limits = Limits(),  # noqa: B008
    *,
    aim: Aim = Aim(),  # noqa: B008
    starts: int = STARTS,
    seed: int = 0,
) -> Plan:
    """Return the mixture that minimises the fitted loss at ``budget``; the same as ``frontier`` with one budget."""
    return frontier(fit, pools, [budget], limits, aim=aim, starts=starts, seed=seed)[0]


def frontier(
    fit: Predictor,
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    limits: Limits = Limits(),  # noqa: B008
    *,
    aim: Aim = Aim(),  # noqa: B008
    starts: int = STARTS,
    seed: int = 0,
) -> tuple[Plan, ...]:
    """One plan a budget; all budgets and starts are minimised in one batch.

    ``fit``: a law's fit, or a blend (a weighted sum of evals). Errors: pools that are not those of the fit, and limits
    that no mixture satisfies, with the numbers.
    """
    if aim.worst is not None:
        each = [worst(fit, pools, budget, limits, aim=aim, starts=starts, seed=seed) for budget in budgets]
        alone = replace(aim, worst=None)
        return tuple(
            optimize(of, pools, budget, limits, aim=alone, starts=starts, seed=seed)
            for of, budget in zip(each, budgets, strict=True)
        )
    asked = search.problem(fit, pools, budgets, limits, aim)
    found = search.solve(asked, starts=starts, seed=seed)
    gaps = search.gaps(asked, found.best) if fit.differentiable else None
    return tuple(_plan(asked, found, i, None if gaps is None else float(gaps[i])) for i in range(len(budgets)))


def worst(
    fit: Predictor, pools: Sequence[Pool], budget: Budget, limits: Limits, *, aim: Aim, starts: int, seed: int
) -> Worst:
    """Return the largest loss over the evals of ``fit``, or the largest excess over what each could have at best."""
    parts = aims.evals(fit)
    if len(parts) < 2:
        raise SchemaError(
            f"the worst of several evals needs several: this fit has only {parts[0].eval}; fit more at once"
        )
    levels = [0.0] * len(parts)
    if aim.worst == "regret":
        alone = replace(aim, worst=None, prior=None, strength=0.0)
        levels = [optimize(part, pools, budget, limits, aim=alone, starts=starts, seed=seed).loss for part in parts]
    name = f"worst of {', '.join(part.eval for part in parts)}"
    return Worst(parts, tuple(levels), (1.0,) * len(parts), name)


def evaluate(fit: Predictor, pools: Sequence[Pool], budget: Budget, weights: Mapping[str, float]) -> Plan:
    """Return the Plan record of a given mixture: what the fit predicts for it, and against the baselines."""
    asked = search.problem(fit, pools, [budget], Limits(), Aim())
    given = baselines.mixture(asked.pools, weights)
    point = torch.tensor([given[pool.name] for pool in asked.pools], dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    return replace(_plan(asked, Found(point[None, None], zero, zero), 0, None), residual=None)


def _plan(asked: Problem, found: Found, i: int, gap: float | None) -> Plan:
    fit, pools, budget = asked.fit, asked.pools, asked.budgets[i]
    best = int(search.ranked(found.value[i : i + 1])[0, 0])
    point = found.point[i, best]
    near = found.point[i][found.value[i] <= found.value[i, best] + NEAR]
    named = baselines.baselines(pools, budget.tokens)
    rows = torch.stack([point, *(torch.from_numpy(w) for w in named.values())])
    recipes = search.on_hand(pools, [budget], rows)
    values, draws = fit.loss(recipes), fit.draw_losses(recipes)
    if not bool(draws.isfinite().all()):
        lost = int((~draws.isfinite()).any(dim=1).sum())
        raise FitError(
            f"{lost} of {len(draws)} bootstrap draws give no finite loss at {budget.tokens:.3g} tokens and "
            f"{budget.params:.3g} parameters: plan nearer to the runs, or fit another law"
        )
    low, high = fit.interval(recipes)
    gains = {}
    tails = torch.tensor([0.05, 0.95], dtype=torch.float64)
    for k, name in enumerate(named, start=1):
        paired = torch.quantile(draws[:, k] - draws[:, 0], tails)
        gains[name] = (float(values[k] - values[0]), float(paired[0]), float(paired[1]))
    names = [pool.name for pool in pools]
    weights = dict(zip(names, point.tolist(), strict=True))
    return Plan(
        budget=budget,
        weights=weights,
        epochs=dict(zip(names, recipes.epochs[0].tolist(), strict=True)),
        loss=float(values[0]),
        low=float(low[0]),
        high=float(high[0]),
        gains=gains,
        losses=_losses(fit, recipes.take(np.array([0]))),
        spread=float((near - point).abs().sum(dim=1).max() / 2),
        residual=float(found.residual[i, best]) if fit.differentiable else None,
        gap=gap,
        cost=feasible.paid(pools, budget, weights) if any(pool.cost_per_token for pool in pools) else None,
        limits=(*_limits(asked, i, point), *_barred(asked, i, named), *(_blind(values) if len(names) > 1 else ())),
    )


def _barred(asked: Problem, i: int, named: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Say which baselines the limits rule out."""
    one = asked.region.take(torch.tensor([i]))
    given = {name: torch.from_numpy(w) for name, w in named.items()}
    out = [n for n, w in given.items() if not feasible.keeps(asked.pools, asked.budgets[i], asked.limits, one, w)]
    return (f"outside these limits, so that a gain over them can be negative: {', '.join(out)}",) if out else ()


def _blind(values: Tensor) -> tuple[str, ...]:
    """Say so where the plan (first) and all baselines, (5,) losses, are alike."""
    if float(values.max() - values.min()) > search.EQUAL:
        return ()
    return ("the fit predicts the same loss for the plan and all baselines: nothing here says which is better",)


def _losses(fit: Predictor, recipe: Recipes) -> dict[str, tuple[float, float, float]]:
    found = {}
    for part in fit.parts if isinstance(fit, Worst) else aims.evals(fit):
        low, high = part.interval(recipe)
        found[part.eval] = (float(part.loss(recipe)), float(low), float(high))
    return found


def _limits(asked: Problem, i: int, w: Tensor) -> tuple[str, ...]:
    region, budget = asked.region, asked.budgets[i]
    low, high, found = region.low[i], region.high[i], []
    for k, pool in enumerate(asked.pools):
        if w[k] >= high[k] - AT_LIMIT and high[k] < 1:
            found.append(
                f"{pool.name} is at its {'fixed' if high[k] == low[k] else 'maximum'} share {float(high[k]):.3g}"
            )
        elif w[k] <= low[k] + AT_LIMIT and low[k] > 0:
            found.append(f"{pool.name} is at its minimum share {float(low[k]):.3g}")
    rows, most = region.rows[i], region.limits[i]
    for k, name in enumerate(feasible.names(asked.limits)):
        of_any = bool(rows[k].abs() @ w > AT_LIMIT)  # an order between two pools without a share says nothing
        if of_any and float(rows[k] @ w - most[k]) >= -AT_LIMIT:
            found.append(f"{name} binds")
    if asked.limits.money is not None:
        cost = feasible.paid(asked.pools, budget, dict(zip([p.name for p in asked.pools], w.tolist(), strict=True)))
        if cost >= asked.limits.money * (1 - AT_LIMIT):
            found.append(f"money {asked.limits.money:g} is spent")
    recipe = search.on_hand(asked.pools, [budget], w[None])
    return (*found, *extrapolation.warnings(aims.leaves(asked.fit), recipe))


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
            "losses": {name: list(values) for name, values in plan.losses.items()},
            "spread": plan.spread,
            "residual": plan.residual,
            "gap": plan.gap,
            "cost": plan.cost,
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
