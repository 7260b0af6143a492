"""Connected components at every level at once: single linkage by Kruskal's algorithm, with union-find on disk."""

from pathlib import Path

import numpy as np

EDGE = np.dtype([("level", "<f8"), ("one", "<u4"), ("two", "<u4")])
SLABS = 32  # edges are sorted so many levels at a time


def merged(edges: np.ndarray, priority: np.ndarray, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are merged into another, (m,) int64, and the level in [0, 1] at which each is, (m,) float64.

    From level 1 down every edge joins two components; the member with the smallest ``priority`` (n,) stands for the
    union, and the one that stood for the other part is merged. So at any level t exactly one row of each component of
    the graph of edges with level >= t is not merged yet. ``edges`` has the type ``EDGE`` and may be on disk.
    """
    parents = np.memmap(scratch / "parents", "<u4", "w+", shape=(max(1, len(priority)),))
    for at in range(0, len(parents), 1 << 20):
        parents[at : at + (1 << 20)] = np.arange(at, min(len(parents), at + (1 << 20)), dtype=np.uint32)
    parent, first = parents.data, np.ascontiguousarray(priority).data
    rows: list[int] = []
    levels: list[float] = []
    bounds = np.linspace(1.0, 0.0, SLABS + 1)
    for high, low in zip(np.append(2.0, bounds), np.append(bounds, -1.0), strict=True):
        slab = edges[(edges["level"] < high) & (edges["level"] >= low)]
        slab = slab[np.argsort(-slab["level"], kind="stable")]
        columns = (slab[name].tolist() for name in ("level", "one", "two"))
        for level, one, two in zip(*columns, strict=True):
            one, two = _root(parent, one), _root(parent, two)
            if one == two:
                continue
            if first[one] > first[two]:
                one, two = two, one
            parent[two] = one
            rows.append(two)
            levels.append(level)
    return np.array(rows, np.int64), np.array(levels, np.float64)


def _root(parent: memoryview, row: int) -> int:
    while (above := parent[row]) != row:
        parent[row] = row = parent[above]  # halve the path
    return row
