"""Draw examples in whole passes, as training over several epochs sees them."""

import numpy as np


def in_passes(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """Return (count,) positions from 0 to ``size`` - 1, in repeated passes. Each pass has a new random order."""
    passes = [rng.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(passes)[:count] if passes else np.zeros(0, dtype=np.int64)
