"""State the search for mixtures: what may be mixed, what is minimised, and what a search returns.

In: a predictor, pools, budgets, limits and an aim. Out: `PlanningProblem`, its objective and gaps; `solve` solves it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import torch
from torch import Tensor

from curate.errors import Infeasible, SchemaError, first_few
from curate.planning import aims, feasible, minimise, region_of_limits
from curate.planning.aims import Aim
from curate.planning.limits import Limits
from curate.planning.regions import Region
from curate.pool import baselines as standard_mixtures
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

EQUAL = 1e-9  # nats: losses this near are the same
RowLoss = Callable[[Recipes, Tensor], Tensor]  # n recipes and the rows (n,) of the batch they belong to -> (n,)


@dataclass(frozen=True)
class PlanningProblem:
    """m budgets over p pools (in the fit's order), with the allowed mixtures and the aim."""

    fit: Predictor
    pools: tuple[Pool, ...]
    budgets: tuple[Budget, ...]
    region: Region
    limits: Limits
    aim: Aim

    @property
    def prior(self) -> Tensor | None:
        """The mixture (p,) towards which the aim pulls, or None."""
        if self.aim.prior is None or self.aim.strength == 0:
            return None
        return torch.tensor([self.aim.prior.get(pool.name, 0.0) for pool in self.pools], dtype=torch.float64)


@dataclass(frozen=True)
class SearchResult:
    """The ends of s starts for m budgets: ``point`` (m, s, p), ``value`` (m, s) and ``residual`` (m, s).

    The residual is that of the KKT conditions (see `minimise.Minimum`), NaN where the search used no gradient.
    """

    point: Tensor
    value: Tensor
    residual: Tensor

    @property
    def best(self) -> Tensor:
        """The best point (m, p) of every budget. Of equal ones it is the first, so that irrelevant shares stay put."""
        return self.point[torch.arange(len(self.value)), ranked(self.value)[:, 0]]

    def take(self, rows: Tensor) -> "SearchResult":
        """Return the ends for the budgets at these positions."""
        return SearchResult(self.point[rows], self.value[rows], self.residual[rows])


def ranked(value: Tensor) -> Tensor:
    """Return the order (m, s) of the values of every row, lowest first; nearly equal lowest ones stay in place."""
    # Without this, rounding would decide among starts whose losses are equal, and plans would jump between machines.
    lowest = value.amin(dim=1, keepdim=True)
    return torch.where(value - lowest <= EQUAL, lowest, value).argsort(dim=1, stable=True)


def problem(
    fit: Predictor, pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits, aim: Aim
) -> PlanningProblem:
    """Check the parts of a problem and put them together. Pools that the prior lacks are held at no share.

    Raises:
        SchemaError: for pools that are not those of the fit, and for limits or a prior with impossible numbers.
        Infeasible: if no mixture keeps the limits.
    """
    ordered = match(fit, pools)
    if aim.prior is not None:
        limits = _without_absent_pools(ordered, limits, aim)
    region = region_of_limits.region(ordered, budgets, limits)
    return PlanningProblem(fit, ordered, tuple(budgets), region, limits, aim)


def _without_absent_pools(pools: Sequence[Pool], limits: Limits, aim: Aim) -> Limits:
    """Return limits that also give no share to pools without a share in the prior. There the divergence is infinite."""
    prior = aim.prior or {}
    region_of_limits.check_shares("prior", prior, [pool.name for pool in pools])
    total = sum(prior.values())
    if abs(total - 1) > 1e-3:
        raise SchemaError(f"the prior mixture sums to {total:.4g}: its shares must sum to 1")
    absent = {pool.name: 0.0 for pool in pools if not prior.get(pool.name) and aim.strength > 0}
    smallest = {**limits.min_weight, **limits.fixed}
    if contradictions := [name for name in absent if smallest.get(name)]:
        name = contradictions[0]
        raise Infeasible(
            f"the prior leaves out pool {name!r}, whose share must be at least {smallest[name]:.4g}: give it a share "
            "in the prior, or lift its minimum"
        )
    largest = {name: share for name, share in limits.max_weight.items() if name not in absent}
    fixed = {name: share for name, share in limits.fixed.items() if name not in absent}
    return replace(limits, max_weight={**largest, **absent}, fixed=fixed)


def match(fit: Predictor, pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """Return the pools in the fit's order.

    Raises:
        SchemaError: if a pool is missing or unknown, with the names that the fit knows.
    """
    by_name = {pool.name: pool for pool in pools}
    if set(by_name) != set(fit.pools):
        unmatched = sorted(set(by_name) ^ set(fit.pools))
        raise SchemaError(
            f"pools and fit do not match: {first_few(unmatched)} on one side only; the fit knows "
            f"{first_few(fit.pools, near=unmatched[0])}. Give the pools.json that the pilot runs were made from"
        )
    return tuple(by_name[name] for name in fit.pools)


def on_hand(pools: Sequence[Pool], budgets: Sequence[Budget], weights: Tensor) -> Recipes:
    """Return mixtures as recipes on the pools' unique tokens. ``weights`` are (k m, p), k in a row for each budget."""
    k = len(weights) // len(budgets)
    tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64).repeat_interleave(k)
    params = torch.tensor([b.params for b in budgets], dtype=torch.float64).repeat_interleave(k)
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64).expand(len(weights), -1)
    return Recipes(weights, tokens, params, unique)


