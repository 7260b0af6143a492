"""Find a mixture that keeps groups and money, or say by how much the limits are missed; price mixtures.

In: pools, a budget, `Limits` and the region of its linear limits. Out: mixtures, prices, regions of what can be paid.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, islice, pairwise
from math import inf

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from curate.errors import Infeasible, SchemaError
from curate.planning import scipy_solvers
from curate.planning.limits import Limits
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool
from curate.pool.rounding import up

ROUNDING = 1e-9  # an excess over a limit that rounding explains
MOST_SETS = 64  # sets of pools bought wholly that are tried; each is a search of its own


def feasible_mixture(pools: Sequence[Pool], budget: Budget, limits: Limits, region: Region) -> Tensor:
    """Return a mixture (p,) of one budget that keeps all limits.

    A mixed-integer programme finds it. Its unknowns are the shares w, whether all of a pool is bought (z), the price of
    each pool in units of the dearest pool's price for the whole budget (at least w, or all of the pool where z), and by
    how much each limit is missed. The sum of the misses is minimised.

    Raises:
        SchemaError: for an impossible amount of money, or money without priced pools.
        Infeasible: if there is no such mixture, with the limits that are missed and by how much.
    """
    p, q = len(pools), region.rows.shape[1]
    cost = _costs(pools) * budget.tokens
    # Prices are scaled to size 1, like shares, so that the solver weighs a missed share and missed money alike.
    unit = max(float(cost.max()), 1e-300)
    whole = np.minimum([pool.tokens / budget.tokens for pool in pools], 1.0)
    money = _checked_money(limits, cost)
    eye, none, missed = np.eye(p), np.zeros((p, p)), np.eye(q + 1)
    linear = np.vstack(
        [
            np.hstack([region.rows[0].numpy(), np.zeros((q, 2 * p)), -missed[:q]]),
            np.hstack([np.zeros((1, 2 * p)), cost[None] / unit, -missed[q:]]),
            # price >= w - z, and price >= whole z
            np.hstack([eye, -eye, -eye, np.zeros((p, q + 1))]),
            np.hstack([none, np.diag(whole), -eye, np.zeros((p, q + 1))]),
        ]
    )
    right_sides = np.concatenate([region.limits[0].numpy(), [money / unit], np.zeros(2 * p)])
    # The columns are w, z, price, then one miss for each linear limit and one for money.
    sum_is_1 = np.concatenate([np.ones(p), np.zeros(2 * p + q + 1)])[None]
    low = np.concatenate([region.low[0].numpy(), np.zeros(2 * p + q + 1)])
    high = np.concatenate([region.high[0].numpy(), np.ones(p), np.full(p + q + 1, np.inf)])
    solution = milp(
        np.repeat([0.0, 1.0], [3 * p, q + 1]),
        integrality=np.repeat([0, 1, 0], [p, p, p + q + 1]),
        bounds=Bounds(low, high),
        constraints=[LinearConstraint(linear, -np.inf, right_sides), LinearConstraint(sum_is_1, 1.0, 1.0)],
    )
    if solution.x is None:
        raise Infeasible(
            f"no mixture of {budget.tokens:.3g} tokens keeps the limits; the solver says: {solution.message}"
        )
    misses = solution.x[3 * p :]
    if misses.max() > ROUNDING:
        raise Infeasible(_missed_message(limits, budget, misses * np.array([1.0] * q + [unit]), misses > ROUNDING))
    return torch.from_numpy(solution.x[:p])


def _checked_money(limits: Limits, cost: np.ndarray) -> float:
    """Return the most that may be paid; inf for no limit."""
    if limits.money is None:
        return inf
    if not (0 <= limits.money < inf):
        raise SchemaError(f"--money {limits.money:g} must be at least 0 and finite")
    if not cost.any():
        raise SchemaError("--money needs cost_per_token in pools.json: no pool has one")
    return limits.money


def _missed_message(limits: Limits, budget: Budget, misses: np.ndarray, counted: np.ndarray) -> str:
    money = inf if limits.money is None else limits.money
    parts = [
        f"{name} is missed by {up(miss, 4):.4g}"
        for name, miss, counts in zip([*names(limits), f"money {money:g}"], misses.tolist(), counted, strict=True)
        if counts
    ]
    return (
        f"no mixture of {budget.tokens:.3g} tokens keeps all limits: {'; '.join(parts)}. Loosen these by as much, "
        "or loosen the shares and --max-epochs that force them"
    )


def names(limits: Limits) -> list[str]:
    """Return the names of the linear limits, in the order of the rows of their region; money is not among them."""
    result = [f"{lower} at most the share of {upper}" for upper, lower in pairwise(limits.ordered)]
    for group in limits.groups:
        result += [f"group {group.name} at most {group.high:g}"] if group.high < 1 else []
        result += [f"group {group.name} at least {group.low:g}"] if group.low > 0 else []
    return result


def _costs(pools: Sequence[Pool]) -> np.ndarray:
    return np.array([pool.cost_per_token or 0.0 for pool in pools])


def relax(region: Region, pools: Sequence[Pool], budgets: Sequence[Budget], money: float, w: Tensor) -> Region:
    """Return the regions (m) with the limit on money made linear at mixtures ``w`` (m, p).

    That limit is the last row of a region.

    There, a pool seen more than once costs its unique tokens, whatever its share. What is paid is
    sum c_i min(w_i T, U_i). This is concave in the mixture, so the tangent is never under it: every point of the region
    can be paid.
    """
    rows, limits = region.rows.clone(), region.limits.clone()
    row, limit = money_row(pools, budgets, money, w)
    rows[:, -1:], limits[:, -1:] = row, limit
    return Region(region.low, region.high, rows, limits)


def purchases(pools: Sequence[Pool], budget: Budget, limits: Limits, region: Region) -> Region:
    """Return regions of one budget whose union is what money allows: one for each set of pools bought wholly.

    The last row of ``region`` is that of money. Of many pools that could be bought wholly, the dearest are tried,
    ``MOST_SETS`` sets in all. Sets that leave no mixture are left out.
    """
    cost, money = _costs(pools), limits.money or 0.0
    price = cost * np.array([pool.tokens for pool in pools])
    candidates = [
        i
        for i in np.argsort(-price, kind="stable").tolist()
        if 0 < price[i] <= money and pools[i].tokens < budget.tokens
    ]
    sets = list(islice((s for s in _subsets(candidates) if price[list(s)].sum() <= money), MOST_SETS))
    # An infinite share marks a pool as bought wholly where the money row is made linear.
    marks = torch.zeros(len(sets), len(pools), dtype=torch.float64)
    for k, bought in enumerate(sets):
        marks[k, list(bought)] = torch.inf
    regions = relax(region.repeat(len(sets)), pools, [budget] * len(sets), money, marks)
    return regions.take(torch.tensor([k for k in range(len(sets)) if _has_mixture(regions.take(torch.tensor([k])))]))


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield all subsets, small ones first, lazily."""
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def _has_mixture(region: Region) -> bool:
    return bool(scipy_solvers.linear_minimum(np.zeros(region.low.shape[1]), region, slack=0.0).status == 0)


