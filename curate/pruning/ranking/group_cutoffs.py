"""Find where the first rows of each of many groups end, exactly and in bounded memory.

In: a ranking and the number of rows to take of each group. Out: the last row that is taken of each group.
`cutoffs` finds cuts that all groups share. Here each group has its own: a bracket of codes in which its cut lies is
divided into cells, the rows of each cell are counted, and the cell with the cut is the next bracket. A bracket of one
code is followed by brackets of its keys. When few rows remain in all brackets, they are sorted.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from curate.pruning.ranking import histograms
from curate.pruning.ranking.cutoffs import Ranking
from curate.pruning.ranking.histograms import LARGEST, CodedBatch, P, PartBatches
from curate.tables import batches as tables

# Groups, codes, keys and positions of rows, (m,) each.
BracketRows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
NO_ROWS: BracketRows = (np.zeros(0, np.int64), *(np.zeros(0, np.uint64),) * 2, np.zeros(0, np.int64))


@dataclass(frozen=True)
class GroupEnds:
    """The last row taken of each of g groups: its code, key and position, (g,) each; position -1 if none is taken."""

    code: np.ndarray
    key: np.ndarray
    position: np.ndarray
    seed: int

    def of(self, batch: CodedBatch, start: int) -> np.ndarray:
        """Return a bool (n,) that marks the rows taken; the batch begins at position ``start`` and has ids."""
        end = self.code[batch.group]
        taken = batch.code < end
        tied = np.flatnonzero(batch.code == end)
        assert batch.ids is not None
        keys, group = tables.keys(batch.ids.gather(tied), self.seed), batch.group[tied]
        last = self.key[group]
        taken[tied] = (keys < last) | ((keys == last) & (tied + start <= self.position[group]))
        return np.asarray(taken)


@dataclass(frozen=True)
class Brackets:
    """Inclusive ranges [low, high], (g,) uint64, of codes; where ``keyed``, of the keys of the one code ``code``.

    ``before`` and ``inside`` (g,) are the rows of the group that come before its range, and that lie in it.
    """

    low: np.ndarray
    high: np.ndarray
    keyed: np.ndarray
    code: np.ndarray
    before: np.ndarray
    inside: np.ndarray

    @property
    def live(self) -> np.ndarray:
        """Return a bool (g,) that marks the groups whose cut is still to be found."""
        return np.asarray(self.inside > 0)


def group_ends(ranking: Ranking[P], quotas: np.ndarray, sizes: np.ndarray, span: tuple[int, int]) -> GroupEnds:
    """Return where the first ``quotas`` (g,) rows of groups of ``sizes`` (g,) rows end.

    All codes lie in ``span``, both ends included.
    """
    g = len(quotas)
    unknown = (quotas > 0) & (quotas < sizes)
    brackets = Brackets(
        low=np.full(g, span[0], np.uint64),
        high=np.full(g, span[1], np.uint64),
        keyed=np.zeros(g, bool),
        code=np.zeros(g, np.uint64),
        before=np.zeros(g, np.int64),
        inside=np.where(unknown, sizes, 0),
    )
    while True:
        brackets = _into_keys(brackets)
        wide = brackets.high > brackets.low
        if int(brackets.inside[wide].sum()) <= ranking.sorted_rows:
            break
        brackets = _narrowed(ranking, brackets, quotas)
    # A group that is taken wholly ends after every row, and one of which nothing is taken before every row.
    ends = GroupEnds(
        code=np.where(unknown, brackets.code, np.where(quotas > 0, np.uint64(LARGEST), np.uint64(0))),
        key=np.where(quotas >= np.maximum(sizes, 1), np.uint64(LARGEST), np.uint64(0)),
        position=np.where(quotas > 0, np.iinfo(np.int64).max, -1),
        seed=ranking.seed,
    )
    _set_last_rows(ranking, brackets, quotas, ends)
    return ends


def _into_keys(brackets: Brackets) -> Brackets:
    """Turn brackets of one code into brackets of its keys."""
    single = ~brackets.keyed & (brackets.low == brackets.high)
    return replace(
        brackets,
        low=np.where(single, np.uint64(0), brackets.low),
        high=np.where(single, np.uint64(LARGEST), brackets.high),
        keyed=brackets.keyed | single,
        code=np.where(single, brackets.low, brackets.code),
    )


def _narrowed(ranking: Ranking[P], brackets: Brackets, quotas: np.ndarray) -> Brackets:
    """Count the cells of every bracket, and return the cells with the cuts as the next brackets."""
    g = len(quotas)
    cells = histograms.most_intervals(g)
    # Rounded up without overflow: a bracket may span all 64 bits.
    step = (brackets.high - brackets.low) // np.uint64(cells) + np.uint64(1)
    counts = np.zeros((g, cells), dtype=np.int64)
    for positions, rows in ranking.stream.map(partial(_count_cells, brackets, ranking.seed, step, cells)):
        counts.reshape(-1)[positions] += rows
    sums = brackets.before[:, None] + counts.cumsum(axis=1)
    # The cut of a group lies in the first cell at whose end its quota is reached.
    cell = np.minimum((sums < quotas[:, None]).sum(axis=1), cells - 1)
    inside = counts[np.arange(g), cell]
    low = brackets.low + cell.astype(np.uint64) * step
    # Written so that nothing exceeds 64 bits where the last cell is not whole.
    high = np.where(brackets.high - low < step, brackets.high, low + (step - np.uint64(1)))
    live = brackets.live
    return replace(
        brackets,
        low=np.where(live, low, brackets.low),
        high=np.where(live, high, brackets.high),
        before=np.where(live, sums[np.arange(g), cell] - inside, brackets.before),
        inside=np.where(live, inside, 0),
    )


def _count_cells(
    brackets: Brackets, seed: int, step: np.ndarray, cells: int, batches: PartBatches, _start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells (group * cells + cell) of which a part has rows in live brackets, and how many, (m,) each."""
    counts = np.zeros((len(brackets.low), cells), dtype=np.int64)
    for batch in batches(bool(brackets.keyed.any())):
        group, place = batch.group, batch.code
        keyed = brackets.keyed[group]
        inside = brackets.live[group] & np.where(keyed, place == brackets.code[group], True)
        if (tied := np.flatnonzero(keyed & inside)).size:
            assert batch.ids is not None
            place = place.copy()
            place[tied] = tables.keys(batch.ids.gather(tied), seed)
        inside &= (place >= brackets.low[group]) & (place <= brackets.high[group])
        group, place = group[inside], place[inside]
        np.add.at(counts, (group, ((place - brackets.low[group]) // step[group]).astype(np.int64)), 1)
    return histograms.filled_cells(counts)


def _set_last_rows(ranking: Ranking[P], brackets: Brackets, quotas: np.ndarray, ends: GroupEnds) -> None:
    """Read and sort the rows that remain in live brackets, and write each group's last row into ``ends``."""
    live = brackets.live
    parts = [NO_ROWS]
    if live.any():
        parts += ranking.stream.map(partial(_rows_inside, brackets, ranking.seed))
    group, code, key, position = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((position, key, code, group))
    starts = np.searchsorted(group[order], np.arange(len(quotas)))
    which = np.flatnonzero(live)
    last = order[starts[which] + (quotas - brackets.before)[which] - 1]
    for column, values in zip((ends.code, ends.key, ends.position), (code, key, position), strict=True):
        column[which] = values[last]


def _rows_inside(brackets: Brackets, seed: int, batches: PartBatches, start: int) -> BracketRows:
    """Return the rows of a part that lie in live brackets."""
    live, parts = brackets.live, [NO_ROWS]
    for batch in batches(True):
        assert batch.ids is not None
        keyed, low, high = (side[batch.group] for side in (brackets.keyed, brackets.low, brackets.high))
        code = np.where(keyed, brackets.code[batch.group], batch.code)
        # First without keys, since hashing ids is slow: the rows whose code can be the right one.
        rows = np.flatnonzero(live[batch.group] & (code == batch.code) & (keyed | ((code >= low) & (code <= high))))
        keys, group = tables.keys(batch.ids.gather(rows), seed), batch.group[rows]
        inside = ~keyed[rows] | ((keys >= low[rows]) & (keys <= high[rows]))
        parts.append((group[inside], batch.code[rows][inside], keys[inside], (rows + start)[inside]))
        start += len(batch.code)
    group, code, key, position = (np.concatenate(part) for part in zip(*parts, strict=True))
    return group, code, key, position
