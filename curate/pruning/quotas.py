"""How many rows of each group to keep: caps that are filled evenly or by weight, and a quadratic programme, exactly.

Every function takes p groups of ``sizes`` (p,) rows and returns (p,) whole counts that sum to ``total``.
"""

from collections.abc import Sequence

import numpy as np

from curate.errors import SchemaError

STRATA = 50  # of the score (Zheng et al. 2023)


def even(sizes: np.ndarray, total: int) -> np.ndarray:
    """Give every group min(x, size), x such that they sum to ``total`` (water-filling; Vo et al. 2024, 2405.15613)."""
    return weighted(np.ones(len(sizes)), sizes, total)


def weighted(weights: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Give group j min(x * weight j, size j): what full groups cannot take goes to the others, by their weights.

    Groups of weight 0 get rows only when all others are full. Whole counts by largest remainder, ties in order.
    """
    _check(sizes, total)
    filled = np.where(weights > 0, sizes, 0)
    if filled.sum() < total:
        rest = even(np.where(weights > 0, 0, sizes), total - int(filled.sum()))
        return np.asarray(filled + rest)
    with np.errstate(divide="ignore"):
        full = np.where(weights > 0, sizes / np.where(weights > 0, weights, 1.0), np.inf)  # x at which a group is full
    order = np.argsort(full, kind="stable")
    taken = np.concatenate(([0], np.cumsum(sizes[order])))[:-1]
    left = np.cumsum(weights[order][::-1])[::-1]  # weights of groups not yet full
    with np.errstate(invalid="ignore", divide="ignore"):
        reached = taken + full[order] * left  # rows given when this group has just become full
    at = int(np.argmax(reached >= total)) if (reached >= total).any() else len(order) - 1
    x = (total - taken[at]) / left[at] if left[at] > 0 else 0.0
    return _whole(np.minimum(x * weights, sizes), sizes, total)


def quadratic(shares: np.ndarray, sizes: np.ndarray, total: int, *, least: int | np.ndarray = 1) -> np.ndarray:
    """Minimise |x|^2 / 2 - total shares'x with sum x = total and min(least, size) <= x <= size (Abbas et al. 2024).

    The solution is total * shares + a constant, cut at the bounds (arXiv 2401.04578, density-based pruning). The sum
    is a piecewise linear function of the constant; sorting its corners gives the constant exactly.
    """
    _check(sizes, total)
    low = np.minimum(least, sizes)
    if int(low.sum()) > total:
        raise SchemaError(
            f"{int(low.sum())} rows are needed for at least {np.max(least)} of each of {len(sizes)} groups, and "
            f"{total} are kept: keep more, or lower the least number"
        )
    wanted = shares * total
    corners = np.sort(np.concatenate([low - wanted, sizes - wanted]))
    sums = np.array([np.clip(wanted + c, low, sizes).sum() for c in corners])
    at = min(max(int(np.searchsorted(sums, total)), 1), len(corners) - 1)
    run, rise = corners[at] - corners[at - 1], sums[at] - sums[at - 1]
    constant = corners[at - 1] + (run * (total - sums[at - 1]) / rise if rise > 0 else 0.0)
    return _whole(np.clip(wanted + constant, low, sizes), sizes, total)


def softmax(values: np.ndarray, temperature: float) -> np.ndarray:
    """Return (p,) shares: the softmax of standardised values over ``temperature``; equal values give equal shares."""
    apart = values - values.mean()
    deviation = float(np.sqrt((apart**2).mean()))
    z = apart / deviation / temperature if deviation > 1e-12 * max(1.0, float(np.abs(values).max())) else 0.0 * apart
    grown = np.exp(z - z.max())
    return np.asarray(grown / grown.sum())


def strata(sizes: np.ndarray, total: int) -> np.ndarray:
    """Give strata, the smallest first, min(size, an even share of what is left) (Zheng et al. 2023, 2210.15809)."""
    _check(sizes, total)
    found, left = np.zeros(len(sizes), dtype=np.int64), total
    for done, j in enumerate(np.argsort(sizes, kind="stable").tolist()):
        found[j] = min(int(sizes[j]), left // (len(sizes) - done))
        left -= int(found[j])
    return found


def stratum(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return which of 50 equal parts of [low, high] each of (n,) scores lies in; the largest score is in the last."""
    if high == low:
        return np.zeros(len(score), dtype=np.int64)
    part = (score / 2 - low / 2) / (high / 2 - low / 2)  # halves: the range of two floats may be no float
    return np.clip((part * STRATA).astype(np.int64), 0, STRATA - 1)


def _check(sizes: np.ndarray, total: int) -> None:
    if not 0 <= total <= int(np.sum(sizes)):
        raise SchemaError(f"{total} rows cannot be kept of {int(np.sum(sizes))}: keep fewer, or trim less")


def _whole(x: np.ndarray, sizes: Sequence[int] | np.ndarray, total: int) -> np.ndarray:
    """Round (p,) numbers that sum to ``total`` to whole ones that do, each by less than 1 and to at most its size."""
    near = np.round(x)
    down = np.where(np.abs(x - near) < 1e-9 * np.maximum(1.0, np.abs(x)), near, np.floor(x)).astype(np.int64)
    down = np.minimum(down, sizes)
    order = np.argsort(np.round(down - x, 9), kind="stable")  # remainders that are equal but for rounding are
    for j in [j for j in order.tolist() if down[j] < sizes[j]][: total - int(down.sum())]:
        down[j] += 1
    return down
