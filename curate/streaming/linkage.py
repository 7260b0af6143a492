"""Rows with equal keys, and the pairs they make, from keys on disk: memory is a part, whatever the number of rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curate.streaming.ngrams import BASE, mix

EDGE = np.dtype([("level", "<f8"), ("one", "<u4"), ("two", "<u4")])
SLABS = 32  # edges are sorted so many levels at a time
PART = 1 << 22  # keys sorted at once: 64 MB
SMALL = 32  # a group of up to so many rows is compared all with all
WINDOW = 4  # in a larger one each row is compared with so many others, drawn anew in every band


def column(path: Path, dtype: str) -> np.ndarray:
    """Open a file of numbers as an array on disk; an empty file is an empty array."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


def in_order(keys: np.ndarray, part: int = PART) -> Iterator[np.ndarray]:
    """Yield row numbers in ascending order of their (n,) uint64 keys, a range of keys at a time; keys are hashes."""
    bits = max(0, int(len(keys) - 1).bit_length() - int(part - 1).bit_length())
    for i in range(1 << bits):
        if bits == 0:
            yield np.argsort(keys)
            continue
        rows = [
            at + np.flatnonzero((keys[at : at + part] >> np.uint64(64 - bits)) == i) for at in range(0, len(keys), part)
        ]
        found = np.concatenate(rows)
        yield found[np.argsort(keys[found])]


def repeated(keys: np.ndarray, part: int = PART) -> Iterator[np.ndarray]:
    """Yield the rows whose key another row has too, in ascending order of keys."""
    for order in in_order(keys, part):
        same = np.zeros(len(order) + 1, bool)
        held = keys[order]
        same[1:-1] = held[1:] == held[:-1]
        yield order[same[1:] | same[:-1]]


def pairs(
    keys: np.ndarray, numbers: np.ndarray, priority: np.ndarray, *, alive: np.ndarray, salt: int, part: int = PART
) -> Iterator[np.ndarray]:
    """Yield (m, 2) pairs of row numbers with equal keys: all pairs of a small group, of a larger one a window.

    ``keys`` (c,) uint64 are of the rows ``numbers`` (c,); rows that are not ``alive`` (n,) bool are left out.
    ``priority`` (n,) uint64, distinct, gives with ``salt`` the order in which a large group is cut, so that the result
    does not depend on the order of the rows.
    """
    for at in repeated(keys, part):
        at = at[alive[numbers[at]]]
        held, rows = keys[at], numbers[at]
        order = np.lexsort((mix(priority[rows] + BASE * np.full(len(rows), salt, np.uint64)), held))
        held, rows = held[order], rows[order]
        starts = np.flatnonzero(np.append(True, held[1:] != held[:-1])[: len(held)])
        sizes = np.diff(np.append(starts, len(held)))
        reach = np.repeat(np.where(sizes <= SMALL, SMALL, WINDOW), sizes)
        for step in range(1, min(SMALL, int(sizes.max(initial=1)))):
            near = np.flatnonzero((held[step:] == held[:-step]) & (reach[step:] >= step))
            yield np.stack([rows[near], rows[near + step]], axis=1)


def packed(found: np.ndarray) -> np.ndarray:
    """Return (m, 2) pairs of row numbers below 2^32 as (m,) uint64, the smaller number in the upper half."""
    low, high = found.min(axis=1).astype(np.uint64), found.max(axis=1).astype(np.uint64)
    return np.asarray((low << np.uint64(32)) | high)


def distinct(found: np.ndarray, rows: int, part: int = PART) -> Iterator[np.ndarray]:
    """Yield (m, 2) distinct pairs in ascending order, of pairs ``packed`` with repeats; the row numbers are < rows."""
    step = max(1, rows * part // max(1, len(found)))
    for low in range(0, rows, step) if len(found) else ():
        bounds = np.uint64(low << 32), np.uint64(min(rows, low + step) << 32)  # few pairs make a step beyond 2^32
        chunks = (found[at : at + part] for at in range(0, len(found), part))
        once = np.unique(np.concatenate([c[(c >= bounds[0]) & (c < bounds[1])] for c in chunks]))
        yield np.stack([once >> np.uint64(32), once & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


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
