"""Sampling weights that need no runs: the baselines that every plan is compared with."""

from collections.abc import Sequence

import numpy as np

from curate.errors import SchemaError
from curate.pools import Pool

MT5_TAU = 1 / 0.3  # Xue et al. 2021 (mT5): shares proportional to size^0.3
UNIMAX_EPOCHS = 4.0  # passes that cost next to nothing (Muennighoff et al. 2023)


def temperature(pools: Sequence[Pool], tau: float) -> np.ndarray:
    """(p,) shares proportional to tokens^(1 / tau); 1 is size-proportional, infinity uniform (arXiv 2410.04579)."""
    if not tau > 0:
        raise SchemaError(f"temperature {tau:g} must be positive: 1 is size-proportional, larger is flatter")
    logs = np.log([pool.tokens for pool in pools]) / tau
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum())


def unimax(pools: Sequence[Pool], tokens: float, cap: float = UNIMAX_EPOCHS) -> np.ndarray:
    """(p,) shares of UniMax: uniform, but no pool beyond ``cap`` epochs of ``tokens`` (Chung et al. 2023, 2304.09151).

    Pools are served smallest first, each with an equal part of what is left or its cap. Where all are at their caps the
    shares are size-proportional.
    """
    if not (tokens > 0 and cap > 0):
        raise SchemaError(f"UniMax of {tokens:g} tokens at {cap:g} epochs: both must be positive")
    sizes = np.array([pool.tokens for pool in pools], dtype=np.float64)
    given, left = np.zeros(len(sizes)), float(tokens)
    for served, i in enumerate(np.argsort(sizes, kind="stable")):
        given[i] = min(left / (len(sizes) - served), cap * sizes[i])
        left -= given[i]
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
