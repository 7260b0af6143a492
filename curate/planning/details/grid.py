"""Plan a grid of token counts around the planned budgets.

In: a `PlanRequest` and its plans. Out: `Grid`. Each search starts from the mixtures of the plans, so a grid costs less
than the plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError, Infeasible
from curate.planning import aims, plan, search, solve
from curate.planning.details import worst_eval
from curate.planning.plan import Plan
from curate.planning.request import PlanRequest
from curate.planning.search import PlanningProblem, SearchResult
from curate.pool.pool import Budget

POINTS = 16  # token counts of a grid
BEYOND = 3.0  # the grid reaches so many times below the smallest and above the largest planned tokens
STARTS = 3  # mixtures from which each point is searched; a point has a good start, so more find nothing new
NEIGHBOURS = 4  # planned mixtures, the nearest by size, among which the starts are chosen
STEPS, TOLERANCE = 120, 1e-7  # of the descent; a picture needs shares to a thousandth
ROUNDS = 4  # times that points take over the better mixture of a neighbour

BudgetLoss = search.RowLoss  # n recipes, and for each the position of its budget (n,) -> (n,)


@dataclass(frozen=True)
class OmittedPoint:
    """A point of the grid without a plan, and the reason in words."""

    budget: Budget
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return the point as one entry of the list ``grid_omitted`` in plan.json."""
        return {"budget": {"tokens": self.budget.tokens, "params": self.budget.params}, "reason": self.reason}


@dataclass(frozen=True)
class Grid:
    """Plans at token counts evenly spaced in logarithms, for each planned size; and points that have no plan."""

    plans: tuple[Plan, ...]
    omitted: tuple[OmittedPoint, ...] = ()


def budgets(planned: Sequence[Budget]) -> tuple[Budget, ...]:
    """Return the budgets of a grid around the planned ones: sizes in rising order, and each with all token counts."""
    tokens = [budget.tokens for budget in planned]
    counts = np.geomspace(min(tokens) / BEYOND, max(tokens) * BEYOND, POINTS).tolist()
    return tuple(Budget(count, params) for params in sorted({budget.params for budget in planned}) for count in counts)


def grid(request: PlanRequest, plans: Sequence[Plan]) -> Grid:
    """Return the best mixtures on a grid of budgets around those of ``plans``, which answer the same request.

    A budget at which no mixture satisfies the limits, or the fit gives no finite loss, is omitted with the reason.
    """
    results = [_check(request, budget) for budget in budgets([entry.budget for entry in plans])]
    possible = [result for result in results if isinstance(result, Budget)]
    omitted = [result for result in results if isinstance(result, OmittedPoint)]
    if not possible:
        return Grid((), tuple(omitted))
    try:
        return Grid(_planned(request, possible, plans), tuple(omitted))
    except FitError:
        # One budget without a finite loss stops a whole batch, so the budgets are planned one after the other.
        singly = [_planned_or_omitted(request, budget, plans) for budget in possible]
    omitted += [result for result in singly if isinstance(result, OmittedPoint)]
    return Grid(tuple(result for result in singly if isinstance(result, Plan)), tuple(omitted))


def _check(request: PlanRequest, budget: Budget) -> Budget | OmittedPoint:
    """Return the budget, or the reason if limits such as --max-epochs forbid it."""
    try:
        search.problem(request.fit, request.pools, [budget], request.limits, request.aim)
    except Infeasible as error:
        return OmittedPoint(budget, str(error))
    return budget


def _planned_or_omitted(request: PlanRequest, budget: Budget, plans: Sequence[Plan]) -> Plan | OmittedPoint:
    try:
        return _planned(request, [budget], plans)[0]
    except FitError as error:
        return OmittedPoint(budget, str(error))


