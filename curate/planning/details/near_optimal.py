"""Find the near-optimal set: how far each pool's share can move before even the best such mixture costs too much.

In: the problem of some plans, and the plans. Out: the lowest and highest share of each pool.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import aims, feasible, scipy_solvers, search, solve
from curate.planning.aims import PREDICTED_LOSS, Aim
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.plan import Plan
from curate.planning.regions import Region
from curate.planning.search import PlanningProblem
from curate.pool.pool import Pool
from curate.progress import counted
from curate.runs.predictor import Predictor

HALVINGS = 12  # of the way to a share's bound: ranges are exact to 1/4096 of it, on the inner side
STEPS = 100  # most spectral steps at each tried share
TOLERANCE = 1e-6  # residual at which a descent ends; the loss is compared with a margin of 1e-3, so more is waste


def ranges(
    fit: Predictor,
    pools: Sequence[Pool],
    plans: Sequence[Plan],
    limits: Limits = NO_LIMITS,
    *,
    aim: Aim = PREDICTED_LOSS,
    within: float = 1e-3,
) -> tuple[dict[str, tuple[float, float]], ...]:
    """Return, for every plan, the lowest and highest share that each pool has among near-optimal mixtures.

    A mixture is near-optimal if its loss is within ``within`` nats of the plan's. All other shares are chosen best, so
    the ends of one range need not be reached together with those of another. A wide range is freedom: the runs say that
    this share hardly matters. ``limits`` and ``aim`` are those that the plans were made with.

    Raises:
        SchemaError: if ``within`` is not positive, or the law has no gradient.
    """
    if not within > 0:
        raise SchemaError(f"within {within:g} nats must be positive: 0.001 is about the noise of a run")
    if not fit.differentiable:
        raise SchemaError("near-optimal ranges need a law with a gradient; boosted trees have none")
    problem = search.problem(fit, pools, [plan.budget for plan in plans], limits, aim)
    best = torch.tensor([[plan.weights[pool.name] for pool in problem.pools] for plan in plans], dtype=torch.float64)
    # With money, ranges keep to mixtures that buy the same pools wholly as the plan: this region has straight sides.
    if limits.money is not None:
        region = feasible.relax(problem.region, problem.pools, problem.budgets, limits.money, best)
        problem = replace(problem, region=region, limits=replace(limits, money=None))
    m, p = best.shape
    bounds = torch.stack([_share_bounds(problem.region, k) for k in range(p)], dim=1)  # (m, p, 2)
    # One row for each budget, pool and end (low, high); all are searched in one batch.
    batch = replace(
        problem,
        budgets=tuple(budget for budget in problem.budgets for _ in range(2 * p)),
        region=problem.region.repeat(2 * p),
    )
    ends = _farthest_shares(batch, best.repeat_interleave(2 * p, 0), bounds.reshape(-1), within)
    by_budget = ends.reshape(m, p, 2).tolist()
    return tuple(
        {pool.name: (low, high) for pool, (low, high) in zip(problem.pools, pairs, strict=True)} for pairs in by_budget
    )


def _farthest_shares(problem: PlanningProblem, w: Tensor, bounds: Tensor, within: float) -> Tensor:
    """(r,) for every row the share of its pool that is nearest to its bound and still near-optimal, by bisection.

    Rows (r, p) run over budgets, pools, and low and high.
    """
    r, p = w.shape
    rows, pool = torch.arange(r), (torch.arange(r) // 2) % p
    loss = search.of_any_row(aims.stages(problem.fit, problem.aim.quantile)[-1])
    ceiling = search.values(problem, loss, w) + within
    inner, outer, start = w[rows, pool].clone(), bounds.clone(), w.clone()
    share = outer.clone()  # the bound itself comes first: it is often near-optimal
    for _ in counted(range(HALVINGS + 1), "steps to the ends of the ranges done", HALVINGS + 1):
        low, high = problem.region.low.clone(), problem.region.high.clone()
        low[rows, pool] = high[rows, pool] = share
        region = Region(low, high, problem.region.rows, problem.region.limits)
        result = solve.descend(replace(problem, region=region), [loss], start[:, None], steps=STEPS, tol=TOLERANCE)
        # A share that can be had cheaply moves the inner end outwards; one that cannot moves the outer end inwards.
        good = result.value[:, 0] <= ceiling
        start = torch.where(good[:, None], result.point[:, 0], start)
        inner, outer = torch.where(good, share, inner), torch.where(good, outer, share)
        share = (inner + outer) / 2
    return inner


def _share_bounds(region: Region, k: int) -> Tensor:
    """(m, 2) lowest and highest share that pool k has in every region."""
    rest_low = region.low.sum(dim=1) - region.low[:, k]
    rest_high = region.high.sum(dim=1) - region.high[:, k]
    low = torch.maximum(region.low[:, k], 1 - rest_high)
    high = torch.minimum(region.high[:, k], 1 - rest_low)
    if region.rows.shape[1] == 0:
        return torch.stack([low, high], dim=1)
    cost = np.eye(region.low.shape[1])[k]
    bounds = [
        [scipy_solvers.linear_minimum(sign * cost, region.take(torch.tensor([i]))).x[k] for sign in (1.0, -1.0)]
        for i in range(len(region))
    ]
    return torch.tensor(bounds, dtype=torch.float64)
