"""The nearest rows of every row: exact, or looked for in the nearest clusters."""

import numpy as np

from curate.streaming import kmeans
from curate.streaming.scratch import Spool

BLOCK = 256  # rows compared at once


def neighbours(
    spooled: Spool, order: np.ndarray, centres: np.ndarray | None, *, near: int, probes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``near`` nearest rows (n, near) int64 of each row, and the Euclidean distances of the unit vectors.

    Rows are numbered by ``order``, an order of their own: so equals do not depend on the order of the stream. With
    ``centres`` the rows of a cluster are compared with those of the ``probes`` clusters nearest to it, itself first,
    and of more until there are enough.
    """
    label = np.zeros(len(order), np.int32) if centres is None else _labels(spooled, centres)[order]
    groups = np.argsort(label, kind="stable")
    sizes = np.bincount(label, minlength=1 if centres is None else len(centres))
    edges = np.append(0, np.cumsum(sizes))
    at, distance = np.empty((len(order), near), np.int64), np.empty((len(order), near))
    for c in np.flatnonzero(sizes):
        mine, others = groups[edges[c] : edges[c + 1]], groups
        if centres is not None:
            nearest = np.argsort(-(centres @ centres[c]), kind="stable")
            nearest = np.append(c, nearest[nearest != c])
            enough = max(probes, int(np.searchsorted(np.cumsum(sizes[nearest]), near, side="right")) + 1)
            others = np.sort(np.concatenate([groups[edges[i] : edges[i + 1]] for i in nearest[:enough]]))
        there = spooled.take(order[others])
        for low in range(0, len(mine), BLOCK):
            rows = mine[low : low + BLOCK]
            at[rows], distance[rows] = _nearest(spooled.take(order[rows]), rows, there, others, near)
    return at, distance


def _nearest(
    x: np.ndarray, rows: np.ndarray, there: np.ndarray, others: np.ndarray, near: int
) -> tuple[np.ndarray, np.ndarray]:
    cosine = x @ there.T
    cosine[np.arange(len(rows)), np.searchsorted(others, rows)] = -np.inf  # not itself
    best = np.sort(np.argpartition(cosine, -near, axis=1)[:, -near:], axis=1)
    gaps = np.sqrt(((x[:, None].astype(np.float64) - there[best]) ** 2).sum(axis=2))
    by_gap = np.argsort(gaps, axis=1, kind="stable")
    return others[np.take_along_axis(best, by_gap, axis=1)], np.take_along_axis(gaps, by_gap, axis=1)


def _labels(spooled: Spool, centres: np.ndarray) -> np.ndarray:
    goal = kmeans.whole(centres).T.astype(np.float32)
    return np.concatenate([(x.astype(np.float32) @ goal).argmax(axis=1) for x in spooled.blocks()]).astype(np.int32)
