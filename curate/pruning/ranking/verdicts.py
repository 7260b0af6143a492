"""Decide for every row whether a selection keeps it, with only counts and the rows near the cuts in memory.

In: a ranking, a histogram, a target and the least number of rows of each group. Out: verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.pruning.ranking import cutoffs, histograms
from curate.pruning.ranking.cutoffs import Cut, Ranking
from curate.pruning.ranking.histograms import CodedBatch, Histogram, IntervalFinder, P

DROPPED, KEPT, KEPT_BY_FLOOR = 0, 1, 2


@dataclass(frozen=True)
class Verdicts:
    """A verdict for each interval and group, and single verdicts for the rows near the cuts.

    ``table`` is (intervals, groups) uint8. ``positions`` (m,) are those of the rows near the cuts, in the stream,
    rising; ``single`` (m,) are their verdicts. ``kept_rows`` (groups,) counts what is kept.
    """

    intervals: IntervalFinder
    table: np.ndarray
    positions: np.ndarray
    single: np.ndarray
    kept_rows: np.ndarray

    def of(self, batch: CodedBatch, start: int) -> np.ndarray:
        """Return the verdicts (n,) of rows that begin at position ``start`` of the stream."""
        verdict: np.ndarray = self.table[self.intervals.find(batch), batch.group]
        first, last = np.searchsorted(self.positions, (start, start + len(batch.code)))
        verdict[self.positions[first:last] - start] = self.single[first:last]
        return verdict


def decide(ranking: Ranking[P], histogram: Histogram, *, target: int, quotas: Sequence[int] | None = None) -> Verdicts:
    """Keep the first ``target`` rows, but first of all the first ``quotas`` rows of each group.

    The rows that quotas secure count towards the target. Rows that are kept only because of their quota have the
    verdict ``KEPT_BY_FLOOR``. ``histogram`` is a first count of the stream.
    """
    groups = histogram.counts.shape[1]
    secured = np.array(quotas if quotas is not None else [0] * groups, dtype=np.int64)
    rest = max(0, target - int(secured.sum()))
    # One selection for each group, one of the first ``target`` rows, and one of the rows that no quota secures.
    targets = np.array([*secured, target, rest])

    def rows_taken(so_far: np.ndarray) -> np.ndarray:
        unsecured = np.maximum(0, so_far - secured).sum(axis=1)
        return np.column_stack([so_far, so_far.sum(axis=1), unsecured])

    def find_cuts(histogram: Histogram) -> list[Cut]:
        return cutoffs.cuts(histogram, ranking.order, rows_taken, targets)

    histogram, selection_cuts, near_cuts = cutoffs.narrow(ranking, histogram, find_cuts)
    rows = cutoffs.collect(ranking, histogram, near_cuts)
    _, high = cutoffs.priorities(histogram.sizes, ranking.order)
    # Rows near the cuts are decided one by one, so they do not count with their intervals.
    counts = np.where(near_cuts[:, None], 0, histogram.counts)
    # Each selection takes whole intervals, and what is missing to its target from the sorted rows near its cut.
    # An interval is taken whole by a selection if its last row comes before the selection's cut.
    by_quota = high[:, None] < np.array([cut.low for cut in selection_cuts[:groups]])
    single_by_quota = _first_of_groups(rows.group, secured - np.where(by_quota, counts, 0).sum(axis=0))
    plain = high < selection_cuts[groups].low
    single_plain = np.arange(len(rows.group)) < target - counts[plain].sum()
    by_rest = (high < selection_cuts[groups + 1].low)[:, None] & ~by_quota
    single_by_rest = np.zeros(len(rows.group), dtype=bool)
    single_by_rest[np.flatnonzero(~single_by_quota)[: max(0, rest - int(counts[by_rest].sum()))]] = True
    table = _verdict(by_quota | by_rest, plain[:, None])
    single = _verdict(single_by_quota | single_by_rest, single_plain)
    sort = np.argsort(rows.position)
    kept_rows = np.where(table != DROPPED, counts, 0).sum(axis=0)
    kept_rows += np.bincount(rows.group[single != DROPPED], minlength=groups)
    intervals = histograms.finder(histogram.edges, ranking.seed)
    return Verdicts(intervals, table, rows.position[sort], single[sort], kept_rows)


def _first_of_groups(group: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mark the first ``rows[g]`` members of every group g, in order."""
    marked = np.zeros(len(group), dtype=bool)
    for code in np.unique(group):
        marked[np.flatnonzero(group == code)[: max(0, int(rows[code]))]] = True
    return marked


def _verdict(kept: np.ndarray, plain: np.ndarray) -> np.ndarray:
    return np.where(kept, np.where(plain, KEPT, KEPT_BY_FLOOR), DROPPED).astype(np.uint8)
