"""Where the first t rows of an order end, exactly, in bounded memory: histograms over the bits of a score, refined.

Rows are ordered by (code, key): 64 bits that sort like the score, then a 64-bit hash of the id. A pass counts the rows
of each group between edges in that 128-bit space; only intervals that a cut may fall in are split for the next pass,
until so few rows are left in them that they fit in memory and can be sorted. Two or three passes over score columns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curate.tables import batches as tables

CELLS = 1 << 21  # of a table of counts: 16 MB
INTERVALS = 1 << 15
LIMIT = 1 << 17  # rows that are sorted in memory
SIDE = 1 << 64
Order = Literal["rank", "middle"]


@dataclass(frozen=True)
class Batch:
    """Codes (n,) uint64 and groups (n,) of rows; ``ids`` where they are asked for."""

    code: np.ndarray
    group: np.ndarray
    ids: pl.Series | None = None


Stream = Callable[[bool], Iterator[Batch]]  # with ids or without -> the same rows each time


@dataclass(frozen=True)
class Counted:
    """Rows of each group (columns) between edges (rows): interval i is [edges[i], edges[i + 1]); edges[0] is 0."""

    edges: tuple[int, ...]
    counts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each interval."""
        return np.asarray(self.counts.sum(axis=1))

    def width(self, i: int) -> int:
        """How many (code, key) an interval spans."""
        return (self.edges[i + 1] if i + 1 < len(self.edges) else SIDE * SIDE) - self.edges[i]


@dataclass(frozen=True)
class Place:
    """Finds the interval of a row; ``ties`` are the codes that edges split by key."""

    high: np.ndarray
    low: np.ndarray
    ties: np.ndarray
    seed: int

    def find(self, batch: Batch) -> np.ndarray:
        """Return the (n,) intervals of rows."""
        at = np.searchsorted(self.high, batch.code, side="right") - 1
        if len(self.ties) and (tied := np.isin(batch.code, self.ties)).any():
            assert batch.ids is not None
            rows = np.flatnonzero(tied)
            keys = tables.keys(batch.ids.gather(rows), self.seed)
            codes = batch.code[rows]
            for code in np.unique(codes):
                mine = codes == code
                start, stop = np.searchsorted(self.high, code, "left"), np.searchsorted(self.high, code, "right")
                at[rows[mine]] = start + np.searchsorted(self.low[start:stop], keys[mine], side="right") - 1
        return at


