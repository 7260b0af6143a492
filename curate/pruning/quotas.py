"""Decide how many rows of each group to keep.

In: p groups of ``sizes`` (p,) rows, and a total. Out: (p,) whole counts, none above its size. They sum to the total,
except those of `by_recall`, which may fall a few rows short.
"""

import numpy as np

from curate.errors import SchemaError
from curate.pool.rounding import apportion

STRATA = 50  # equal parts of the range of a score, as in Zheng et al. 2023 (arXiv 2210.15809)
EQUAL_DIGITS = 9  # decimal places to which two remainders must agree to count as equal: they differ by rounding only
RELATIVE_ROUNDING = 1e-9  # of a count: what may be the rounding error of a whole number


def even(sizes: np.ndarray, total: int) -> np.ndarray:
    """Give every group min(x, size), with x such that the counts sum to ``total``.

    This is water-filling, as in Vo et al. 2024 (arXiv 2405.15613).
    """
    return weighted(np.ones(len(sizes)), sizes, total)


def weighted(weights: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Give group j min(x * weight j, size j), with x such that the counts sum to ``total``.

    What full groups cannot take goes to the others, by their weights. Groups of weight 0 get rows only when all others
    are full. Counts are made whole by largest remainders; of equal remainders the first group is served first.

    Raises:
        SchemaError: if the groups do not have ``total`` rows.
    """
    _check(sizes, total)
    filled = np.where(weights > 0, sizes, 0)
    if filled.sum() < total:
        unweighted = even(np.where(weights > 0, 0, sizes), total - int(filled.sum()))
        return np.asarray(filled + unweighted)
    with np.errstate(divide="ignore"):  # the level x at which each group is full
        full_level = np.where(weights > 0, sizes / np.where(weights > 0, weights, 1.0), np.inf)
    order = np.argsort(full_level, kind="stable")
    rows_of_full = np.concatenate(([0], np.cumsum(sizes[order])))[:-1]
    weight_not_full = np.cumsum(weights[order][::-1])[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows_at_level = rows_of_full + full_level[order] * weight_not_full  # given out when this group becomes full
    enough = rows_at_level >= total
    last = int(np.argmax(enough)) if enough.any() else len(order) - 1
    x = (total - rows_of_full[last]) / weight_not_full[last] if weight_not_full[last] > 0 else 0.0
    return _whole(np.minimum(x * weights, sizes), sizes, total)


def quadratic(shares: np.ndarray, sizes: np.ndarray, total: int, *, least: int | np.ndarray = 1) -> np.ndarray:
    """Return the counts nearest to ``total * shares`` by least squares, each between ``least`` and its size.

    Minimises |x - total shares|^2 with sum x = total and min(least, size) <= x <= size: the programme of
    density-based pruning (Abbas et al. 2024, arXiv 2401.04578).

    Raises:
        SchemaError: if the least counts exceed ``total``, or the sizes fall short of it.
    """
    _check(sizes, total)
    low = np.minimum(least, sizes)
    if int(low.sum()) > total:
        raise SchemaError(
            f"{int(low.sum())} rows are needed for at least {np.max(least)} of each of {len(sizes)} groups, and "
            f"{total} are kept. Raise --keep, or lower the least number of rows in --balance"
        )
    # The solution is total * shares plus a constant, cut at the bounds. Its sum is a piecewise linear function of the
    # constant, with corners where a count meets a bound: sorting the corners gives the constant exactly.
    wanted = shares * total
    corners = np.sort(np.concatenate([low - wanted, sizes - wanted]))
    sums = np.array([np.clip(wanted + corner, low, sizes).sum() for corner in corners])
    i = min(max(int(np.searchsorted(sums, total)), 1), len(corners) - 1)
    run, rise = corners[i] - corners[i - 1], sums[i] - sums[i - 1]
    constant = corners[i - 1] + (run * (total - sums[i - 1]) / rise if rise > 0 else 0.0)
    return _whole(np.clip(wanted + constant, low, sizes), sizes, total)


def softmax(values: np.ndarray, temperature: float) -> np.ndarray:
    """Return shares (p,): the softmax of values (p,) / ``temperature``, which has the unit of the values."""
    with np.errstate(over="ignore"):  # a value that is far below the largest one has a share of 0
        odds = np.exp((values - values.max()) / temperature)
    return np.asarray(odds / odds.sum())


def by_recall(missed: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Give each class rows in proportion to ``missed`` (p,), which is 1 - recall, and at most its size.

    The quota of a class is total * missed / (sum of missed) rows, whatever its size. If a class has fewer rows than its
    quota, the rest goes to the other classes, again in proportion to ``missed``. This is repeated until no quota is
    larger than its class. Classes of recall 1 get rows only if all other classes are full, or if every recall is 1.
    They then get equal numbers.

    Every quota is rounded down, as in the authors' code. So the quotas may sum to less than ``total``, by fewer than
    2 p rows. These rows are not distributed, so that the counts equal those of the authors' code.

    Source: DRoP, Vysogorets et al. 2025, arXiv 2404.05579; code avysogorets/fair-data-pruning, quoters/drop.py.

    Raises:
        SchemaError: if the classes do not have ``total`` rows.
    """
    _check(sizes, total)
    if not missed.any():
        return even(sizes, total)
    counts, excess, weights = _rounded_down(total * missed / missed.sum(), total), 0, missed
    while (overflow := np.maximum(counts - sizes, 0)).any():
        counts = counts - overflow
        excess += int(overflow.sum())
        weights = np.where(overflow > 0, 0.0, weights)
        if not weights.any():
            return np.asarray(counts + even(sizes - counts, excess))
        extra = _rounded_down(excess * weights / weights.sum(), excess)
        counts, excess = counts + extra, excess - int(extra.sum())
    return np.asarray(counts)


def strata(sizes: np.ndarray, total: int) -> np.ndarray:
    """Give each stratum min(size, an even share of the rows that remain), the smallest stratum first.

    This is the budget of coverage-centric selection (Zheng et al. 2023, arXiv 2210.15809).
    """
    _check(sizes, total)
    counts, remaining = np.zeros(len(sizes), dtype=np.int64), total
    for done, j in enumerate(np.argsort(sizes, kind="stable").tolist()):
        counts[j] = min(int(sizes[j]), remaining // (len(sizes) - done))
        remaining -= int(counts[j])
    return counts


def stratum(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the number (n,), from 0, of the stratum in which each score (n,) lies.

    The strata are `STRATA` equal parts of [low, high]. The largest score lies in the last one.
    """
    # Where caps leave no row to rank, low is infinite and high is minus infinity.
    if not low < high:
        return np.zeros(len(score), dtype=np.int64)
    part = (score / 2 - low / 2) / (high / 2 - low / 2)  # halves, since the difference of two floats may overflow
    # Clipped before the cast: trimmed scores lie outside, perhaps too far for a whole number.
    return np.clip(part * STRATA, 0, STRATA - 1).astype(np.int64)


def _check(sizes: np.ndarray, total: int) -> None:
    if not 0 <= total <= int(np.sum(sizes)):
        raise SchemaError(
            f"{total} rows are to be kept, and there are only {int(np.sum(sizes))}. Lower --keep or --trim"
        )


def _rounded_down(x: np.ndarray, total: int) -> np.ndarray:
    """Round (p,) numbers, whose sum is at most ``total``, down to whole ones.

    A number that falls short of a whole one by a rounding error counts as whole.
    """
    near = np.round(x)
    whole_already = np.abs(x - near) < RELATIVE_ROUNDING * np.maximum(1.0, np.abs(x))
    down = np.where(whole_already, near, np.floor(x)).astype(np.int64)
    if int(down.sum()) > total:  # counts above 5e8 all seem whole already, and some were rounded up
        return np.asarray(np.floor(x).astype(np.int64))
    return np.asarray(down)


def _whole(x: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Round (p,) numbers to whole numbers with the same sum ``total``.

    Each changes by less than 1, and none exceeds its size.
    """
    down = np.minimum(_rounded_down(x, total), sizes)
    missing = total - int(down.sum())
    if missing == 0:
        return np.asarray(down)
    # The remainders are apportioned, not x itself: so counts that are full stay full, and remainders that are equal
    # but for rounding stay equal.
    extra = apportion(np.maximum(np.round(x - down, EQUAL_DIGITS), 0.0), missing)
    return np.asarray(down + np.array(extra))
