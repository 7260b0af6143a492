"""Mixtures that follow from the pool sizes alone. Every plan is compared with them.

They are size-proportional, uniform and temperature sampling, and UniMax. A mixture can also be written as loss weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, isfinite

import numpy as np

from curate.errors import SchemaError, first_few
from curate.pool.pool import Pool

MT5_TAU = 1 / 0.3  # Xue et al. 2021 (mT5): shares proportional to size^0.3
UNIMAX_EPOCHS = 4.0  # up to 4 passes a repeat is almost as good as new data (Muennighoff et al. 2023)
WORTH_SAYING = 1.01  # a smaller variance factor makes no difference that anyone would notice
TOLERANCE = 1e-3  # sums this close to 1 are rescaled to 1: published tables print three digits


def temperature(pools: Sequence[Pool], tau: float) -> np.ndarray:
    """Return (p,) shares proportional to tokens^(1 / tau) (arXiv 2410.04579).

    tau = 1 is size-proportional sampling; tau = infinity is uniform.
    """
    if not tau > 0:
        raise SchemaError(f"temperature {tau:g} must be positive: 1 is size-proportional, larger is flatter")
    logs = np.log([pool.tokens for pool in pools])
    # As tau falls towards 0 the exponents overflow to -infinity, and the largest pool gets everything.
    with np.errstate(over="ignore"):
        shares = np.exp((logs - logs.max()) / tau)
    return np.asarray(shares / shares.sum())


def allocate(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> np.ndarray:
    """Return (p,) tokens that UniMax draws from each pool (Chung et al. 2023, arXiv 2304.09151).

    The tokens are spread as evenly as ``cap`` epochs of every pool allow. Pools are served smallest first; each gets an
    equal part of the remaining tokens, or its cap if that is less. The sum is ``tokens``, or ``cap`` times all unique
    tokens where that is less.
    """
    if not (0 < tokens < np.inf and 0 < cap < np.inf):
        raise SchemaError(f"UniMax of {tokens:g} tokens at {cap:g} epochs: both must be positive and finite")
    sizes = np.array([pool.tokens for pool in pools], dtype=np.float64)
    drawn, remaining = np.zeros(len(sizes)), float(tokens)
    # A stable order: pools of equal size are served as they are listed, on every machine.
    for served, i in enumerate(np.argsort(sizes, kind="stable")):
        drawn[i] = min(remaining / (len(sizes) - served), cap * sizes[i])
        remaining -= drawn[i]
    return drawn


def unimax(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> np.ndarray:
    """Return (p,) shares of UniMax for ``tokens`` training tokens (Chung et al. 2023, arXiv 2304.09151).

    They are uniform, except that no pool exceeds ``cap`` epochs. If all pools are at their caps, the shares are
    size-proportional and the passes exceed the cap.
    """
    drawn = allocate(pools, tokens, cap)
    return np.asarray(drawn / drawn.sum())


def fixed(pools: Sequence[Pool]) -> dict[str, np.ndarray]:
    """Return the baseline mixtures that do not depend on the budget: (p,) shares by name."""
    return {
        "proportional": temperature(pools, 1.0),
        "uniform": temperature(pools, np.inf),
        "temperature": temperature(pools, MT5_TAU),
    }


def baselines(pools: Sequence[Pool], tokens: float) -> dict[str, np.ndarray]:
    """Return all baseline mixtures for a budget of ``tokens``: (p,) shares by name."""
    return {**fixed(pools), "unimax": unimax(pools, tokens)}


def named(pools: Sequence[Pool], shares: np.ndarray) -> dict[str, float]:
    """Return (p,) shares as a dictionary by pool name."""
    return dict(zip((pool.name for pool in pools), shares.tolist(), strict=True))


def mixture(pools: Sequence[Pool], shares: Mapping[str, float], *, where: str = "the mixture") -> dict[str, float]:
    """Return shares of all pools that sum to 1. A pool that ``shares`` does not name gets 0.

    ``where`` names the mixture in error messages.

    Raises:
        SchemaError: an unknown pool, a negative share, or a sum that is further than 1e-3 from 1.
    """
    added = total(pools, shares, where)
    if abs(added - 1) > TOLERANCE:
        raise SchemaError(f"{where} has shares that sum to {added:.4g}: they must sum to 1 (+-{TOLERANCE:g})")
    return {pool.name: float(shares.get(pool.name, 0.0)) / added for pool in pools}


def total(pools: Sequence[Pool], shares: Mapping[str, float], where: str) -> float:
    """Return the sum of the shares, after a check that each is a share of one of ``pools``.

    Raises:
        SchemaError: an unknown pool, or a share that is negative or not finite; ``where`` begins the message.
    """
    names = [pool.name for pool in pools]
    if unknown := [name for name in shares if name not in names]:
        raise SchemaError(
            f"{where} has a share of pool {unknown[0]!r}: the pools are {first_few(names, near=unknown[0])}"
        )
    return share_sum(shares, where)


def share_sum(shares: Mapping[str, float], where: str) -> float:
    """Return the sum of shares by pool, after a check that each is finite and 0 or more.

    Raises:
        SchemaError: a share that is negative or not finite; ``where`` begins the message.
    """
    for name, share in shares.items():
        if not (isfinite(share) and share >= 0):
            raise SchemaError(f"{where} has share {share:g} of pool {name!r}: shares must be finite and 0 or more")
    # fsum is exact, so the sum does not depend on the order of the pools. It refuses sums above the largest float.
    try:
        return fsum(shares.values())
    except OverflowError:
        return inf


@dataclass(frozen=True)
class Scalarisation:
    """A mixture as loss weights over size-proportional sampling (Li et al. 2024, arXiv 2410.04579, theorems 2 and 3).

    ``weights`` (p,) multiply the losses of the pools; the expected gradient is that of sampling the mixture.
    ``variance_factor`` is the mean squared weight, at least 1. The second moment of a single example's gradient grows
    by this factor if the gradients of all pools are alike.
    """

    weights: np.ndarray
    variance_factor: float


def scalarisation(pools: Sequence[Pool], shares: np.ndarray) -> Scalarisation:
    """Return the loss weights p_i / p_i(tau=1) of (p,) ``shares``, and sum_i p_i^2 / p_i(tau=1)."""
    natural = temperature(pools, 1.0)
    weights = shares / natural
    return Scalarisation(weights, float((shares * weights).sum()))


def advice(variance_factor: float) -> str | None:
    """Return advice to sample the shares instead of weighting losses; None if it makes no difference."""
    if variance_factor < WORTH_SAYING:
        return None
    return (
        "sample these shares; loss weights over size-proportional sampling would multiply the second moment of the "
        f"gradient by {variance_factor:.4g}, as if batches were about that much smaller (Li et al. 2024)"
    )


def cap_notes(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> tuple[str, ...]:
    """Return notes on the pools that UniMax holds at ``cap`` epochs, and on tokens that all pools together lack."""
    drawn = allocate(pools, tokens, cap)
    held = [pool.name for pool, part in zip(pools, drawn, strict=True) if part >= cap * pool.tokens]
    if len(held) < len(pools):
        return (f"at the cap of {cap:g} epochs: {first_few(held)}",) if held else ()
    available = float(drawn.sum())
    # The sum of the caps may miss the tokens by a rounding error.
    if available >= tokens * (1 - 1e-12):
        return (f"all pools are at the cap of {cap:g} epochs",)
    needed = cap * tokens / available
    # The advised cap is a little larger, so that rounding to four digits cannot make it too small.
    return (
        f"{cap:g} epochs of all pools give {available:.4g} tokens; the schedule needs {tokens:.4g}. So the shares are "
        f"size-proportional and every pool is seen {needed:.4g} times. Raise --cap to {needed * 1.0005:.4g} or lower "
        "--tokens",
    )
