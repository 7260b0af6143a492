"""Single-linkage clustering of rows from weighted edges.

In: edges between rows, with a similarity. Out: which row is merged into another, and at which similarity.
"""

import numpy as np


def spanning_forest(edges: np.ndarray, levels: np.ndarray, rows: int) -> np.ndarray:
    """Return the numbers (f,) of edges that keep the rows as connected as all edges do, at every level.

    They are the edges of a maximum spanning forest: fewer than ``rows``. ``edges`` (m, 2) are pairs of row numbers,
    each pair once, and ``levels`` (m,) their similarities.
    """
    # Imported where it is used: it takes a sixth of a second, and most tasks of workers do without it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    # The library finds the minimum, and an edge of weight 0 is none: ranks from the highest level, 1, are exact.
    order = np.argsort(-levels, kind="stable")
    weights = np.empty(len(levels))
    # Edges of equal level get different ranks, so that an edge can be known by its rank.
    weights[order] = np.arange(1.0, len(levels) + 1)
    graph = coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(rows, rows)).tocsr()
    ranks = np.sort(minimum_spanning_tree(graph).data.astype(np.int64))
    return np.asarray(order[ranks - 1])


def components(edges: np.ndarray, rows: int) -> np.ndarray:
    """Return the number (rows,) of the component that each row belongs to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(rows, rows))
    return np.asarray(connected_components(graph, directed=False)[1])


def single_linkage(edges: np.ndarray, levels: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are merged into another, (k,) int64, and the level of each merge, (k,) float64.

    ``edges`` (m, 2) are pairs of row numbers, each pair once, with similarities ``levels`` (m,). From the highest level
    down every edge joins two components. The smallest row number represents the union; the representative of the other
    part is merged. So at any level t exactly one row of each component of the graph of edges with level >= t is not
    merged yet: the smallest.
    """
    # Edges of the forest come from the highest level down.
    forest = spanning_forest(edges, levels, rows)
    parent = list(range(rows))
    merged = np.empty(len(forest), np.int64)
    for i, (first, second) in enumerate(edges[forest].tolist()):
        winner, loser = sorted((_root(parent, first), _root(parent, second)))
        parent[loser] = winner
        merged[i] = loser
    return merged, levels[forest]


def _root(parent: list[int], row: int) -> int:
    while (above := parent[row]) != row:
        parent[row] = row = parent[above]  # path halving: later searches are shorter
    return row
