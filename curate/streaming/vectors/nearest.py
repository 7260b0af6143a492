"""The nearest rows of every row: exact, or sought in the nearest clusters.

In: rows that are assigned to clusters. Out: neighbours and distances as arrays.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import polars as pl

from curate.streaming.vectors.assignment import Assigned, chosen_vectors, vector_column
from curate.tables.corpus import Arrays, Corpus, PartRows

BLOCK = 256  # rows compared at a time
TASK_ROWS = 1 << 14  # rows of a task and rows that they are compared with, together; more if one cluster has more


def neighbours(corpus: Corpus, assigned: Assigned, embedding: str, *, near: int, probes: int) -> Iterator[Arrays]:
    """Yield the ``near`` nearest rows of every row, in batches of m rows.

    key: (m,) uint64, the keys of the rows, which must be distinct.
    neighbour: (m, near) uint64, the keys of their nearest rows.
    distance: (m, near), their Euclidean distances, of unit vectors.

    The rows of a cluster are compared with those of the ``probes`` clusters nearest to it, of which it is the first. If
    these have too few rows, more clusters are added. A zero vector belongs to the first cluster.
    """
    probed = _probed_clusters(assigned, near, probes)
    rows = np.array([int(assigned.sizes[list(clusters)].sum()) for clusters in probed])
    # a task is a range of clusters: it has all rows that they are compared with
    task = np.unique((np.cumsum(rows) - rows) // TASK_ROWS, return_inverse=True)[1]
    tasks: list[set[int]] = [set() for _ in probed]  # of the rows of each cluster
    for cluster, clusters in enumerate(probed):
        for other in clusters:
            tasks[other].add(int(task[cluster]))
    send = partial(_rows_to_compare, assigned, embedding, tuple(tuple(sorted(numbers)) for numbers in tasks))
    reduce = partial(_nearest_of_task, probed, task, near)
    splits = int(task.max()) + 1
    return corpus.exchange(send, "task", reduce, name="neighbours", splits=splits, needs=(embedding,))


def _probed_clusters(assigned: Assigned, near: int, probes: int) -> tuple[tuple[int, ...], ...]:
    """Return for each cluster those with which its rows are compared."""
    probed = []
    for cluster, centre in enumerate(assigned.centres):
        nearest = np.argsort(-(assigned.centres @ centre), kind="stable")
        nearest = np.append(cluster, nearest[nearest != cluster])
        enough = int(np.searchsorted(np.cumsum(assigned.sizes[nearest]), near, side="right")) + 1
        probed.append(tuple(nearest[: max(probes, enough)].tolist()))
    return tuple(probed)


def _rows_to_compare(
    assigned: Assigned, embedding: str, tasks: Sequence[Sequence[int]], rows: PartRows
) -> pl.DataFrame:
    """Return every row of a part once for each task that compares it, with its vector."""
    kept = rows.kept(assigned.name)
    label = _labels(kept["label"], len(tasks))
    counts = np.array([len(numbers) for numbers in tasks])
    row = np.repeat(np.arange(len(label)), counts[label])
    task = [np.array(tasks[cluster], np.uint64) for cluster in label.tolist()]
    return pl.DataFrame(
        {
            "task": np.concatenate([np.zeros(0, np.uint64), *task]),
            "cluster": label[row].astype(np.int32),
            "key": kept["key"][row],
        }
    ).with_columns(vector_column(chosen_vectors(embedding, rows, row), assigned.width))


def _labels(label: np.ndarray, k: int) -> np.ndarray:
    """Return the clusters of rows; a zero vector, which has the label k, is put into the first."""
    return np.where(label < k, label, 0)


def _nearest_of_task(probed: Sequence[Sequence[int]], task: np.ndarray, near: int, frame: pl.DataFrame) -> Arrays:
    """Return the nearest rows of the rows of all clusters of a task."""
    # an order of the rows that does not depend on the parts decides among equal rows
    order = np.argsort(frame["key"].to_numpy())
    key, cluster = frame["key"].to_numpy()[order], frame["cluster"].to_numpy()[order]
    vectors = frame["vector"].to_numpy()[order]
    keys, neighbour, distance = [np.zeros(0, np.uint64)], [np.zeros((0, near), np.uint64)], [np.zeros((0, near))]
    for number in np.flatnonzero(task == frame["task"][0]).tolist() if frame.height else ():
        members = np.flatnonzero(cluster == number)
        others = np.flatnonzero(np.isin(cluster, probed[number]))
        other_vectors = vectors[others]
        for low in range(0, len(members), BLOCK):
            rows = members[low : low + BLOCK]
            nearest, gaps = _nearest(vectors[rows], rows, other_vectors, others, near)
            keys.append(key[rows])
            neighbour.append(key[nearest])
            distance.append(gaps)
    return {name: np.concatenate(x) for name, x in (("key", keys), ("neighbour", neighbour), ("distance", distance))}


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
