"""Find where the first n rows of an order end, exactly and in bounded memory.

In: a histogram, and the rows again. Out: cuts, and the few rows near them, sorted.
Rows are sorted by score, and rows of equal score by the hash of their id. Each pass splits only the intervals in which
a cut may lie. It ends when their rows are few enough to be sorted in memory: after two or three passes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal

import numpy as np

from curate.pruning.ranking import histograms
from curate.pruning.ranking.histograms import SIDE, BatchStream, Histogram, IntervalFinder, P, PartBatches
from curate.tables import batches as tables

# Rows that are sorted in memory: at about 40 bytes each, 5 MB.
SORTED_ROWS = 1 << 17
Order = Literal["rank", "middle"]
# Codes, keys, positions, groups and intervals of rows, (m,) each.
NearRows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
NO_ROWS: NearRows = (*(np.zeros(0, np.uint64),) * 2, *(np.zeros(0, np.int64),) * 3)


@dataclass(frozen=True)
class Ranking(Generic[P]):
    """Rows and their order: by score (``rank``), or by the distance of their rank from the median (``middle``).

    ``seed`` is that of the hashes that break ties. At most ``sorted_rows`` rows are sorted in memory.
    """

    stream: BatchStream[P]
    seed: int
    order: Order = "rank"
    sorted_rows: int = SORTED_ROWS


@dataclass(frozen=True)
class Cut:
    """The bounds of the priority at which a selection ends; there is nothing to find where they are infinite."""

    low: float
    high: float


@dataclass(frozen=True)
class SortedRows:
    """The rows near the cuts in their order: positions in the stream, groups, codes and priorities, (m,) each."""

    position: np.ndarray
    group: np.ndarray
    code: np.ndarray
    priority: np.ndarray


def priorities(sizes: np.ndarray, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest priority among the rows of each interval; rows of low priority come first.

    ``sizes`` (intervals,) are rows. For ``rank`` the priority is the rank from 0. For ``middle`` it is twice the
    distance from the median rank, so that it stays whole for an even number of rows.
    """
    n = int(sizes.sum())
    first = np.cumsum(sizes) - sizes
    last = np.maximum(first, first + sizes - 1)
    if order == "rank":
        return first, last
    near, far = np.abs(2 * first - (n - 1)), np.abs(2 * last - (n - 1))
    holds_median = (2 * first <= n - 1) & (2 * last >= n - 1)
    return np.where(holds_median, (n - 1) % 2, np.minimum(near, far)), np.maximum(near, far)


def cuts(
    histogram: Histogram, order: Order, rows_taken: Callable[[np.ndarray], np.ndarray], targets: np.ndarray
) -> list[Cut]:
    """Return for each of several selections the bounds between which it reaches its target number of rows.

    ``rows_taken`` turns the rows of each group so far, (intervals, groups), into the rows of each selection so far,
    (intervals, selections); it must not fall. ``targets`` (selections,) are rows.
    """
    low, high = priorities(histogram.sizes, order)
    full = np.flatnonzero(histogram.sizes)
    low, high, counts = low[full], high[full], histogram.counts[full]
    by_low, by_high = np.argsort(low, kind="stable"), np.argsort(high, kind="stable")
    # At a given priority at least the intervals that end before it are taken, and at most those that start before it.
    at_most = rows_taken(np.cumsum(counts[by_low], axis=0))
    at_least = rows_taken(np.cumsum(counts[by_high], axis=0))
    result = []
    for selection, target in enumerate(targets.tolist()):
        if target <= 0:
            result.append(Cut(-np.inf, -np.inf))
        elif target >= at_least[-1, selection]:
            result.append(Cut(np.inf, np.inf))
        else:
            start = low[by_low[int(np.searchsorted(at_most[:, selection], target))]]
            stop = high[by_high[int(np.searchsorted(at_least[:, selection], target))]]
            result.append(Cut(float(start), float(stop)))
    return result


def narrow(
    ranking: Ranking[P], histogram: Histogram, find_cuts: Callable[[Histogram], Sequence[Cut]]
) -> tuple[Histogram, Sequence[Cut], np.ndarray]:
    """Split intervals until the rows near the cuts are few.

    Returns the last histogram, its cuts, and a bool (intervals,) that marks the intervals in which a cut may lie.
    """
    groups = histogram.counts.shape[1]
    while True:
        present_cuts = find_cuts(histogram)
        near_cuts = _intervals_with_cuts(histogram, ranking.order, present_cuts)
        if _few(histogram, near_cuts, ranking.sorted_rows):
            return histogram, present_cuts, near_cuts
        # At least two pieces an interval, or the loop would not end.
        pieces = max(2 * int(near_cuts.sum()), histograms.most_intervals(groups))
        edges = _refined_edges(histogram, near_cuts, pieces)
        histogram = histograms.count(ranking.stream, edges, groups, ranking.seed)


