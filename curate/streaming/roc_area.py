"""Measure how well values tell positive rows from negative ones: the area under the ROC curve (AUC).

In: the values of positive and of negative rows. Out: the AUC, and its interval. 0.5 is chance, and 1 is always right.
"""

import numpy as np
from scipy.special import ndtri

# Distance to 0 and 1 from which the ends of an interval are looked for: far below the width of one of 10^5 rows, 2e-5.
NEAR = 1e-9


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the share of pairs in which the positive value is higher; a tie counts half.

    ``positive`` (m,) and ``negative`` (n,) are values of which high ones speak for a positive row.
    """
    return float(_twice_below(positive, negative).sum() / (2 * len(positive) * len(negative)))


def interval(auc: float, positive: int, negative: int, level: float) -> tuple[float, float]:
    """Return the interval of an AUC that holds that of all rows with the probability ``level``.

    It is the values whose AUC of so many ``positive`` and ``negative`` rows would lie this near with this probability.
    Unlike an interval from the variance of the values, it has a width at an AUC of 1.

    Source: Newcombe 2006, Statistics in Medicine 25:559, method 5.
    """
    from scipy.optimize import brentq

    pairs, extra = positive * negative, (positive + negative) / 2 - 1
    squared = float(ndtri((1 + level) / 2)) ** 2

    def excess(value: float) -> float:
        variance = value * (1 - value) * (1 + extra * ((1 - value) / (2 - value) + value / (1 + value))) / pairs
        return (auc - value) ** 2 - squared * variance

    # At 0 and at 1 the excess is 0 too if the AUC is there, and this is not the end of the interval that is looked for.
    low = brentq(excess, 0, min(auc, 1 - NEAR)) if auc > 0 else 0.0
    high = brentq(excess, max(auc, NEAR), 1) if auc < 1 else 1.0
    return float(low), float(high)


def _twice_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return twice the number of the others that are below each value, where equal ones count half."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
