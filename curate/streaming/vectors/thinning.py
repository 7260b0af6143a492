"""Drop rows that are too like a row that stays, so that the result also serves every higher limit.

In: unit vectors. Out: which rows stay, and for each other row the cosine at which it is dropped, its level.

A row stays unless its cosine to a row that stays is over a limit > 0. The other rows are then taken one by one, the
farthest first (Gonzalez 1985). Each time it is the row whose largest cosine to all rows that stay or were taken before
is the smallest. This cosine is its level. Take any t from the limit to 1, and keep the rows that stay or have a level
of at most t. Then no two of them have a cosine over t, and every other row has a cosine over t to one of them.
"""

import numpy as np

BLOCK = 1024  # rows compared at a time
SAME = 1.0 - 1e-6  # float32 cosines of copies come out between this and 1


def staying(rows: np.ndarray, limit: float) -> np.ndarray:
    """Return which of (n, d) float32 unit vectors stay, (n,) bool; the first choice comes first.

    A row stays unless its cosine to a row that stays and comes before it is over ``limit``.
    """
    stays = np.zeros(len(rows), bool)
    for low in range(0, len(rows), BLOCK):
        part, before = rows[low : low + BLOCK], rows[:low][stays[:low]]
        free = largest_cosine(part, before) <= limit
        # within the block a row goes only if it is too like an earlier row that stays, so the order matters
        clash = np.triu(part @ part.T > limit, 1)
        for j in np.flatnonzero(clash.any(axis=0) & free):
            free[j] = not (clash[:j, j] & free[:j]).any()
        stays[low : low + BLOCK] = free
    return stays


def levels(rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the cosine (n,) float64 at which each row is dropped.

    ``rows`` are (n, d) float32 unit vectors, and ``best`` (n,) the largest cosine of each to the rows that stay.
    """
    result = np.ones(len(rows))
    # copies all go at 1; without this their levels would differ by the rounding of float32
    others = best < SAME
    result[others] = np.minimum(_farthest_first(rows[others], best[others]), 1.0)
    return result


def largest_cosine(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the largest cosine (n,) of each row to the others; -1 if there are none."""
    best = np.full(len(rows), -1.0, np.float32)
    for start in range(0, len(others), BLOCK):
        for low in range(0, len(rows), BLOCK):
            part = slice(low, low + BLOCK)
            best[part] = np.maximum(best[part], (rows[part] @ others[start : start + BLOCK].T).max(axis=1))
    return best


def _farthest_first(rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the level (n,) of each row: its largest cosine to what stays (``best``) or was taken before it."""
    likeness, result = best.astype(np.float32), np.zeros(len(rows))
    for _ in range(len(rows)):
        farthest = int(likeness.argmin())
        result[farthest], likeness[farthest] = likeness[farthest], np.inf
        np.maximum(likeness, rows @ rows[farthest], out=likeness)
    return result
