"""Find the allowed mixture with the lowest predicted loss, by SLSQP from a few starts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from curate.planning import feasible, scipy_solvers, search
from curate.planning.aims import PREDICTED_LOSS
from curate.runs.predictors.predictor import Predictor
from curate.selection.purchase import Purchase

STEPS, TOLERANCE = 30, 1e-5  # of a descent; values are transport solves, whose own error is about as large
STARTS = 2  # that are followed, the most promising ones
MONEY_ROUNDS = 3  # with a limit on money, which is made linear anew at the end of every descent
NO_SHARE = 1e-4  # smaller shares count as none
NEAR_CORNER, EVEN_PART = 0.9, 0.1  # of a start near one source; in the corner itself slopes can be infinite


def lowest(law: Predictor, purchase: Purchase, starts: Sequence[Tensor]) -> Tensor:
    """Return the allowed mixture (p,) with the lowest predicted loss.

    The search starts from the most promising of ``starts`` (p,), the uniform mixture and the corners. Balanced
    transport is convex in the mixture, so that one start is enough for it.
    """
    budgets = [purchase.budget]
    problem = search.problem(law, purchase.pools, budgets, purchase.limits, PREDICTED_LOSS)
    p = len(problem.pools)
    corners = torch.eye(p, dtype=torch.float64) * NEAR_CORNER + EVEN_PART / p
    first = torch.cat([torch.full((1, p), 1 / p, dtype=torch.float64), corners, *(start[None] for start in starts)])
    first = problem.region.repeat(len(first)).project(first)
    with torch.no_grad():
        promise = law.loss(search.on_hand(problem.pools, budgets, first))
    best, least = first[int(promise.argmin())], float(promise.min())
    for i in promise.argsort(stable=True)[:STARTS].tolist():
        w = first[i]
        for _ in range(MONEY_ROUNDS if purchase.limits.money is not None else 1):
            w = _slsqp(law, problem, w)
        value = float(law.loss(search.on_hand(problem.pools, budgets, w[None])).detach())
        if value < least:
            best, least = w, value
    best = torch.where(best < NO_SHARE, 0.0, best)
    return best / best.sum()


def _slsqp(law: Predictor, problem: search.PlanningProblem, start: Tensor) -> Tensor:
    """Descend once from ``start`` (p,) within the problem's region, with the limit on money made linear there."""
    region, budgets, money = problem.region, problem.budgets, problem.limits.money
    if money is not None:
        region = feasible.relax(region, problem.pools, budgets, money, start[None])

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        # SLSQP tries points that are below 0 by rounding, where a distance has no meaning.
        w = torch.from_numpy(np.clip(x, 0, None))[None].requires_grad_(True)
        loss = law.loss(search.on_hand(problem.pools, budgets, w)).sum()
        (slope,) = torch.autograd.grad(loss, w)
        return float(loss.detach()), slope[0].numpy()

    end = scipy_solvers.slsqp(value_and_gradient, start.numpy(), region, steps=STEPS, tolerance=TOLERANCE)
    return region.project(torch.from_numpy(end)[None])[0]
