"""Which rows a rule keeps, when only counts and the rows near the cuts are in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.pruning import cutoffs
from curate.pruning.cutoffs import Batch, Counted, Cut, Order, Place, Stream

DROPPED, KEPT, BY_FLOOR = 0, 1, 2


@dataclass(frozen=True)
class Verdicts:
    """A verdict for every (interval, group), and of their own for rows near the cuts, by position in the stream.

    ``kept``: how many rows of each group.
    """

    place: Place
    table: np.ndarray
    position: np.ndarray
    own: np.ndarray
    kept: np.ndarray

    def of(self, batch: Batch, at: int) -> np.ndarray:
        """Return the (n,) verdicts of the rows that start at position ``at``."""
        found: np.ndarray = self.table[self.place.find(batch), batch.group]
        start, stop = np.searchsorted(self.position, (at, at + len(batch.code)))
        found[self.position[start:stop] - at] = self.own[start:stop]
        return found


def decide(
    stream: Stream,
    counted: Counted,
    *,
    order: Order,
    target: int,
    quotas: Sequence[int] | None,
    seed: int,
    limit: int,
) -> Verdicts:
    """Keep the first ``target`` rows; with ``quotas`` the first of each group, and of the rest as many as make target.

    ``counted`` is a first count of the stream. "By floor" are rows that without quotas would not be kept.
    """
    groups = counted.counts.shape[1]
    secured = np.array(quotas if quotas is not None else [0] * groups, dtype=np.int64)
    rest = max(0, target - int(secured.sum()))
    targets = np.array([*secured, target, rest])

    def reached(sofar: np.ndarray) -> np.ndarray:
        unsecured = np.maximum(0, sofar - secured).sum(axis=1)
        return np.column_stack([sofar, sofar.sum(axis=1), unsecured])

    def find(now: Counted) -> list[Cut]:
        return cutoffs.cuts(now, order, reached, targets)

    counted, found, chosen = cutoffs.narrow(stream, counted, order, find, seed=seed, limit=limit)
    rows = cutoffs.collect(stream, counted, chosen, order, seed)
    _, high = cutoffs.spread(counted.sizes, order)
    counts = np.where(chosen[:, None], 0, counted.counts)
    by_quota = high[:, None] < np.array([cut.low for cut in found[:groups]])  # intervals secured, by group
    own_quota = _first(rows.group, secured - np.where(by_quota, counts, 0).sum(axis=0))
    plain = high < found[groups].low
    own_plain = np.arange(len(rows.group)) < target - counts[plain].sum()
    by_rest = (high < found[groups + 1].low)[:, None] & ~by_quota
    own_rest = np.zeros(len(rows.group), dtype=bool)
    own_rest[np.flatnonzero(~own_quota)[: max(0, rest - int(counts[by_rest].sum()))]] = True
    table = _verdict(by_quota | by_rest, plain[:, None])
    own = _verdict(own_quota | own_rest, own_plain)
    sort = np.argsort(rows.position)
    kept = np.where(table != DROPPED, counts, 0).sum(axis=0)
    kept += np.bincount(rows.group[own != DROPPED], minlength=groups)
    return Verdicts(cutoffs.place(counted.edges, seed), table, rows.position[sort], own[sort], kept)


def _first(group: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Mark the first ``each[g]`` of the rows of every group g, in order."""
    marked = np.zeros(len(group), dtype=bool)
    for code in np.unique(group):
        marked[np.flatnonzero(group == code)[: max(0, int(each[code]))]] = True
    return marked


def _verdict(kept: np.ndarray, plain: np.ndarray) -> np.ndarray:
    return np.where(kept, np.where(plain, KEPT, BY_FLOOR), DROPPED).astype(np.uint8)