def of_any_row(loss: aims.Loss) -> RowLoss:
    """Return a loss that ignores which row of the batch a recipe belongs to."""
    return lambda recipes, rows: loss(recipes)


def objective(problem: PlanningProblem, loss: RowLoss, starts: int) -> minimise.Objective:
    """Return what is minimised over a batch of ``starts`` rows a budget: the loss and the pull towards a prior."""
    p = len(problem.pools)
    no_weights = torch.zeros(len(problem.budgets) * starts, p, dtype=torch.float64)
    batch = on_hand(problem.pools, problem.budgets, no_weights)
    prior, strength = problem.prior, problem.aim.strength

    def value(w: Tensor, rows: Tensor) -> Tensor:
        losses = loss(Recipes(w, batch.tokens[rows], batch.params[rows], batch.unique[rows]), rows)
        return losses if prior is None else losses + strength * aims.pull(w, prior)

    return value


def values(problem: PlanningProblem, loss: RowLoss, points: Tensor) -> Tensor:
    """Return what is minimised (m,) at mixtures (m, p), one a budget."""
    return objective(problem, loss, 1)(points, torch.arange(len(points))).detach()


def gaps(problem: PlanningProblem, points: Tensor) -> Tensor:
    """Return the Frank-Wolfe gaps (m,) in nats at mixtures (m, p), one a budget.

    For the worst of several evals it is the gap of the least smoothed loss plus what smoothing hides.
    """
    fit, limits = problem.fit, problem.limits
    last = of_any_row(aims.stages(fit, problem.aim.quantile)[-1])
    # The limit on money is not linear. Its tangent at the point gives a region that can be paid.
    region = problem.region
    if limits.money is not None:
        region = feasible.relax(region, problem.pools, problem.budgets, limits.money, points)
    result = minimise.gap(objective(problem, last, 1), points, region)
    if not isinstance(fit, aims.Worst):
        return result
    # Smoothing adds between 0 and softness x ln E to the largest excess. What it adds here is known; at a better
    # mixture it may add the most. The difference could hide a gain.
    hidden = values(problem, of_any_row(fit.loss), points) - values(problem, last, points)
    return result + hidden + aims.SOFTNESS[-1] * log(len(fit.parts))


def baselines(problem: PlanningProblem) -> Tensor:
    """Return the standard mixtures (m, 4, p) of every budget; see `curate.pool.baselines`."""
    mixtures = [
        np.stack(list(standard_mixtures.baselines(problem.pools, budget.tokens).values())) for budget in problem.budgets
    ]
    return torch.from_numpy(np.stack(mixtures))