def _planned(request: PlanRequest, wanted: Sequence[Budget], plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return the plans of the wanted budgets, searched from the mixtures of ``plans``."""
    fit, pools, limits, aim = request.fit, request.pools, request.limits, request.aim

    if aim.worst == "regret":
        return _of_least_regret(request, wanted, plans)
    target = fit if aim.worst is None else worst_eval.largest_loss(fit)
    problem = search.problem(target, pools, wanted, limits, replace(aim, worst=None))
    return plan.of_search(problem, from_plans(problem, plans))


def _of_least_regret(request: PlanRequest, wanted: Sequence[Budget], plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return plans for the largest excess over the evals' lowest losses, which depend on the budget."""
    fit, pools, limits, aim = request.fit, request.pools, request.limits, request.aim
    target, same_aim = worst_eval.largest_loss(fit), replace(aim, worst=None)
    of_evals = [search.problem(part, pools, wanted, limits, worst_eval.alone(aim)) for part in target.parts]
    alone = [from_plans(problem, plans) for problem in of_evals]
    levels = torch.stack([result.value.amin(dim=1) for result in alone])  # (E, m)
    # All budgets are searched in one batch. Each row counts its excess from the levels of its own budget.
    stages = [
        lambda recipes, of_row, softness=softness: target.smooth_loss(recipes, softness, levels[:, of_row])
        for softness in aims.SOFTNESS
    ]
    result = from_plans(search.problem(target, pools, wanted, limits, same_aim), plans, stages)
    entries: list[Plan] = []
    for i, budget in enumerate(wanted):
        shares = [dict(zip(fit.pools, each.best[i].tolist(), strict=True)) for each in alone]
        regret = worst_eval.largest_regret(fit, pools, budget, shares, levels[:, i].tolist())
        problem = search.problem(regret, pools, [budget], limits, same_aim)
        entries += plan.of_search(problem, result.take(torch.tensor([i])))
    return tuple(entries)


def from_plans(
    problem: PlanningProblem, plans: Sequence[Plan], stages: Sequence[BudgetLoss] | None = None
) -> SearchResult:
    """Minimise the loss at each budget of a problem, from the mixtures of plans for other budgets.

    The best mixture changes smoothly with the tokens, or jumps from one valley of the loss to another. So each point
    also starts from the standard mixtures, and takes over the mixture of a neighbour where that is better. ``stages``
    replace the losses of the problem, which are minimised one after the other.

    Raises:
        FitError: if the loss was finite for none of the mixtures that were tried at a budget.
    """
    if stages is None:
        stages = [search.of_any_row(stage) for stage in aims.stages(problem.fit, problem.aim.quantile)]
    every = torch.arange(len(problem.budgets))
    start = solve.different_best(*_candidates(problem, stages[0], plans), STARTS)
    result = solve.descend(problem, _by_row(stages, every, STARTS), start, steps=STEPS, tol=TOLERANCE)
    solve.check_finite(problem, result)
    for _ in range(ROUNDS):
        better, mixtures = _better_neighbours(problem, stages[-1], result)
        if not len(better):
            break
        budgets_again = tuple(problem.budgets[i] for i in better.tolist())
        part = replace(problem, budgets=budgets_again, region=problem.region.take(better))
        again = solve.descend(part, _by_row(stages, better), mixtures[better, None], steps=STEPS, tol=TOLERANCE)
        result = _with(result, better, again)
    return result


def _by_row(stages: Sequence[BudgetLoss], budgets_of: Tensor, starts: int = 1) -> list[search.RowLoss]:
    """Return losses of the rows of a batch, which has ``starts`` rows for each of the budgets ``budgets_of`` (m,)."""
    of_row = budgets_of.repeat_interleave(starts)

    def by_row(stage: BudgetLoss) -> search.RowLoss:
        return lambda recipes, rows: stage(recipes, of_row[rows])

    return [by_row(stage) for stage in stages]


def _candidates(problem: PlanningProblem, loss: BudgetLoss, plans: Sequence[Plan]) -> tuple[Tensor, Tensor]:
    """Return the mixtures (m, k, p) of the nearest plans and the standard mixtures, and their losses (m, k)."""
    shares = torch.tensor(
        [[entry.weights[pool.name] for pool in problem.pools] for entry in plans], dtype=torch.float64
    )
    nearest = torch.stack([_nearest(budget, plans) for budget in problem.budgets])
    mixtures = torch.cat([shares[nearest], search.baselines(problem)], dim=1)
    m, k, p = mixtures.shape
    mixtures = problem.region.repeat(k).project(mixtures.reshape(m * k, p))
    (by_row,) = _by_row([loss], torch.arange(m), k)
    values = search.objective(problem, by_row, k)(mixtures, torch.arange(m * k)).detach()
    return mixtures.reshape(m, k, p), torch.nan_to_num(values, nan=torch.inf).reshape(m, k)


def _nearest(budget: Budget, plans: Sequence[Plan]) -> Tensor:
    """Return the positions (k,) of the plans whose budgets are nearest in the logarithms of tokens and parameters."""
    distances = [
        abs(log(entry.budget.tokens / budget.tokens)) + abs(log(entry.budget.params / budget.params)) for entry in plans
    ]
    return torch.tensor(distances).argsort(stable=True)[:NEIGHBOURS]


def _better_neighbours(problem: PlanningProblem, loss: BudgetLoss, result: SearchResult) -> tuple[Tensor, Tensor]:
    """Return the rows (k,) at which a neighbour's best mixture is better than their own, and such mixtures (m, p)."""
    best, lowest = result.best.clone(), result.value.amin(dim=1)
    points, improved = result.best, torch.zeros(len(best), dtype=torch.bool)
    for shift in (1, -1):
        neighbours = problem.region.project(points.roll(shift, 0))
        values = torch.nan_to_num(search.values(problem, loss, neighbours), nan=torch.inf)
        better = values < lowest - search.EQUAL
        best[better], lowest[better] = neighbours[better], values[better]
        improved |= better
    return torch.nonzero(improved)[:, 0], best


def _with(result: SearchResult, rows: Tensor, again: SearchResult) -> SearchResult:
    """Return a result in which the worst start of each of the ``rows`` (k,) is replaced by what ``again`` found."""
    point, value, residual = result.point.clone(), result.value.clone(), result.residual.clone()
    worst = value[rows].argmax(dim=1)
    point[rows, worst], value[rows, worst] = again.point[:, 0], again.value[:, 0]
    residual[rows, worst] = again.residual[:, 0]
    return SearchResult(point, value, residual)
