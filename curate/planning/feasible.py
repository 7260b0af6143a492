"""A mixture that keeps groups and money, or why there is none; what mixtures cost."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, islice, pairwise
from math import inf

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from torch import Tensor

from curate.errors import Infeasible, SchemaError
from curate.planning.limits import Limits
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool
from curate.pool.rounding import up

LOOSE = 1e-9  # excess of a linear limit that rounding explains
SETS = 64  # of pools bought wholly that are tried


def inside(pools: Sequence[Pool], budget: Budget, limits: Limits, one: Region) -> Tensor:
    """(p,) a mixture of one budget that keeps all limits; if there is none, say which are missed and by how much.

    A mixed-integer programme over shares w, whether all of a pool is bought (z), its price in units of c T (at least w,
    or all of it where z), and by how much each limit is missed, whose sum is least.
    """
    p, q = len(pools), one.rows.shape[1]
    cost = _costs(pools) * budget.tokens
    unit = max(float(cost.max()), 1e-300)
    whole = np.minimum([pool.tokens / budget.tokens for pool in pools], 1.0)
    money = inf if limits.money is None else limits.money
    if limits.money is not None and not (0 <= money < inf):
        raise SchemaError(f"--money {money:g} must be at least 0 and finite")
    if limits.money is not None and not cost.any():
        raise SchemaError("--money needs cost_per_token in pools.json: no pool has one")
    eye, none, missed = np.eye(p), np.zeros((p, p)), np.eye(q + 1)
    a = np.vstack(
        [
            np.hstack([one.rows[0].numpy(), np.zeros((q, 2 * p)), -missed[:q]]),
            np.hstack([np.zeros((1, 2 * p)), cost[None] / unit, -missed[q:]]),
            np.hstack([eye, -eye, -eye, np.zeros((p, q + 1))]),
            np.hstack([none, np.diag(whole), -eye, np.zeros((p, q + 1))]),
        ]
    )
    most = np.concatenate([one.limits[0].numpy(), [money / unit], np.zeros(2 * p)])
    sum_one = np.concatenate([np.ones(p), np.zeros(2 * p + q + 1)])[None]
    low = np.concatenate([one.low[0].numpy(), np.zeros(2 * p + q + 1)])
    high = np.concatenate([one.high[0].numpy(), np.ones(p), np.full(p + q + 1, np.inf)])
    found = milp(
        np.repeat([0.0, 1.0], [3 * p, q + 1]),
        integrality=np.repeat([0, 1, 0], [p, p, p + q + 1]),
        bounds=Bounds(low, high),
        constraints=[LinearConstraint(a, -np.inf, most), LinearConstraint(sum_one, 1.0, 1.0)],
    )
    if found.x is None:
        raise Infeasible(f"no mixture of {budget.tokens:.3g} tokens was found that keeps the limits: {found.message}")
    over = found.x[3 * p :]
    if over.max() > LOOSE:
        called = [*names(limits), f"money {money:g}"]
        said = [
            f"{what} is missed by {up(by * scale, 4):.4g}"
            for what, by, scale in zip(called, over.tolist(), [1.0] * q + [unit], strict=True)
            if by > LOOSE
        ]
        raise Infeasible(
            f"no mixture of {budget.tokens:.3g} tokens keeps all limits: {'; '.join(said)}. Loosen these by as much, "
            "or the shares and --max-epochs that force them"
        )
    return torch.from_numpy(found.x[:p])


def names(limits: Limits) -> list[str]:
    """Return what the linear limits are called, in the order of ``constraints``; money apart."""
    found = [f"{lower} at most the share of {upper}" for upper, lower in pairwise(limits.ordered)]
    for group in limits.groups:
        found += [f"group {group.name} at most {group.high:g}"] if group.high < 1 else []
        found += [f"group {group.name} at least {group.low:g}"] if group.low > 0 else []
    return found


def _costs(pools: Sequence[Pool]) -> np.ndarray:
    return np.array([pool.cost_per_token or 0.0 for pool in pools])


def relax(whole: Region, pools: Sequence[Pool], budgets: Sequence[Budget], money: float, w: Tensor) -> Region:
    """Return the regions (m) with the money row, their last, drawn at mixtures ``w`` (m, p): pools seen more than once
    there cost their unique tokens, whatever their share.

    What is paid, sum c_i min(w_i T, U_i), is concave, so this tangent is never under it: points inside can be paid.
    """
    rows, limits = whole.rows.clone(), whole.limits.clone()
    row, limit = money_row(pools, budgets, money, w)
    rows[:, -1:], limits[:, -1:] = row, limit
    return Region(whole.low, whole.high, rows, limits)


def purchases(pools: Sequence[Pool], budget: Budget, limits: Limits, one: Region) -> Region:
    """Return regions of one budget whose union is what money allows: one for each set of pools that is bought wholly.

    ``one`` has the money row last. Of many pools that could be bought wholly the dearest are tried, SETS sets in all;
    sets that leave no mixture are left out.
    """
    cost, money = _costs(pools), limits.money or 0.0
    price = cost * np.array([pool.tokens for pool in pools])
    could = [
        i
        for i in np.argsort(-price, kind="stable").tolist()
        if 0 < price[i] <= money and pools[i].tokens < budget.tokens
    ]
    sets = list(islice((s for s in _subsets(could) if price[list(s)].sum() <= money), SETS))
    marks = torch.zeros(len(sets), len(pools), dtype=torch.float64)
    for k, chosen in enumerate(sets):
        marks[k, list(chosen)] = torch.inf
    every = relax(one.repeat(len(sets)), pools, [budget] * len(sets), money, marks)
    return every.take(torch.tensor([k for k in range(len(sets)) if _any(every.take(torch.tensor([k])))]))


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield all subsets, small ones first, lazily."""
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def _any(one: Region) -> bool:
    """Whether a region has a mixture."""
    bounds = np.stack([one.low[0].numpy(), one.high[0].numpy()], axis=1)
    a, b = one.rows[0].numpy(), one.limits[0].numpy()
    return bool(
        linprog(np.zeros(len(bounds)), A_ub=a, b_ub=b, A_eq=np.ones((1, len(bounds))), b_eq=[1.0], bounds=bounds).status
        == 0
    )


