"""Measure how well values tell positive rows from negative ones: the area under the ROC curve (AUC).

In: the values of positive and of negative rows. Out: the AUC, and its variance. 0.5 is chance, and 1 is always right.
"""

import numpy as np


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the share of pairs in which the positive value is higher; a tie counts half.

    ``positive`` (m,) and ``negative`` (n,) are values of which high ones speak for a positive row.
    """
    return float(_twice_below(positive, negative).sum() / (2 * len(positive) * len(negative)))


def area_and_variance(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """Return the AUC, and its variance over samples of rows (DeLong et al. 1988, doi 10.2307/2531595)."""
    m, n = len(positive), len(negative)
    # Of each positive row the share of negative rows below it, and of each negative row that of positive rows above it.
    above, below = _twice_below(positive, negative) / (2 * n), 1 - _twice_below(negative, positive) / (2 * m)
    return area(positive, negative), float(above.var(ddof=1) / m + below.var(ddof=1) / n)


def _twice_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return twice the number of the others that are below each value, where equal ones count half."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
