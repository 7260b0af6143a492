"""The first so many rows of each of many groups, exactly, from a table of groups x cells: where each group's cut lies.

Rows are ordered by (code, key): see ``curate.pruning.cutoffs``, which finds cuts that all groups share. Here each
group has a bracket of codes that its cut lies in, cut into cells that are counted; the cell with the cut is the next
bracket. A bracket of one code is followed by brackets of keys. When few rows are left in the brackets they are sorted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate.pruning import cutoffs
from curate.pruning.cutoffs import Batch, Stream
from curate.tables import batches

TOP = (1 << 64) - 1


@dataclass(frozen=True)
class Ends:
    """The last row that is taken of each of g groups: code and key (uint64) and position; position -1: none is."""

    code: np.ndarray
    key: np.ndarray
    position: np.ndarray
    seed: int

    def of(self, batch: Batch, at: int) -> np.ndarray:
        """Say of (n,) rows that start at position ``at`` whether they are taken; batches have ids."""
        end = self.code[batch.group]
        found = batch.code < end
        tied = np.flatnonzero(batch.code == end)
        assert batch.ids is not None
        keys, group = batches.keys(batch.ids.gather(tied), self.seed), batch.group[tied]
        last = self.key[group]
        found[tied] = (keys < last) | ((keys == last) & (tied + at <= self.position[group]))
        return np.asarray(found)


@dataclass(frozen=True)
class Brackets:
    """Inclusive ranges [low, high] (g,) uint64 of codes, or of the keys of one ``code`` where ``keyed``.

    ``before``: rows of the group that precede its range; ``inside``: in it.
    """

    low: np.ndarray
    high: np.ndarray
    keyed: np.ndarray
    code: np.ndarray
    before: np.ndarray
    inside: np.ndarray


def firsts(
    stream: Stream, quotas: np.ndarray, sizes: np.ndarray, span: tuple[int, int], *, seed: int, limit: int
) -> Ends:
    """Find where the first ``quotas`` (g,) rows of groups of ``sizes`` (g,) end; codes lie in ``span``, inclusive."""
    g = len(quotas)
    open_ = (quotas > 0) & (quotas < sizes)
    now = Brackets(
        np.full(g, span[0], np.uint64), np.full(g, span[1], np.uint64), np.zeros(g, bool), np.zeros(g, np.uint64),
        np.zeros(g, np.int64), np.where(open_, sizes, 0),
    )  # fmt: skip
    while True:
        now = _into_keys(now)
        wide = now.high > now.low
        if int(now.inside[wide].sum()) <= limit:
            break
        now = _narrowed(stream, now, quotas, seed)
    code, key = np.where(open_, now.code, np.where(quotas > 0, np.uint64(TOP), np.uint64(0))), np.zeros(g, np.uint64)
    key[quotas >= np.maximum(sizes, 1)] = TOP
    position = np.where(quotas > 0, np.iinfo(np.int64).max, -1)
    _sorted(stream, now, quotas, seed, (code, key, position))
    return Ends(code, key, position, seed)


def _into_keys(now: Brackets) -> Brackets:
    """Let brackets of one code become brackets of its keys."""
    single = ~now.keyed & (now.low == now.high)
    return Brackets(
        np.where(single, np.uint64(0), now.low), np.where(single, np.uint64(TOP), now.high), now.keyed | single,
        np.where(single, now.low, now.code), now.before, now.inside,
    )  # fmt: skip


def _narrowed(stream: Stream, now: Brackets, quotas: np.ndarray, seed: int) -> Brackets:
    """Count cells of every bracket, and go into the one with the cut."""
    g = len(quotas)
    cells = min(cutoffs.INTERVALS, max(2, cutoffs.CELLS // g))
    step = (now.high - now.low) // np.uint64(cells) + np.uint64(1)
    counts = np.zeros((g, cells), dtype=np.int64)
    for group, place, *_ in _inside(stream, now, seed):
        np.add.at(counts, (group, ((place - now.low[group]) // step[group]).astype(np.int64)), 1)
    sums = now.before[:, None] + counts.cumsum(axis=1)
    cell = np.minimum((sums < quotas[:, None]).sum(axis=1), cells - 1)
    inside = counts[np.arange(g), cell]
    low = now.low + cell.astype(np.uint64) * step
    high = np.where(now.high - low < step, now.high, low + (step - np.uint64(1)))
    live = now.inside > 0
    return Brackets(
        np.where(live, low, now.low), np.where(live, high, now.high), now.keyed, now.code,
        np.where(live, sums[np.arange(g), cell] - inside, now.before), np.where(live, inside, 0),
    )  # fmt: skip


def _inside(
    stream: Stream, now: Brackets, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield group, place in the bracket, code and position of the rows in brackets that still have rows."""
    at = 0
    live = now.inside > 0
    for batch in stream(bool(now.keyed.any())):
        group, place = batch.group, batch.code
        keyed = now.keyed[group]
        mine = live[group] & np.where(keyed, place == now.code[group], True)
        if (tied := np.flatnonzero(keyed & mine)).size:
            assert batch.ids is not None
            place = place.copy()
            place[tied] = batches.keys(batch.ids.gather(tied), seed)
        mine &= (place >= now.low[group]) & (place <= now.high[group])
        rows = np.flatnonzero(mine)
        yield group[rows], place[rows], batch.code[rows], rows + at
        at += len(batch.code)


def _sorted(
    stream: Stream, now: Brackets, quotas: np.ndarray, seed: int, found: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Read the rows that are left in the brackets, sort them, and set the last one taken of each group."""
    at, live = 0, now.inside > 0
    parts: list[tuple[np.ndarray, ...]] = [
        (np.zeros(0, np.int64), *(np.zeros(0, np.uint64),) * 2, np.zeros(0, np.int64))
    ]
    for batch in stream(True) if live.any() else ():
        assert batch.ids is not None
        code = np.where(now.keyed[batch.group], now.code[batch.group], batch.code)
        near = live[batch.group] & (code == batch.code)
        near &= now.keyed[batch.group] | ((code >= now.low[batch.group]) & (code <= now.high[batch.group]))
        rows = np.flatnonzero(near)
        keys, group = batches.keys(batch.ids.gather(rows), seed), batch.group[rows]
        good = ~now.keyed[group] | ((keys >= now.low[group]) & (keys <= now.high[group]))
        parts.append((group[good], batch.code[rows][good], keys[good], (rows + at)[good]))
        at += len(batch.code)
    group, code, key, position = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((position, key, code, group))
    starts = np.searchsorted(group[order], np.arange(len(quotas)))
    which = np.flatnonzero(live)
    last = order[starts[which] + (quotas - now.before)[which] - 1]
    for whole, part in zip(found, (code, key, position), strict=True):
        whole[which] = part[last]