def codes(score: np.ndarray) -> np.ndarray:
    """Return (n,) uint64 that sort as (n,) float64 do."""
    bits = (score.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    top = np.uint64(1 << 63)
    return np.asarray(np.where(bits & top, ~bits, bits | top))


def values(found: np.ndarray) -> np.ndarray:
    """Return the scores of codes."""
    top = np.uint64(1 << 63)
    return np.where(found & top, found & ~top, ~found).astype(np.uint64).view(np.float64)


def place(edges: Sequence[int], seed: int) -> Place:
    """Return what finds rows between edges."""
    high = np.array([edge >> 64 for edge in edges], dtype=np.uint64)
    low = np.array([edge % SIDE for edge in edges], dtype=np.uint64)
    return Place(high, low, np.unique(high[low > 0]), seed)


def first_edges(sample: np.ndarray, most: int) -> tuple[int, ...]:
    """Return edges at the quantiles of sampled codes: about as many rows between each two."""
    found = np.unique(sample)
    found = found[:: max(1, -(-len(found) // most))]
    return tuple(sorted({0, *(int(code) << 64 for code in found)}))


def count(stream: Stream, edges: tuple[int, ...], groups: int, seed: int) -> Counted:
    """Count the rows of each group between edges."""
    where = place(edges, seed)
    counts = np.zeros((len(edges), groups), dtype=np.int64)
    for batch in stream(bool(len(where.ties))):
        np.add.at(counts, (where.find(batch), batch.group), 1)
    return Counted(edges, counts)


def first_count(batches: Iterator[Batch], edges: tuple[int, ...]) -> Counted:
    """Count like ``count`` while groups turn up; the more groups, the fewer edges."""
    where, counts = place(edges, 0), np.zeros((len(edges), 1), dtype=np.int64)
    for batch in batches:
        if (groups := int(batch.group.max(initial=0)) + 1) > counts.shape[1]:
            room = max(groups, 2 * counts.shape[1])
            while len(edges) * room > CELLS and len(edges) > 2:
                counts, edges = np.add.reduceat(counts, np.arange(0, len(edges), 2), axis=0), edges[::2]
            counts = np.pad(counts, ((0, 0), (0, room - counts.shape[1])))
            where = place(edges, 0)
        np.add.at(counts, (where.find(batch), batch.group), 1)
    return Counted(edges, counts)


def spread(sizes: np.ndarray, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest priority of the rows of each interval (low goes first).

    The priority is the rank, or twice its distance from the median rank.
    """
    n = int(sizes.sum())
    first = np.cumsum(sizes) - sizes
    last = np.maximum(first, first + sizes - 1)
    if order == "rank":
        return first, last
    near, far = np.abs(2 * first - (n - 1)), np.abs(2 * last - (n - 1))
    inside = (2 * first <= n - 1) & (2 * last >= n - 1)
    return np.where(inside, (n - 1) % 2, np.minimum(near, far)), np.maximum(near, far)


@dataclass(frozen=True)
class Cut:
    """For the first ``target`` rows of a lane: the cut lies at a priority in [low, high]; none to find: low > high."""

    low: float
    high: float


def cuts(counted: Counted, order: Order, reached: Callable[[np.ndarray], np.ndarray], targets: np.ndarray) -> list[Cut]:
    """Say between which priorities each lane's cut lies.

    ``reached`` turns rows of each group so far, (E, G), into rows of each lane so far, (E, lanes); it must not fall.
    """
    low, high = spread(counted.sizes, order)
    full = np.flatnonzero(counted.sizes)
    low, high, counts = low[full], high[full], counted.counts[full]
    by_low, by_high = np.argsort(low, kind="stable"), np.argsort(high, kind="stable")
    may = reached(np.cumsum(counts[by_low], axis=0))
    must = reached(np.cumsum(counts[by_high], axis=0))
    found = []
    for lane, target in enumerate(targets.tolist()):
        if target <= 0:
            found.append(Cut(-np.inf, -np.inf))
        elif target >= must[-1, lane]:
            found.append(Cut(np.inf, np.inf))
        else:
            start = low[by_low[int(np.searchsorted(may[:, lane], target))]]
            found.append(Cut(float(start), float(high[by_high[int(np.searchsorted(must[:, lane], target))]])))
    return found


def open_intervals(counted: Counted, order: Order, found: Sequence[Cut]) -> np.ndarray:
    """Return the (E,) intervals that a cut may fall in."""
    low, high = spread(counted.sizes, order)
    result = np.zeros(len(low), dtype=bool)
    for cut in found:
        result |= (low <= cut.high) & (high >= cut.low) & np.isfinite(cut.low)
    return result & (counted.sizes > 0)


def small(counted: Counted, chosen: np.ndarray, limit: int = LIMIT) -> bool:
    """Say whether the rows of the chosen intervals fit in memory (rows with equal score and id must)."""
    return sum(int(counted.sizes[i]) for i in np.flatnonzero(chosen) if counted.width(int(i)) > 1) <= limit


def refine(counted: Counted, chosen: np.ndarray, most: int) -> tuple[int, ...]:
    """Return edges that split the chosen intervals, ``most`` in all, and join the others."""
    edges: list[int] = [0]
    pieces = max(2, most // max(1, int(chosen.sum())))
    for i, edge in enumerate(counted.edges):
        if chosen[i] or (i and chosen[i - 1]):
            edges.append(edge)
        if chosen[i]:
            edges += _split(edge, edge + counted.width(i), pieces)
    return tuple(sorted(set(edges)))


def _split(start: int, stop: int, pieces: int) -> list[int]:
    """Cut [start, stop) evenly: between codes where it has several, else between keys."""
    unit = SIDE if (stop >> 64) - (start >> 64) > 1 else 1
    first, last = -(-start // unit), stop // unit
    step = max(1, (last - first) // pieces)
    return [edge * unit for edge in range(first, last, step) if start < edge * unit < stop]


@dataclass(frozen=True)
class Collected:
    """The rows of the chosen intervals, in order: positions in the stream, groups, codes, priorities."""

    position: np.ndarray
    group: np.ndarray
    code: np.ndarray
    priority: np.ndarray


def collect(stream: Stream, counted: Counted, chosen: np.ndarray, order: Order, seed: int) -> Collected:
    """Read the rows of the chosen intervals and sort them by priority; equals by key, then as they come."""
    where, at = place(counted.edges, seed), 0
    parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.uint64),) * 2 + (np.zeros(0, np.int64),) * 3]
    for batch in stream(True) if chosen.any() else ():
        found = where.find(batch)
        rows = np.flatnonzero(chosen[found])
        assert batch.ids is not None
        keys = tables.keys(batch.ids.gather(rows), seed)
        parts.append((batch.code[rows], keys, rows + at, batch.group[rows], found[rows]))
        at += len(batch.code)
    code, key, position, group, interval = (np.concatenate(part) for part in zip(*parts, strict=True))
    sort = np.lexsort((position, key, code))
    sizes = counted.sizes
    before = np.cumsum(sizes) - sizes
    gone = np.cumsum(np.where(chosen, sizes, 0)) - np.where(chosen, sizes, 0)  # chosen rows in earlier intervals
    rank = np.empty(len(sort), dtype=np.int64)
    rank[sort] = before[interval[sort]] + np.arange(len(sort)) - gone[interval[sort]]
    priority = rank if order == "rank" else np.abs(2 * rank - (int(sizes.sum()) - 1))
    final = np.lexsort((position, key, priority))
    return Collected(position[final], group[final], code[final], priority[final])


def narrow(
    stream: Stream,
    counted: Counted,
    order: Order,
    find: Callable[[Counted], Sequence[Cut]],
    *,
    seed: int,
    limit: int = LIMIT,
) -> tuple[Counted, Sequence[Cut], np.ndarray]:
    """Refine until the rows that cuts may fall in are few; return counts, cuts and the chosen intervals."""
    groups = counted.counts.shape[1]
    while True:
        found = find(counted)
        chosen = open_intervals(counted, order, found)
        if small(counted, chosen, limit):
            return counted, found, chosen
        most = max(2 * int(chosen.sum()), min(INTERVALS, CELLS // groups))
        counted = count(stream, refine(counted, chosen, most), groups, seed)


def order_statistics(
    stream: Stream, counted: Counted, ranks: Mapping[int, Sequence[int]], *, seed: int, limit: int = LIMIT
) -> dict[tuple[int, int], float]:
    """Return the score at each rank (from 0) of each group, by (group, rank)."""
    lanes = [(group, rank) for group, mine in ranks.items() for rank in sorted(set(mine))]
    columns = [group for group, _ in lanes]
    targets = np.array([rank + 1 for _, rank in lanes])

    def find(now: Counted) -> list[Cut]:
        return cuts(now, "rank", lambda sofar: 2 * sofar[:, columns], 2 * targets - 1)  # halves: the last row has a cut

    counted, found, chosen = narrow(stream, counted, "rank", find, seed=seed, limit=limit)
    rows = collect(stream, counted, chosen, "rank", seed)
    _, high = spread(counted.sizes, "rank")
    result = {}
    for (group, rank), cut in zip(lanes, found, strict=True):
        before = int(counted.counts[~chosen & (high < cut.low), group].sum())
        mine = rows.code[rows.group == group]
        result[group, rank] = float(values(mine[rank - before : rank - before + 1])[0])
    return result
