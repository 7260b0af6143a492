"""Draw examples in whole passes, as training over several epochs sees them."""

import numpy as np


def in_passes(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """Return (count,) positions below ``size``: pass after pass over all of them, each in a new random order."""
    passes = [rng.permutation(size) for _ in range(-(-count // size))]
    return np.concatenate(passes)[:count] if passes else np.zeros(0, dtype=np.int64)
