"""Rows with equal keys, and the pairs that they make.

In: 64-bit keys. Out: row numbers, and pairs of them.
"""

from collections.abc import Iterator

import numpy as np

SMALL = 32  # in a group of up to 32 rows every row is compared with every other
WINDOW = 4  # in a larger group each row is compared with the 4 that follow it, in an order that is drawn


def repeated(keys: np.ndarray) -> np.ndarray:
    """Return the rows whose key another row has too, in ascending order of their (n,) keys."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = np.zeros(len(order) + 1, bool)
    same[1:-1] = ordered[1:] == ordered[:-1]
    return np.asarray(order[same[1:] | same[:-1]])


def group_starts(*keys: np.ndarray) -> np.ndarray:
    """Return where groups of equal keys start, (g,) int64, in arrays that are sorted by these keys."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    changes = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(np.append(True, changes))


def pairs(starts: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Yield pairs (m, 2) of places in groups: all pairs of a group of up to 32 rows, else each row and the 4 after it.

    Rows ``starts[i]`` to ``starts[i + 1]`` of ``rows`` are group i.
    """
    sizes = np.diff(np.append(starts, rows))
    group = np.repeat(np.arange(len(starts)), sizes)
    reach = np.repeat(np.where(sizes <= SMALL, SMALL, WINDOW), sizes)
    # Rows of a group stand side by side: pair each with the row 1, 2, ... places further on.
    for step in range(1, min(SMALL, int(sizes.max(initial=1)))):
        near = np.flatnonzero((group[step:] == group[:-step]) & (reach[step:] >= step))
        yield np.stack([near, near + step], axis=1)


def cut(starts: np.ndarray, rows: int, most: int) -> np.ndarray:
    """Return where parts of groups start, in ascending order, if groups are cut into parts of up to ``most`` rows."""
    parts = -(-np.diff(np.append(starts, rows)) // most)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.asarray(np.repeat(starts, parts) + number * most)
