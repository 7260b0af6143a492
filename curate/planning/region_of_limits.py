"""The region of mixtures that limits leave for every budget; or why nothing satisfies them, with the numbers."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from math import inf, isfinite

import torch
from torch import Tensor

from curate.errors import Infeasible, SchemaError
from curate.planning import feasible
from curate.planning.limits import Limits
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool
from curate.pool.rounding import up


def region(pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits) -> Region:
    """Return one region a budget; no mixture in one is an ``Infeasible`` with the numbers.

    A money row is the last and drawn at a mixture that can be paid; see ``feasible.relax``.
    """
    low, high = bounds(pools, budgets, limits)
    m, p = low.shape
    rows, most = _rows(pools, limits)
    a = torch.tensor(rows, dtype=torch.float64).reshape(1, -1, p).expand(m, -1, p)
    b = torch.tensor(most, dtype=torch.float64).expand(m, -1)
    whole = Region(low, high, a, b)
    if limits.money is None and not rows:
        return whole
    inside = torch.stack(
        [feasible.inside(pools, budget, limits, whole.take(torch.tensor([i]))) for i, budget in enumerate(budgets)]
    )
    if limits.money is None:
        return whole
    row, limit = feasible.money_row(pools, budgets, limits.money, inside)
    return Region(low, high, torch.cat([a, row], dim=1), torch.cat([b, limit], dim=1))


def _rows(pools: Sequence[Pool], limits: Limits) -> tuple[list[list[float]], list[float]]:
    """(q, p) rows and (q,) limits of the ordered pools and the groups: rows w <= limits."""
    names, rows, most = [pool.name for pool in pools], list[list[float]](), list[float]()
    check_shares("ordered", dict.fromkeys(limits.ordered, 0.0), names)
    for upper, lower in pairwise(limits.ordered):
        rows.append([float(name == lower) - float(name == upper) for name in names])
        most.append(0.0)
    for group in limits.groups:
        if not 0 <= group.low <= group.high <= 1:
            raise SchemaError(
                f"group {group.name}: shares {group.low:g} to {group.high:g} must lie in [0, 1], in order"
            )
        for pattern in group.pools:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise SchemaError(f"group {group.name}: no pool matches {pattern!r}; the pools are {', '.join(names)}")
        inside = [float(any(fnmatchcase(name, pattern) for pattern in group.pools)) for name in names]
        if group.high < 1:
            rows.append(inside)
            most.append(group.high)
        if group.low > 0:
            rows.append([-x for x in inside])
            most.append(-group.low)
    return rows, most


def bounds(pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits) -> tuple[Tensor, Tensor]:
    """Return (m, p) lowest and highest shares; no mixture between them is an ``Infeasible`` with the numbers."""
    names = [pool.name for pool in pools]
    check_shares("minimum", limits.min_weight, names)
    check_shares("maximum", limits.max_weight, names)
    check_shares("fixed", limits.fixed, names)
    max_epochs = limits.max_epochs
    if max_epochs is not None and not 0 < max_epochs < inf:
        raise SchemaError(f"--max-epochs {max_epochs:g} must be positive and finite: leave it out for no limit")
    for name in limits.fixed:
        if name in limits.min_weight or name in limits.max_weight:
            raise SchemaError(f"pool {name!r} has a fixed share and a minimum or maximum: give one of them")
    lowest, highest = {**limits.min_weight, **limits.fixed}, {**limits.max_weight, **limits.fixed}
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64)
    low = torch.tensor([lowest.get(n, 0.0) for n in names], dtype=torch.float64).repeat(len(budgets), 1)
    high = torch.tensor([highest.get(n, 1.0) for n in names], dtype=torch.float64).repeat(len(budgets), 1)
    caps = high[0]
    if max_epochs is not None:
        tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64)
        high = torch.minimum(high, max_epochs * unique / tokens[:, None])
    largest_first = sorted(enumerate(budgets), key=lambda item: -item[1].tokens)  # what helps it helps the others
    for i, budget in largest_first:
        for name, least, most in zip(names, low[i].tolist(), high[i].tolist(), strict=True):
            if least > most:
                raise Infeasible(
                    f"pool {name!r} must have at least {least:.4g} of {budget.tokens:.3g} tokens but may have at most "
                    f"{most:.4g}: lower its minimum, or raise its maximum or --max-epochs"
                )
        if float(low[i].sum()) > 1 + 1e-12:
            raise Infeasible(f"the minimum shares sum to {float(low[i].sum()):.4g}, over 1: lower them")
        if float(high[i].sum()) < 1 - 1e-12:
            raise Infeasible(_too_little(unique, caps, budget, max_epochs, float(high[i].sum())))
    return low, high


def check_shares(what: str, given: Mapping[str, float], names: Sequence[str]) -> None:
    """Raise where shares ``given`` by pool name are of unknown pools or outside [0, 1]."""
    if unknown := sorted(set(given) - set(names)):
        raise SchemaError(f"no pool {unknown[0]!r}: the pools are {', '.join(names)}")
    for name, share in given.items():
        if not 0 <= share <= 1:
            raise SchemaError(f"the {what} share of pool {name!r} is {share:g}: it must lie in [0, 1]")


def _too_little(unique: Tensor, caps: Tensor, budget: Budget, max_epochs: float | None, share: float) -> str:
    needed = _least_epochs(unique, caps, budget.tokens)
    if max_epochs is None or not isfinite(needed):
        return f"the maximum shares sum to {float(caps.sum()):.4g}, under 1: raise them"
    advice = f"Raise --max-epochs to {up(needed, 3):.3g}"
    total = float(unique.sum())
    if total * max_epochs >= budget.tokens:
        return (
            f"the maximum shares and {max_epochs:g} epochs leave {share:.4g} of {budget.tokens:.3g} tokens, under 1. "
            f"{advice}, or raise the maximum shares"
        )
    return (
        f"{total:.3g} unique tokens at {max_epochs:g} epochs give {total * max_epochs:.3g}; the budget asks "
        f"{budget.tokens:.3g}. {advice} or lower the budget"
    )


def _least_epochs(unique: Tensor, caps: Tensor, tokens: float) -> float:
    """Return the smallest e with sum_i min(caps_i, e unique_i / tokens) = 1; inf where no e is enough."""
    reached = caps * tokens / unique  # passes at which a pool is at its cap
    for passes in reached.sort().values.tolist():
        if float(torch.minimum(caps, passes * unique / tokens).sum()) >= 1 - 1e-12:
            free = reached >= passes
            return (1 - float(caps[~free].sum())) * tokens / float(unique[free].sum())
    return inf
