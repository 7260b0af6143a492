"""Rows that are too like a row that is kept, and how like: a greedy choice with a sweep over stricter limits."""

import numpy as np

BLOCK = 1024  # rows compared at once
SAME = 1.0 - 1e-6  # float32 cosines from here on are those of copies


def thin(rows: np.ndarray, others: np.ndarray, limit: float) -> np.ndarray:
    """Return for each row, (n,) float64, the cosine at which it goes; 0 for the rows that stay.

    ``rows`` are (n, d) float32 unit vectors, first choice first; ``others`` (v, d) stay whatever happens. A row stays
    unless its cosine to one that stays, before it or of the others, is over ``limit`` > 0: compared with what is kept
    only. Rows that go are then taken farthest first (Gonzalez 1985): the one least like all that stay or were taken
    before, and its level is that likeness. So for every limit t from ``limit`` to 1, of {rows that stay or whose level
    is at most t} no two are more alike than t, and every other row is more like one of them than t.
    """
    stays = _greedy(rows, others, limit)
    levels, gone = np.zeros(len(rows)), np.flatnonzero(~stays)
    if len(gone):
        x = rows[gone]
        best = np.maximum(_most(x, others), _most(x, rows[stays]))
        copies = best >= SAME
        levels[gone[copies]] = 1.0
        levels[gone[~copies]] = np.minimum(_farthest_first(x[~copies], best[~copies]), 1.0)
    return levels


def _greedy(rows: np.ndarray, others: np.ndarray, limit: float) -> np.ndarray:
    """Say which rows stay, (n,) bool."""
    stays = np.zeros(len(rows), bool)
    for low in range(0, len(rows), BLOCK):
        part, before = rows[low : low + BLOCK], rows[:low][stays[:low]]
        free = np.maximum(_most(part, others), _most(part, before)) <= limit
        clash = np.triu(part @ part.T > limit, 1)
        for j in np.flatnonzero(clash.any(axis=0) & free):
            free[j] = not (clash[:j, j] & free[:j]).any()
        stays[low : low + BLOCK] = free
    return stays


def _most(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the largest cosine (n,) of each row to the others; -1 where there are none."""
    best = np.full(len(rows), -1.0, np.float32)
    for at in range(0, len(others), BLOCK):
        for low in range(0, len(rows), BLOCK):
            part = slice(low, low + BLOCK)
            best[part] = np.maximum(best[part], (rows[part] @ others[at : at + BLOCK].T).max(axis=1))
    return best


def _farthest_first(rows: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the level (n,) of each row: its largest cosine to what stays (``best``) or was taken before it."""
    now, levels = best.astype(np.float32), np.zeros(len(rows))
    for _ in range(len(rows)):
        one = int(now.argmin())
        levels[one], now[one] = now[one], np.inf
        np.maximum(now, rows @ rows[one], out=now)
    return levels
