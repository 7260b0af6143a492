"""Drop rows that are too like a row that stays, and say how like: a greedy choice for every stricter limit at once.

In: unit vectors. Out: for each row the cosine at which it goes.
"""

import numpy as np

BLOCK = 1024  # rows compared at a time
SAME = 1.0 - 1e-6  # float32 cosines of copies come out between this and 1


def thin(rows: np.ndarray, others: np.ndarray, limit: float) -> np.ndarray:
    """Return for each row, (n,) float64, the cosine at which it goes; 0 for a row that stays.

    ``rows`` are (n, d) float32 unit vectors, the first choice first; ``others`` (v, d) always stay. A row stays unless
    its cosine to a row that stays (before it, or of the others) is over ``limit`` > 0. The rows that go are then taken
    farthest first (Gonzalez 1985): each time the row least like all that stay or were taken before, and its level is
    that likeness. So for every limit t from ``limit`` to 1, no two rows that stay or have a level of at most t are more
    alike than t, and every other row is more like one of them than t.
    """
    stays = _greedy(rows, others, limit)
    levels, gone = np.zeros(len(rows)), np.flatnonzero(~stays)
    if len(gone):
        x = rows[gone]
        best = np.maximum(_largest_cosine(x, others), _largest_cosine(x, rows[stays]))
        # copies all go at 1; without this their levels would differ by the rounding of float32
        copies = best >= SAME
        levels[gone[copies]] = 1.0
        levels[gone[~copies]] = np.minimum(_farthest_first(x[~copies], best[~copies]), 1.0)
    return levels


def _greedy(rows: np.ndarray, others: np.ndarray, limit: float) -> np.ndarray:
    """Return which rows stay, (n,) bool."""
    stays = np.zeros(len(rows), bool)
    for low in range(0, len(rows), BLOCK):
        part, before = rows[low : low + BLOCK], rows[:low][stays[:low]]
        free = np.maximum(_largest_cosine(part, others), _largest_cosine(part, before)) <= limit
        # within the block a row goes only if it is too like an earlier row that stays, so the order matters
        clash = np.triu(part @ part.T > limit, 1)
        for j in np.flatnonzero(clash.any(axis=0) & free):
            free[j] = not (clash[:j, j] & free[:j]).any()
        stays[low : low + BLOCK] = free
    return stays


def _largest_cosine(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the largest cosine (n,) of each row to the others; -1 if there are none."""
    best = np.full(len(rows), -1.0, np.float32)
    for start in range(0, len(others), BLOCK):
        for low in range(0, len(rows), BLOCK):
            part = slice(low, low + BLOCK)
            best[part] = np.maximum(best[part], (rows[part] @ others[start : start + BLOCK].T).max(axis=1))
    return best


def _farthest_first(rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the level (n,) of each row: its largest cosine to what stays (``best``) or was taken before it."""
    likeness, levels = best.astype(np.float32), np.zeros(len(rows))
    for _ in range(len(rows)):
        farthest = int(likeness.argmin())
        levels[farthest], likeness[farthest] = likeness[farthest], np.inf
        np.maximum(likeness, rows @ rows[farthest], out=likeness)
    return levels
