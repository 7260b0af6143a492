"""Find the near-optimal set: how far each pool's share can move before even the best such mixture costs too much.

In: the problem of some plans, and the plans. Out: the lowest and highest share of each pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import aims, feasible, minimise, scipy_solvers, search, solve
from curate.planning.aims import PREDICTED_LOSS, Aim
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.plan import Plan
from curate.planning.regions import Region
from curate.planning.search import PlanningProblem
from curate.pool.pool import Pool
from curate.progress import counted
from curate.runs.predictors.predictor import Predictor

TRIALS = 16  # most shares that are tried for one end of a range; most ends need three to five
# A tried share ends the search if its loss is above the plan's by this part of ``within`` or more, but not by all of
# it. The loss rises at least in proportion to the distance from the plan, so that this distance is exact to .5 %.
NEARLY = 0.995
TINY = 1e-300  # avoids a division by zero
RESOLUTION = 1 / 4096  # of the way to a share's bound: a search ends too when the end is known so well
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
    """Return for every row, (r,), the share of its pool that is nearest to its bound and still near-optimal.

    Rows (r, p) run over budgets, pools, and low and high. The loss rises with the distance d from the planned share,
    about as a power of d between 1 and 2. So the distance at which it is too high is found by the secant method on the
    logarithms of rise and distance, between the farthest good share and the nearest bad one.
    """
    r, p = w.shape
    rows, pool = torch.arange(r), (torch.arange(r) // 2) % p
    loss = search.of_any_row(aims.stages(problem.fit, problem.aim.quantile)[-1])
    planned, way = w[rows, pool], bounds - w[rows, pool]
    lowest, reduced = _slopes(search.objective(problem, loss, 1), w, pool)
    good, bad = _Tried.of(w, torch.zeros(r, dtype=w.dtype)), _Tried.of(w, torch.full((r,), torch.inf, dtype=w.dtype))
    # The loss rises at least by slope x distance. Where that is not too much at the bound, the bound is tried first.
    first = within / (reduced * way.sign()).clamp_min(TINY)
    distance, unfinished = first.minimum(way.abs()), torch.nonzero(way != 0)[:, 0]
    for trial in counted(range(TRIALS), "shares tried for each end of the ranges, at most", TRIALS):
        if not len(unfinished):
            break
        length = distance[unfinished]
        share = planned[unfinished] + way[unfinished].sign() * length
        share = torch.where(length >= way[unfinished].abs(), bounds[unfinished], share)
        low, high = problem.region.low[unfinished], problem.region.high[unfinished]
        place = torch.arange(len(unfinished)), pool[unfinished]
        low[place] = high[place] = share
        region = Region(low, high, problem.region.rows[unfinished], problem.region.limits[unfinished])
        part = replace(problem, budgets=tuple(problem.budgets[i] for i in unfinished.tolist()), region=region)
        start = _between(good.take(unfinished), bad.take(unfinished), length)
        result = solve.descend(part, [loss], start[:, None], steps=STEPS, tol=TOLERANCE)
        tried = _Tried(result.point[:, 0], length, result.value[:, 0] - lowest[unfinished])
        is_good = tried.rise <= within
        good, bad = (
            good.put(unfinished[is_good], tried.take(is_good)),
            bad.put(unfinished[~is_good], tried.take(~is_good)),
        )
        gap = bad.distance.minimum(way.abs()) - good.distance
        finished = (good.rise >= NEARLY * within) | (gap <= RESOLUTION * way.abs())
        unfinished = unfinished[~finished[unfinished]]
        distance = _next_distance(good, bad, way.abs(), within, halve=trial > TRIALS // 2)
    return torch.where(good.distance >= way.abs(), bounds, planned + way.sign() * good.distance)


@dataclass(frozen=True)
class _Tried:
    """The best mixtures ``point`` (r, p) at a ``distance`` (r,) of one share from its plan, and the ``rise`` (r,).

    The rise is that of the loss. An infinite distance means that no such share was tried yet.
    """

    point: Tensor
    distance: Tensor
    rise: Tensor

    @staticmethod
    def of(point: Tensor, value: Tensor) -> "_Tried":
        """Return points at a distance and with a rise of ``value`` (r,)."""
        return _Tried(point.clone(), value.clone(), value.clone())

    def take(self, rows: Tensor) -> "_Tried":
        return _Tried(self.point[rows], self.distance[rows], self.rise[rows])

    def put(self, rows: Tensor, others: "_Tried") -> "_Tried":
        """Return these with those at ``rows`` replaced."""
        return _Tried(
            *(getattr(self, name).index_copy(0, rows, getattr(others, name)) for name in self.__dataclass_fields__)
        )


def _slopes(objective: minimise.Objective, w: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values (r,) at ``w`` (r, p), and the (r,) slopes by the share of ``pool`` (r,) at others' expense."""
    rows = torch.arange(len(w))
    value, gradient = minimise.evaluate(objective, w, rows)
    return value, gradient[rows, pool] - (gradient * w).sum(dim=1)


def _between(good: _Tried, bad: _Tried, distance: Tensor) -> Tensor:
    """Return the mixtures (r, p) at ``distance`` on the line between the good and the bad ones: nearly the best."""
    part = (distance - good.distance) / (bad.distance - good.distance)
    line = good.point + torch.nan_to_num(part)[:, None] * (bad.point - good.point)
    return torch.where(torch.isfinite(bad.distance)[:, None], line, good.point)


def _next_distance(good: _Tried, bad: _Tried, way: Tensor, within: float, *, halve: bool) -> Tensor:
    """Return the (r,) distances to try next, between the good and the bad ones.

    ``halve`` takes their middle, which is sure to end.
    """
    nearest = bad.distance.minimum(way)
    if halve:
        return (good.distance + nearest) / 2
    aim = (1 + NEARLY) / 2 * within
    seen = torch.isfinite(bad.rise) & torch.isfinite(bad.distance)
    # The power of the distance with which the loss rises: 2 until two points show it, within 1 and 4.
    ratio = (bad.rise / good.rise.clamp_min(TINY)).log() / (bad.distance / good.distance.clamp_min(TINY)).log()
    power = torch.where(seen & (good.rise > 0), ratio, 2.0).clamp(1.0, 4.0)
    from_bad = bad.distance * (aim / bad.rise.clamp_min(TINY)) ** (1 / power)
    from_good = good.distance * (aim / good.rise.clamp_min(TINY)) ** (1 / power)
    guess = torch.where(seen, from_bad, from_good)
    # A guess outside of the interval, or at its ends, would not narrow it.
    margin = 0.02 * (nearest - good.distance)
    inside = torch.where(torch.isfinite(guess), guess, (good.distance + nearest) / 2)
    return torch.where(seen, inside.clamp(good.distance + margin, nearest - margin), inside.minimum(way))


def _share_bounds(region: Region, k: int) -> Tensor:
    """Return the (m, 2) lowest and highest share that pool k has in every region."""
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
