"""Turn scores into whole numbers that sort as the scores do, and back."""

import numpy as np

SIGN_BIT = np.uint64(1 << 63)


def codes(scores: np.ndarray) -> np.ndarray:
    """Return whole numbers (n,) uint64 that sort as the scores (n,) do."""
    bits = (scores.astype(np.float64) + 0.0).view(np.uint64)  # adding 0.0 makes -0.0 equal to 0.0
    # The bits of positive floats sort upwards already; those of negative ones sort downwards, so they are inverted.
    return np.asarray(np.where(bits & SIGN_BIT, ~bits, bits | SIGN_BIT))


def scores_of(codes: np.ndarray) -> np.ndarray:
    """Return the scores (n,) whose codes these are."""
    return np.where(codes & SIGN_BIT, codes & ~SIGN_BIT, ~codes).astype(np.uint64).view(np.float64)
