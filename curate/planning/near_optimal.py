"""The near-optimal set: how far each pool's share can move before even the best mixture around it costs too much."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import aims, feasible, search
from curate.planning.aims import Aim
from curate.planning.limits import Limits
from curate.planning.plan import Plan
from curate.planning.regions import Region
from curate.planning.search import Problem
from curate.pool.pool import Pool
from curate.runs.predictor import Predictor

HALVINGS = 12  # of the way to a share's bound: ranges are exact to 1/4096 of it, on the inner side
STEPS = 100


def ranges(
    fit: Predictor,
    pools: Sequence[Pool],
    plans: Sequence[Plan],
    limits: Limits = Limits(),  # noqa: B008
    *,
    aim: Aim = Aim(),  # noqa: B008
    within: float = 1e-3,
) -> tuple[dict[str, tuple[float, float]], ...]:
    """Return for every plan the lowest and highest share of each pool over the mixtures whose loss is within ``within``
    nats of the plan's, all other shares chosen best.

    ``limits`` and ``aim`` are those that the plans were made with. Ends of one range need not be reached together with
    those of another. A wide range is freedom: the runs say that this share hardly matters.
    """
    if not within > 0:
        raise SchemaError(f"within {within:g} nats must be positive: .001 is about the noise of a run")
    if not fit.differentiable:
        raise SchemaError("ranges need a law with a gradient; trees alone have none")
    asked = search.problem(fit, pools, [plan.budget for plan in plans], limits, aim)
    best = torch.tensor([[plan.weights[pool.name] for pool in asked.pools] for plan in plans], dtype=torch.float64)
    if limits.money is not None:
        drawn = feasible.relax(asked.region, asked.pools, asked.budgets, limits.money, best)
        asked = replace(asked, region=drawn, limits=replace(limits, money=None))
    m, p = best.shape
    ends = torch.stack([_ends(asked.region, k) for k in range(p)], dim=1)  # (m, p, 2)
    many = replace(
        asked, budgets=tuple(b for b in asked.budgets for _ in range(2 * p)), region=asked.region.repeat(2 * p)
    )
    reached = _stretch(many, best.repeat_interleave(2 * p, 0), ends.reshape(-1), within)
    found = reached.reshape(m, p, 2).tolist()
    return tuple({pool.name: (lo, hi) for pool, (lo, hi) in zip(asked.pools, one, strict=True)} for one in found)


def _stretch(asked: Problem, w: Tensor, ends: Tensor, within: float) -> Tensor:
    """(r,) for every row the share of its pool (rows run over budgets, pools, low and high) nearest to its end."""
    r, p = w.shape
    rows, pool = torch.arange(r), (torch.arange(r) // 2) % p
    loss = search.of_any_row(aims.stages(asked.fit, asked.aim.quantile)[-1])
    ceiling = search.values(asked, loss, w) + within
    inner, outer, here = w[rows, pool].clone(), ends.clone(), w.clone()
    tried = outer.clone()  # the end itself first: it is often reached
    for _ in range(HALVINGS + 1):
        low, high = asked.region.low.clone(), asked.region.high.clone()
        low[rows, pool] = high[rows, pool] = tried
        region = Region(low, high, asked.region.rows, asked.region.limits)
        found = search.descend(replace(asked, region=region), [loss], here[:, None], steps=STEPS, tol=1e-6)
        good = found.value[:, 0] <= ceiling
        here = torch.where(good[:, None], found.point[:, 0], here)
        inner, outer = torch.where(good, tried, inner), torch.where(good, outer, tried)
        tried = (inner + outer) / 2
    return inner


def _ends(region: Region, k: int) -> Tensor:
    """(m, 2) lowest and highest share of pool k in every region."""
    rest_low = region.low.sum(dim=1) - region.low[:, k]
    rest_high = region.high.sum(dim=1) - region.high[:, k]
    low = torch.maximum(region.low[:, k], 1 - rest_high)
    high = torch.minimum(region.high[:, k], 1 - rest_low)
    if region.rows.shape[1] == 0:
        return torch.stack([low, high], dim=1)
    found = []
    for i in range(len(region)):
        bounds = np.stack([region.low[i].numpy(), region.high[i].numpy()], axis=1)
        cost = np.eye(bounds.shape[0])[k]
        a, b = region.rows[i].numpy(), region.limits[i].numpy() + 1e-12
        one = [
            linprog(sign * cost, A_ub=a, b_ub=b, A_eq=np.ones((1, len(cost))), b_eq=[1.0], bounds=bounds).x[k]
            for sign in (1.0, -1.0)
        ]
        found.append(one)
    return torch.tensor(found, dtype=torch.float64)
