"""Find the mixtures with the lowest loss, from many starting mixtures.

In: `PlanningProblem`. Out: `SearchResult`. Every start gets a few steps, and only the best of them are continued. Three
cases differ: a law without a gradient is minimised by random search, limits on sums of shares make projections costly,
and a limit on money splits the problem by the set of pools that are bought whole.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError
from curate.planning import aims, feasible, minimise
from curate.planning.regions import Region
from curate.planning.search import (
    PlanningProblem,
    RowLoss,
    SearchResult,
    baselines,
    objective,
    of_any_row,
    on_hand,
    ranked,
)
from curate.pool.pool import Budget

ROUGH_STEPS = 60  # spectral steps that every start gets
KEPT_STARTS = 6  # starts a budget that go on after them, for so many steps more:
STEPS = 120
STEPS_LINEAR = 10  # ... or so many where several shares are limited together: projecting on such limits is costly
APART = 0.02  # total variation over which two mixtures count as different starts
POLISHED = 3  # points a budget that SLSQP finishes ...
FINE = 1e-7  # ... where their residual is larger than this
ON_THE_WAY = 1e-5  # residual at which a smoothed loss is left for the next, less smoothed one
MONEY_ROUNDS = 8  # times that the limit on money is made linear anew


def solve(problem: PlanningProblem, *, starts: int, seed: int) -> SearchResult:
    """Minimise the loss at each budget from ``starts`` mixtures, and return the mixtures that were reached.

    Raises:
        FitError: if the loss was finite for none of the mixtures that were tried at a budget.
    """
    result = _solve(problem, _starts(problem, starts, seed))
    check_finite(problem, result)
    return result


def check_finite(problem: PlanningProblem, result: SearchResult) -> None:
    """Check that each budget has a mixture with a finite loss.

    Raises:
        FitError: for the first budget that has none.
    """
    for budget, value in zip(problem.budgets, result.value.amin(dim=1).tolist(), strict=True):
        if not isfinite(value):
            raise FitError(
                f"the fit gives no finite loss to any mixture tried at {budget.tokens:.3g} tokens and "
                f"{budget.params:.3g} parameters: plan nearer to the runs, or fit another law"
            )


def _solve(problem: PlanningProblem, first: Tensor) -> SearchResult:
    losses = [of_any_row(stage) for stage in aims.stages(problem.fit, problem.aim.quantile)]
    if not problem.fit.differentiable:
        return descend(problem, losses, first, steps=STEPS)
    region, money = problem.region, problem.limits.money
    # The first steps keep to the bounds alone, which are cheap to project on.
    bounds_alone = replace(
        problem, region=Region.box(region.low, region.high), limits=replace(problem.limits, money=None)
    )
    rough = descend(bounds_alone, losses[:1], first, steps=ROUGH_STEPS, tol=1e-5)
    if money is not None:
        return _solve_with_money(problem, losses, different_best(rough.point, rough.value))
    if region.rows.shape[1] == 0:
        start = different_best(rough.point, rough.value)
        return _polish(problem, losses[-1], descend(problem, losses, start, steps=STEPS))
    # The best between bounds alone may all be near one corner of the region, so the first mixtures stay candidates.
    candidates = torch.cat([rough.point, first], dim=1)
    m, s, p = candidates.shape
    candidates = region.repeat(s).project(candidates.reshape(m * s, p))
    value = objective(problem, losses[0], s)(candidates, torch.arange(m * s)).detach().reshape(m, s)
    start = different_best(candidates.reshape(m, s, p), value)
    return _polish(problem, losses[-1], descend(problem, losses, start, steps=STEPS_LINEAR))


def _starts(problem: PlanningProblem, count: int, seed: int) -> Tensor:
    """Return (m, s, p) mixtures to start from, s for each of m budgets.

    They are the baselines, the single pools with the lowest loss, and Dirichlet draws.
    """
    p, m, count = len(problem.pools), len(problem.budgets), max(count, 4)
    # A start at a corner has zero shares, where some laws have no finite slope, so the corner is mixed with a little of
    # all pools.
    singles = torch.from_numpy(0.02 / p + 0.98 * np.eye(p))
    allowed_singles = problem.region.repeat(p).project(singles.repeat(m, 1))
    loss = aims.stages(problem.fit, problem.aim.quantile)[0]
    losses = loss(on_hand(problem.pools, problem.budgets, allowed_singles)).detach()
    losses = torch.nan_to_num(losses, nan=torch.inf).reshape(m, p)
    order = losses.argsort(dim=1, stable=True)[:, : max(1, (count - 4) // 2)]
    draws = np.random.default_rng(seed).dirichlet(np.ones(p), size=max(0, count - 4 - order.shape[1]))
    return torch.cat([baselines(problem), singles[order], torch.from_numpy(draws).expand(m, -1, -1)], dim=1)[:, :count]


def different_best(point: Tensor, value: Tensor, count: int = KEPT_STARTS) -> Tensor:
    """Return (m, count, p) of ``point`` (m, s, p): the ``count`` points of lowest loss that lie APART.

    Where fewer than that lie apart, the next best points are added.
    """
    chosen = []
    for points, order in zip(point, ranked(value).tolist(), strict=True):
        kept = order[:1]
        for i in order[1:]:
            if len(kept) < count and float((points[kept] - points[i]).abs().sum(dim=1).min()) > 2 * APART:
                kept.append(i)
        chosen.append(points[[*kept, *(i for i in order if i not in kept)][:count]])
    return torch.stack(chosen)


def _solve_with_money(problem: PlanningProblem, losses: Sequence[RowLoss], start: Tensor) -> SearchResult:
    """Solve for every set of pools that may be bought whole, and keep the best solutions.

    Once the set is fixed, the limit on money is linear.
    """
    points, values, residuals = [], [], []
    s, p = start.shape[1:]
    for i, budget in enumerate(problem.budgets):
        regions = feasible.purchases(problem.pools, budget, problem.limits, problem.region.take(torch.tensor([i])))
        split = replace(
            problem, budgets=(budget,) * len(regions), region=regions, limits=replace(problem.limits, money=None)
        )
        # Every set of purchases starts from the same mixtures, which are projected on its region.
        first = start[i : i + 1].expand(len(regions), -1, -1)
        result = _polish(split, losses[-1], descend(split, losses, first, steps=STEPS_LINEAR))
        order = ranked(result.value.reshape(1, -1))[0, :s]
        points.append(result.point.reshape(-1, p)[order])
        values.append(result.value.reshape(-1)[order])
        residuals.append(result.residual.reshape(-1)[order])
    return SearchResult(torch.stack(points), torch.stack(values), torch.stack(residuals))


def _polish(problem: PlanningProblem, loss: RowLoss, result: SearchResult) -> SearchResult:
    """Improve the best points of every budget by SLSQP where they have not converged.

    This happens where the law is badly scaled. Of several points near each other, only the best is improved.
    """
    point, value, residual = result.point.clone(), result.value.clone(), result.residual.clone()
    budgets, function, order = torch.arange(len(value)), objective(problem, loss, 1), ranked(result.value)
    for place in range(min(value.shape[1], POLISHED)):
        column = order[:, place]
        start, before = result.point[budgets, column], order[:, :place]
        near = (point[budgets[:, None], before] - start[:, None]).abs().sum(dim=2) < 2 * APART
        rows = ((result.residual[budgets, column] > FINE) & ~near.any(dim=1)).nonzero()[:, 0]
        better = minimise.finish(function, start, problem.region, rows)
        point[rows, column[rows]] = better.point[rows]
        value[rows, column[rows]], residual[rows, column[rows]] = better.value[rows], better.residual[rows]
    return SearchResult(point, value, residual)


def descend(
    problem: PlanningProblem, losses: Sequence[RowLoss], start: Tensor, *, steps: int, tol: float = 1e-8
) -> SearchResult:
    """Minimise each of ``losses`` in turn: the first from ``start`` (m, s, p), each other from where the last ended."""
    m, s, p = start.shape
    budgets, money = [budget for budget in problem.budgets for _ in range(s)], problem.limits.money
    region, w = problem.region.repeat(s), start.reshape(m * s, p)
    if money is not None:
        region, w = _payable_starts(problem, budgets, region, w)
    for loss in losses:
        function = objective(problem, loss, s)
        only, last = len(losses) == 1, loss is losses[-1]
        for _ in range(MONEY_ROUNDS if money is not None else 1):
            if problem.fit.differentiable:
                # A smoothed loss on the way need not be solved to the end.
                enough = tol if last else max(tol, ON_THE_WAY)
                minimum = minimise.minimize(function, w, region, steps=steps if only else steps // 3, tol=enough)
            else:
                minimum = minimise.search(function, w, region)
            w = minimum.point
            if money is None:
                break
            # The limit on money is linear only near a mixture, so it is made linear again where the descent ended.
            redrawn = feasible.relax(region, problem.pools, budgets, money, w)
            if torch.equal(redrawn.rows, region.rows):
                break
            region = redrawn
    return SearchResult(w.reshape(m, s, p), minimum.value.reshape(m, s), minimum.residual.reshape(m, s))


def _payable_starts(
    problem: PlanningProblem, budgets: Sequence[Budget], region: Region, w: Tensor
) -> tuple[Region, Tensor]:
    """Move the starts ``w`` (k, p) to mixtures that can be paid, and make the limit on money linear there.

    Returns the regions with that linear limit, and the moved starts.
    """
    money = problem.limits.money or 0.0
    at_start = feasible.relax(region, problem.pools, budgets, money, w)
    # A linear limit made at any mixture that can be paid admits only mixtures that can be paid. So a start that cannot
    # be paid keeps the limit that its region already has.
    payable = (at_start.excess(w) <= 0).all(dim=1)[:, None]
    rows = torch.where(payable[..., None], at_start.rows, region.rows)
    limits = torch.where(payable, at_start.limits, region.limits)
    w = Region(region.low, region.high, rows, limits).project(w)
    return feasible.relax(region, problem.pools, budgets, money, w), w