def collect(ranking: Ranking[P], histogram: Histogram, near_cuts: np.ndarray) -> SortedRows:
    """Read the rows of the marked intervals and sort them by priority, then key, then position."""
    intervals = histograms.finder(histogram.edges, ranking.seed)
    parts = [NO_ROWS]
    if near_cuts.any():
        parts += ranking.stream.map(partial(_near_cuts, intervals, near_cuts, ranking.seed))
    # Parts come in any order; the sort below puts their rows in one that follows from the rows.
    code, key, position, group, interval = (np.concatenate(part) for part in zip(*parts, strict=True))
    sort = np.lexsort((position, key, code))
    sizes = histogram.sizes
    # The rank among all rows: rows in all earlier intervals, plus the place among the collected rows of this interval.
    rows_before = np.cumsum(sizes) - sizes
    collected_before = np.cumsum(np.where(near_cuts, sizes, 0)) - np.where(near_cuts, sizes, 0)
    rank = np.empty(len(sort), dtype=np.int64)
    rank[sort] = rows_before[interval[sort]] + np.arange(len(sort)) - collected_before[interval[sort]]
    priority = rank if ranking.order == "rank" else np.abs(2 * rank - (int(sizes.sum()) - 1))
    final = np.lexsort((position, key, priority))
    return SortedRows(position[final], group[final], code[final], priority[final])


def _near_cuts(
    intervals: IntervalFinder, near_cuts: np.ndarray, seed: int, batches: PartBatches, start: int
) -> NearRows:
    """Return the rows of a part that lie in the marked intervals."""
    parts = [NO_ROWS]
    for batch in batches(True):
        interval = intervals.find(batch)
        rows = np.flatnonzero(near_cuts[interval])
        assert batch.ids is not None
        keys = tables.keys(batch.ids.gather(rows), seed)
        parts.append((batch.code[rows], keys, rows + start, batch.group[rows], interval[rows]))
        start += len(batch.code)
    code, key, position, group, interval = (np.concatenate(part) for part in zip(*parts, strict=True))
    return code, key, position, group, interval


def order_statistics(
    ranking: Ranking[P], histogram: Histogram, ranks: Mapping[int, Sequence[int]]
) -> dict[tuple[int, int], float]:
    """Return the score at each of some ranks (from 0) of each group, by (group, rank)."""
    places = [(group, rank) for group, wanted in ranks.items() for rank in sorted(set(wanted))]
    columns = [group for group, _ in places]
    # Twice the counts, and targets between them: so the last row of a group has a cut too.
    targets = 2 * np.array([rank + 1 for _, rank in places]) - 1

    def find_cuts(histogram: Histogram) -> list[Cut]:
        return cuts(histogram, "rank", lambda so_far: 2 * so_far[:, columns], targets)

    histogram, place_cuts, near_cuts = narrow(ranking, histogram, find_cuts)
    rows = collect(ranking, histogram, near_cuts)
    _, high = priorities(histogram.sizes, "rank")
    result = {}
    for (group, rank), cut in zip(places, place_cuts, strict=True):
        before = int(histogram.counts[~near_cuts & (high < cut.low), group].sum())
        codes = rows.code[rows.group == group]
        result[group, rank] = float(histograms.scores_of(codes[rank - before : rank - before + 1])[0])
    return result


def _intervals_with_cuts(histogram: Histogram, order: Order, selection_cuts: Sequence[Cut]) -> np.ndarray:
    low, high = priorities(histogram.sizes, order)
    result = np.zeros(len(low), dtype=bool)
    for cut in selection_cuts:
        result |= (low <= cut.high) & (high >= cut.low) & np.isfinite(cut.low)
    return result & (histogram.sizes > 0)


def _few(histogram: Histogram, near_cuts: np.ndarray, sorted_rows: int) -> bool:
    # An interval of width 1 holds rows of equal score and equal id: it cannot be split, so it does not count.
    splittable = (int(i) for i in np.flatnonzero(near_cuts) if histogram.width(int(i)) > 1)
    return sum(int(histogram.sizes[i]) for i in splittable) <= sorted_rows


def _refined_edges(histogram: Histogram, near_cuts: np.ndarray, pieces: int) -> tuple[int, ...]:
    """Return edges that split the marked intervals into about ``pieces`` in all, and join the others."""
    edges: list[int] = [0]
    pieces_each = max(2, pieces // max(1, int(near_cuts.sum())))
    for i, edge in enumerate(histogram.edges):
        if near_cuts[i] or (i and near_cuts[i - 1]):
            edges.append(edge)
        if near_cuts[i]:
            edges += _split(edge, edge + histogram.width(i), pieces_each)
    return tuple(sorted(set(edges)))


def _split(start: int, stop: int, pieces: int) -> list[int]:
    """Cut [start, stop) evenly: between codes where it has several, else between the keys of its only code."""
    unit = SIDE if (stop >> 64) - (start >> 64) > 1 else 1
    first, last = -(-start // unit), stop // unit
    step = max(1, (last - first) // pieces)
    return [edge * unit for edge in range(first, last, step) if start < edge * unit < stop]
