"""Sampling weights that need no runs: the baselines that every plan is compared with."""

from collections.abc import Sequence

import numpy as np

from curate.errors import SchemaError
from curate.pools import Pool

MT5_TAU = 1 / 0.3  # Xue et al. 2021 (mT5): shares proportional to size^0.3


def temperature(pools: Sequence[Pool], tau: float) -> np.ndarray:
    """(p,) shares proportional to tokens^(1 / tau); 1 is size-proportional, infinity uniform (arXiv 2410.04579)."""
    if not tau > 0:
        raise SchemaError(f"temperature {tau:g} must be positive: 1 is size-proportional, larger is flatter")
    logs = np.log([pool.tokens for pool in pools]) / tau
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum())


def baselines(pools: Sequence[Pool]) -> dict[str, np.ndarray]:
    """Return the three standard mixtures, (p,) shares each."""
    return {
        "proportional": temperature(pools, 1.0),
        "uniform": temperature(pools, np.inf),
        "temperature": temperature(pools, MT5_TAU),
    }
