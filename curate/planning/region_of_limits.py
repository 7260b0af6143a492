"""Turn the user's limits into the region of mixtures that keep them, for every budget.

In: pools, budgets and `Limits`. Out: `Region`, or an `Infeasible` error that says which numbers contradict each other.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from math import inf, isfinite

import torch
from torch import Tensor

from curate.errors import Infeasible, SchemaError, first_few
from curate.planning import feasible
from curate.planning.limits import Group, Limits
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool
from curate.pool.rounding import up

ROUNDING = 1e-12  # the rounding error that a sum of shares may have


def region(pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits) -> Region:
    """Return one region of allowed mixtures a budget.

    With a limit on money, the last row of every region is that limit, made linear at a mixture that can be paid; see
    `feasible.relax`.

    Raises:
        SchemaError: for limits that name unknown pools or have impossible values.
        Infeasible: if no mixture keeps the limits, with the numbers that would have to change.
    """
    low, high = bounds(pools, budgets, limits)
    m, p = low.shape
    coefficients, right_sides = _linear_limits(pools, limits)
    a = torch.tensor(coefficients, dtype=torch.float64).reshape(1, -1, p).expand(m, -1, p)
    b = torch.tensor(right_sides, dtype=torch.float64).expand(m, -1)
    without_money = Region(low, high, a, b)
    if limits.money is None and not coefficients:
        return without_money
    # Bounds alone were checked above. Linear limits and money may contradict them, which only a solver can tell.
    feasible_mixtures = torch.stack(
        [
            feasible.feasible_mixture(pools, budget, limits, without_money.take(torch.tensor([i])))
            for i, budget in enumerate(budgets)
        ]
    )
    if limits.money is None:
        return without_money
    row, limit = feasible.money_row(pools, budgets, limits.money, feasible_mixtures)
    return Region(low, high, torch.cat([a, row], dim=1), torch.cat([b, limit], dim=1))


def _linear_limits(pools: Sequence[Pool], limits: Limits) -> tuple[list[list[float]], list[float]]:
    """Return the limits of ordered pools and groups: coefficients (q, p) @ w <= right sides (q,)."""
    names, coefficients, right_sides = [pool.name for pool in pools], list[list[float]](), list[float]()
    check_shares("ordered", dict.fromkeys(limits.ordered, 0.0), names)
    for upper, lower in pairwise(limits.ordered):
        coefficients.append([float(name == lower) - float(name == upper) for name in names])
        right_sides.append(0.0)
    for group in limits.groups:
        _check_group(group, names)
        members = [
            float(any(name == pattern or fnmatchcase(name, pattern) for pattern in group.pools)) for name in names
        ]
        # A group that may have everything, or nothing, is not limited on that side.
        if group.high < 1:
            coefficients.append(members)
            right_sides.append(group.high)
        if group.low > 0:
            coefficients.append([-x for x in members])
            right_sides.append(-group.low)
    return coefficients, right_sides


def _check_group(group: Group, names: Sequence[str]) -> None:
    if not 0 <= group.low <= group.high <= 1:
        raise SchemaError(
            f"group {group.name}: the shares {group.low:g} to {group.high:g} must lie in [0, 1], the smaller one first"
        )
    for pattern in group.pools:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
            raise SchemaError(
                f"group {group.name}: no pool matches {pattern!r}; the pools are {first_few(names, near=pattern)}"
            )


def bounds(pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest share of each pool at each budget, both (m, p).

    Raises:
        SchemaError: for shares of unknown pools or outside [0, 1].
        Infeasible: if no mixture lies between the bounds, with the numbers that would have to change.
    """
    names = [pool.name for pool in pools]
    _check_bounds(names, limits)
    lowest, highest = {**limits.min_weight, **limits.fixed}, {**limits.max_weight, **limits.fixed}
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64)
    low = torch.tensor([lowest.get(n, 0.0) for n in names], dtype=torch.float64).repeat(len(budgets), 1)
    high = torch.tensor([highest.get(n, 1.0) for n in names], dtype=torch.float64).repeat(len(budgets), 1)
    max_weight = high[0]
    if limits.max_epochs is not None:
        tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64)
        high = torch.minimum(high, limits.max_epochs * unique / tokens[:, None])
    # The largest budget comes first: a change of the limits that helps it helps the smaller ones too.
    for i, budget in sorted(enumerate(budgets), key=lambda item: -item[1].tokens):
        for name, smallest, largest in zip(names, low[i].tolist(), high[i].tolist(), strict=True):
            if smallest > largest:
                raise Infeasible(
                    f"pool {name!r} must have at least {smallest:.4g} of {budget.tokens:.3g} tokens but may have at "
                    f"most {largest:.4g}: lower its minimum, or raise its maximum or --max-epochs"
                )
        if float(low[i].sum()) > 1 + ROUNDING:
            raise Infeasible(f"the minimum shares sum to {float(low[i].sum()):.4g}, over 1: lower them")
        if float(high[i].sum()) < 1 - ROUNDING:
            raise Infeasible(_too_little(unique, max_weight, budget, limits.max_epochs, float(high[i].sum())))
    return low, high


