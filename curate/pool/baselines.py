"""Sampling weights that need no runs: the baselines that every plan is compared with, and as loss weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite

import numpy as np

from curate.errors import SchemaError
from curate.pool.pool import Pool

MT5_TAU = 1 / 0.3  # Xue et al. 2021 (mT5): shares proportional to size^0.3
UNIMAX_EPOCHS = 4.0  # passes that cost next to nothing (Muennighoff et al. 2023)
WORTH_SAYING = 1.01  # of a variance factor
TOLERANCE = 1e-3  # sums this close to 1 are rescaled to it, as in run tables


def temperature(pools: Sequence[Pool], tau: float) -> np.ndarray:
    """(p,) shares proportional to tokens^(1 / tau); 1 is size-proportional, infinity uniform (arXiv 2410.04579)."""
    if not tau > 0:
        raise SchemaError(f"temperature {tau:g} must be positive: 1 is size-proportional, larger is flatter")
    logs = np.log([pool.tokens for pool in pools])
    with np.errstate(over="ignore"):  # towards tau = 0 all of the mixture is the largest pool
        shares = np.exp((logs - logs.max()) / tau)
    return np.asarray(shares / shares.sum())


def allocate(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> np.ndarray:
    """(p,) tokens that UniMax gives out of ``tokens``: as even as ``cap`` epochs of every pool allow (2304.09151).

    Pools are served smallest first, each with an equal part of what is left or its cap. The sum is ``tokens``, or
    ``cap`` times all unique tokens where that is less: then every pool is at its cap.
    """
    if not (0 < tokens < np.inf and 0 < cap < np.inf):
        raise SchemaError(f"UniMax of {tokens:g} tokens at {cap:g} epochs: both must be positive and finite")
    sizes = np.array([pool.tokens for pool in pools], dtype=np.float64)
    given, left = np.zeros(len(sizes)), float(tokens)
    for served, i in enumerate(np.argsort(sizes, kind="stable")):
        given[i] = min(left / (len(sizes) - served), cap * sizes[i])
        left -= given[i]
    return given


def unimax(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> np.ndarray:
    """(p,) shares of UniMax: uniform, but no pool beyond ``cap`` epochs of ``tokens`` (Chung et al. 2023, 2304.09151).

    Where all are at their caps the shares are size-proportional, and passes exceed the cap.
    """
    given = allocate(pools, tokens, cap)
    return np.asarray(given / given.sum())


def fixed(pools: Sequence[Pool]) -> dict[str, np.ndarray]:
    """Return the standard mixtures that do not depend on the budget, (p,) shares each."""
    return {
        "proportional": temperature(pools, 1.0),
        "uniform": temperature(pools, np.inf),
        "temperature": temperature(pools, MT5_TAU),
    }


def baselines(pools: Sequence[Pool], tokens: float) -> dict[str, np.ndarray]:
    """Return the standard mixtures for a budget of ``tokens``, (p,) shares each."""
    return {**fixed(pools), "unimax": unimax(pools, tokens)}


def named(pools: Sequence[Pool], shares: np.ndarray) -> dict[str, float]:
    """Return (p,) shares by pool name."""
    return dict(zip((pool.name for pool in pools), shares.tolist(), strict=True))


def mixture(pools: Sequence[Pool], shares: Mapping[str, float], *, where: str = "the mixture") -> dict[str, float]:
    """Return shares of all pools that sum to 1; a pool left out has none. ``where`` names them in errors.

    Errors: unknown pools, negative shares, a sum further than 1e-3 from 1.
    """
    added = total(pools, shares, where)
    if abs(added - 1) > TOLERANCE:
        raise SchemaError(f"{where} has shares that sum to {added:.4g}: they must sum to 1 (+-{TOLERANCE:g})")
    return {pool.name: float(shares.get(pool.name, 0.0)) / added for pool in pools}


def total(pools: Sequence[Pool], shares: Mapping[str, float], where: str) -> float:
    """Return the sum of shares by pool; unknown pools and negative shares are errors that say ``where``."""
    names = [pool.name for pool in pools]
    if unknown := [name for name in shares if name not in names]:
        raise SchemaError(f"{where} has a share of pool {unknown[0]!r}: the pools are {', '.join(names)}")
    for name, share in shares.items():
        if not (isfinite(share) and share >= 0):
            raise SchemaError(f"{where} has share {share:g} of pool {name!r}: shares must be finite and 0 or more")
    return fsum(shares.values())


@dataclass(frozen=True)
class Scalarisation:
    """A mixture as loss weights: ``weights`` (p,) multiply the losses of a size-proportional stream.

    In expectation the gradient is that of sampling the mixture. ``variance_factor``: mean of the squared weight, at
    least 1, by which the second moment of a single example's gradient grows where pools are alike (Li et al. 2024,
    arXiv 2410.04579, theorems 2 and 3).
    """

    weights: np.ndarray
    variance_factor: float


def scalarisation(pools: Sequence[Pool], shares: np.ndarray) -> Scalarisation:
    """Return the loss weights w_i = p_i / p_i(tau=1) of (p,) ``shares``, and sum_i p_i^2 / p_i(tau=1)."""
    natural = temperature(pools, 1.0)
    weights = shares / natural
    return Scalarisation(weights, float((shares * weights).sum()))


def advice(variance_factor: float) -> str | None:
    """Return why to sample and not to weight losses, with the number; None where it makes no difference."""
    if variance_factor < WORTH_SAYING:
        return None
    return (
        "sample these shares; loss weights over size-proportional sampling would multiply the second moment of the "
        f"gradient by {variance_factor:.4g}, about as if batches were that much smaller (Li et al. 2024)"
    )


def cap_notes(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> tuple[str, ...]:
    """Return which pools UniMax holds at ``cap`` epochs, or by how much all pools together fall short of ``tokens``."""
    given = allocate(pools, tokens, cap)
    held = [pool.name for pool, part in zip(pools, given, strict=True) if part >= cap * pool.tokens]
    if len(held) < len(pools):
        return (f"at the cap of {cap:g} epochs: {', '.join(held)}",) if held else ()
    reached = float(given.sum())
    if reached >= tokens * (1 - 1e-12):
        return (f"all pools are at the cap of {cap:g} epochs",)
    needed = cap * tokens / reached
    return (
        f"{cap:g} epochs of all pools give {reached:.4g} tokens; {tokens:.4g} are asked: shares are size-proportional "
        f"and every pool is seen {needed:.4g} times. Raise --cap to {needed * 1.0005:.4g} or lower --tokens",
    )