def paid(pools: Sequence[Pool], budget: Budget, weights: Mapping[str, float]) -> float:
    """Return what a mixture costs: every unique token seen once."""
    return sum(min(weights[p.name] * budget.tokens, p.tokens) * (p.cost_per_token or 0.0) for p in pools)


def keeps(pools: Sequence[Pool], budget: Budget, limits: Limits, one: Region, w: Tensor) -> bool:
    """Whether a mixture (p,) lies in the region of one budget and can be paid, up to rounding."""
    linear = one.excess(w[None])[0, : len(names(limits))]
    inside = bool(((w >= one.low[0] - LOOSE) & (w <= one.high[0] + LOOSE)).all() and (linear <= LOOSE).all())
    cost = paid(pools, budget, dict(zip([pool.name for pool in pools], w.tolist(), strict=True)))
    return inside and (limits.money is None or cost <= limits.money * (1 + LOOSE))


def money_row(pools: Sequence[Pool], budgets: Sequence[Budget], money: float, w: Tensor) -> tuple[Tensor, Tensor]:
    """(m, 1, p) rows and (m, 1) limits of what is paid, linear at ``w`` (m, p), in shares of the dearest pool."""
    cost = torch.from_numpy(_costs(pools))
    tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64)[:, None]
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64)
    all_of_it = w * tokens >= unique
    left = money - (all_of_it * cost * unique).sum(dim=1, keepdim=True)
    rows = torch.where(all_of_it, torch.zeros_like(w), cost.expand_as(w))
    unit = cost.max()
    return (rows / unit)[:, None], left / (unit * tokens)
