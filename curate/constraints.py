"""What a mixture may be: shares between bounds, no pool seen more often than allowed; or why nothing satisfies that."""

from collections.abc import Mapping, Sequence
from math import floor, inf, isfinite, log10

import torch
from torch import Tensor

from curate.errors import Infeasible, SchemaError
from curate.pools import Budget, Pool


def bounds(
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    *,
    max_epochs: float | None,
    min_weight: Mapping[str, float] | None,
    max_weight: Mapping[str, float] | None,
) -> tuple[Tensor, Tensor]:
    """Return (m, p) lowest and highest shares; no mixture between them is an ``Infeasible`` with the numbers."""
    names = [pool.name for pool in pools]
    _check_shares("minimum", min_weight or {}, names)
    _check_shares("maximum", max_weight or {}, names)
    if max_epochs is not None and not 0 < max_epochs < inf:
        raise SchemaError(f"--max-epochs {max_epochs:g} must be positive and finite: leave it out for no limit")
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64)
    low = torch.tensor([(min_weight or {}).get(n, 0.0) for n in names], dtype=torch.float64).repeat(len(budgets), 1)
    high = torch.tensor([(max_weight or {}).get(n, 1.0) for n in names], dtype=torch.float64).repeat(len(budgets), 1)
    caps = high[0]
    if max_epochs is not None:
        tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64)
        high = torch.minimum(high, max_epochs * unique / tokens[:, None])
    largest_first = sorted(enumerate(budgets), key=lambda item: -item[1].tokens)  # what helps it helps the others
    for i, budget in largest_first:
        for name, lowest, highest in zip(names, low[i].tolist(), high[i].tolist(), strict=True):
            if lowest > highest:
                raise Infeasible(
                    f"pool {name!r} must have at least {lowest:.4g} of {budget.tokens:.3g} tokens but may have at most "
                    f"{highest:.4g}: lower its minimum, or raise its maximum or --max-epochs"
                )
        if float(low[i].sum()) > 1 + 1e-12:
            raise Infeasible(f"the minimum shares sum to {float(low[i].sum()):.4g}, over 1: lower them")
        if float(high[i].sum()) < 1 - 1e-12:
            raise Infeasible(_too_little(unique, caps, budget, max_epochs, float(high[i].sum())))
    return low, high


def _check_shares(what: str, given: Mapping[str, float], names: Sequence[str]) -> None:
    if unknown := sorted(set(given) - set(names)):
        raise SchemaError(f"no pool {unknown[0]!r}: the pools are {', '.join(names)}")
    for name, share in given.items():
        if not 0 <= share <= 1:
            raise SchemaError(f"the {what} share of pool {name!r} is {share:g}: it must lie in [0, 1]")


def _too_little(unique: Tensor, caps: Tensor, budget: Budget, max_epochs: float | None, share: float) -> str:
    needed = _least_epochs(unique, caps, budget.tokens)
    if max_epochs is None or not isfinite(needed):
        return f"the maximum shares sum to {float(caps.sum()):.4g}, under 1: raise them"
    advice = f"Raise --max-epochs to {_up(needed):.3g}"
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


def _up(value: float) -> float:
    """Round up to three significant digits."""
    unit = 10.0 ** (floor(log10(value)) - 2)
    rounded = float(f"{value:.3g}")
    return rounded if rounded >= value else rounded + unit