def paid(pools: Sequence[Pool], budget: Budget, weights: Mapping[str, float]) -> float:
    """Return the price of a mixture: every unique token that training sees is paid once."""
    return sum(min(weights[p.name] * budget.tokens, p.tokens) * (p.cost_per_token or 0.0) for p in pools)


def keeps(pools: Sequence[Pool], budget: Budget, limits: Limits, region: Region, w: Tensor) -> bool:
    """Return whether a mixture (p,) keeps all limits of one budget, up to rounding."""
    # The row of money, if there is one, comes after the named limits. It holds near one mixture only, so the true price
    # is compared below.
    excess = region.excess(w[None])[0, : len(names(limits))]
    in_bounds = bool(((w >= region.low[0] - ROUNDING) & (w <= region.high[0] + ROUNDING)).all())
    in_region = in_bounds and bool((excess <= ROUNDING).all())
    cost = paid(pools, budget, dict(zip([pool.name for pool in pools], w.tolist(), strict=True)))
    return in_region and (limits.money is None or cost <= limits.money * (1 + ROUNDING))


def money_row(pools: Sequence[Pool], budgets: Sequence[Budget], money: float, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the limit on money, made linear at mixtures ``w`` (m, p).

    It is rows (m, 1, p) and right sides (m, 1).
    The unit is the dearest pool's price for all tokens of the budget, so that entries are of size 1.
    """
    cost = torch.from_numpy(_costs(pools))
    tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64)[:, None]
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64)
    bought_wholly = w * tokens >= unique
    # Pools bought wholly cost the same whatever their share, so their price leaves the limit for the others.
    remaining = money - (bought_wholly * cost * unique).sum(dim=1, keepdim=True)
    rows = torch.where(bought_wholly, torch.zeros_like(w), cost.expand_as(w))
    unit = cost.max()
    return (rows / unit)[:, None], remaining / (unit * tokens)
