"""Single-linkage clustering of rows from weighted edges on disk.

In: edges between rows, with a similarity. Out: which row is merged into another, and at which similarity.
"""

from pathlib import Path

import numpy as np

from curate.storage import disk_arrays

EDGE = np.dtype([("level", "<f8"), ("first", "<u4"), ("second", "<u4")])
SLABS = 32  # ranges of similarity that are sorted one after the other, to bound memory
CHUNK = 1 << 20  # rows of the table of parents that are written at a time


def single_linkage(edges: np.ndarray, priority: np.ndarray, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are merged into another, (m,) int64, and the level of each merge, (m,) float64.

    Levels are similarities in [0, 1]. From level 1 down every edge joins two components. The member with the smallest
    ``priority`` (n,) represents the union; the representative of the other part is merged. So at any level t exactly
    one row of each component of the graph of edges with level >= t is not merged yet. ``edges`` has the type ``EDGE``
    and may be on disk.
    """
    parent = _own_parents(len(priority), scratch / "parents")
    rank = np.ascontiguousarray(priority).data
    rows: list[int] = []
    levels: list[float] = []
    bounds = np.linspace(1.0, 0.0, SLABS + 1)
    for high, low in zip(np.append(2.0, bounds), np.append(bounds, -1.0), strict=True):
        slab = edges[(edges["level"] < high) & (edges["level"] >= low)]
        slab = slab[np.argsort(-slab["level"], kind="stable")]
        columns = (slab[name].tolist() for name in ("level", "first", "second"))
        for level, first, second in zip(*columns, strict=True):
            winner, loser = _root(parent, first), _root(parent, second)
            if winner == loser:
                continue
            if rank[winner] > rank[loser]:
                winner, loser = loser, winner
            parent[loser] = winner
            rows.append(loser)
            levels.append(level)
    return np.array(rows, np.int64), np.array(levels, np.float64)


def _own_parents(rows: int, path: Path) -> memoryview:
    """Return a table on disk where every row is its own parent; one entry at least."""
    parents = disk_arrays.new_mapped(path, "<u4", (max(1, rows),))
    for start in range(0, len(parents), CHUNK):
        parents[start : start + CHUNK] = np.arange(start, min(len(parents), start + CHUNK), dtype=np.uint32)
    # single numbers are read faster from a memoryview than from an array
    return parents.data


def _root(parent: memoryview, row: int) -> int:
    while (above := parent[row]) != row:
        parent[row] = row = parent[above]  # path halving: later searches are shorter
    return row