def _check_bounds(names: Sequence[str], limits: Limits) -> None:
    check_shares("minimum", limits.min_weight, names)
    check_shares("maximum", limits.max_weight, names)
    check_shares("fixed", limits.fixed, names)
    if limits.max_epochs is not None and not 0 < limits.max_epochs < inf:
        raise SchemaError(f"--max-epochs {limits.max_epochs:g} must be positive and finite: leave it out for no limit")
    for name in limits.fixed:
        if name in limits.min_weight or name in limits.max_weight:
            raise SchemaError(f"pool {name!r} has a fixed share and a minimum or maximum: give one of them")


def check_shares(kind: str, shares: Mapping[str, float], names: Sequence[str]) -> None:
    """Stop if shares by pool name are of unknown pools or outside [0, 1]. ``kind`` names the shares in the message.

    Raises:
        SchemaError: with the name or the number that is wrong.
    """
    if unknown := sorted(set(shares) - set(names)):
        raise SchemaError(f"no pool {unknown[0]!r}: the pools are {first_few(names, near=unknown[0])}")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise SchemaError(f"the {kind} share of pool {name!r} is {share:g}: it must lie in [0, 1]")


def _too_little(
    unique: Tensor, max_weight: Tensor, budget: Budget, max_epochs: float | None, largest_sum: float
) -> str:
    """Return the message for a budget that pools at their largest shares, which sum to ``largest_sum``, do not fill."""
    needed = _smallest_epochs(unique, max_weight, budget.tokens)
    if max_epochs is None or not isfinite(needed):
        return f"the maximum shares sum to {float(max_weight.sum()):.4g}, under 1: raise them"
    advice = f"Raise --max-epochs to {up(needed, 3):.3g}"
    total = float(unique.sum())
    if total * max_epochs >= budget.tokens:
        return (
            f"the maximum shares and {max_epochs:g} epochs leave {largest_sum:.4g} of {budget.tokens:.3g} tokens, "
            f"under 1. {advice}, or raise the maximum shares"
        )
    return (
        f"{total:.3g} unique tokens at {max_epochs:g} epochs give {total * max_epochs:.3g}; the budget asks "
        f"{budget.tokens:.3g}. {advice} or lower the budget"
    )


def _smallest_epochs(unique: Tensor, max_weight: Tensor, tokens: float) -> float:
    """Return the smallest e with sum_i min(max_weight_i, e unique_i / tokens) = 1; inf where no e is enough."""
    # The sum is piecewise linear in e, with a corner where a pool reaches its maximum. The answer lies before the first
    # corner at which the sum reaches 1.
    passes_at_maximum = max_weight * tokens / unique
    for passes in passes_at_maximum.sort().values.tolist():
        if float(torch.minimum(max_weight, passes * unique / tokens).sum()) >= 1 - ROUNDING:
            free = passes_at_maximum >= passes
            return (1 - float(max_weight[~free].sum())) * tokens / float(unique[free].sum())
    return inf
