"""The nearest rows of every row: exact, or sought in the nearest clusters.

In: vectors in a scratch folder. Out: neighbours and distances as arrays.
"""

import numpy as np

from curate.streaming.scratch import Spool
from curate.streaming.vectors import kmeans

BLOCK = 256  # rows compared at a time


def neighbours(
    spool: Spool, order: np.ndarray, centres: np.ndarray | None, *, near: int, probes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``near`` nearest rows (n, near) int64 of each row, and their distances (n, near).

    Distances are Euclidean, of unit vectors. Row i is the row ``order[i]`` of the spool: an order that does not depend
    on the stream decides among equal rows. With ``centres`` (k, d) the rows of a cluster are compared with those of the
    ``probes`` clusters nearest to it, itself first, and of more clusters until there are enough rows.
    """
    label = np.zeros(len(order), np.int32) if centres is None else _labels(spool, centres)[order]
    groups = np.argsort(label, kind="stable")
    sizes = np.bincount(label, minlength=1 if centres is None else len(centres))
    edges = np.append(0, np.cumsum(sizes))
    neighbour, distance = np.empty((len(order), near), np.int64), np.empty((len(order), near))
    for c in np.flatnonzero(sizes):
        members, others = groups[edges[c] : edges[c + 1]], groups
        if centres is not None:
            nearest = np.argsort(-(centres @ centres[c]), kind="stable")
            nearest = np.append(c, nearest[nearest != c])
            enough = max(probes, int(np.searchsorted(np.cumsum(sizes[nearest]), near, side="right")) + 1)
            others = np.sort(np.concatenate([groups[edges[i] : edges[i + 1]] for i in nearest[:enough]]))
        other_vectors = spool.take(order[others])
        for low in range(0, len(members), BLOCK):
            rows = members[low : low + BLOCK]
            nearest_rows = _nearest(spool.take(order[rows]), rows, other_vectors, others, near)
            neighbour[rows], distance[rows] = nearest_rows
    return neighbour, distance


def _nearest(
    x: np.ndarray, rows: np.ndarray, other_vectors: np.ndarray, others: np.ndarray, near: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of ``others`` to each of ``rows``, with the vectors of both; distances in float64."""
    cosine = x @ other_vectors.T
    cosine[np.arange(len(rows)), np.searchsorted(others, rows)] = -np.inf  # a row is not its own neighbour
    best = np.sort(np.argpartition(cosine, -near, axis=1)[:, -near:], axis=1)
    gaps = np.sqrt(((x[:, None].astype(np.float64) - other_vectors[best]) ** 2).sum(axis=2))
    by_gap = np.argsort(gaps, axis=1, kind="stable")
    return others[np.take_along_axis(best, by_gap, axis=1)], np.take_along_axis(gaps, by_gap, axis=1)


def _labels(spool: Spool, centres: np.ndarray) -> np.ndarray:
    columns = kmeans.quantise(centres).T.astype(np.float32)
    return np.concatenate([(x.astype(np.float32) @ columns).argmax(axis=1) for x in spool.blocks()]).astype(np.int32)
