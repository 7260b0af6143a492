"""Count the rows of every group between edges on the axis of scores.

In: batches of scores as sortable codes. Out: a histogram for each group.
An edge is a 128-bit number: the code of a score, then the hash of an id. So an edge can also part rows of equal score.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.tables import batches as tables

# The size of one table of counts, groups x intervals: 2^21 cells of 8 bytes are 16 MB.
CELLS = 1 << 21
# No table has more intervals than this: 2^15 narrow a cut down 32,768-fold in a pass, and more do not save a pass.
INTERVALS = 1 << 15
SIDE = 1 << 64  # the number of codes, and the number of keys of one code
LARGEST = SIDE - 1  # code and key
SIGN_BIT = np.uint64(1 << 63)


@dataclass(frozen=True)
class CodedBatch:
    """Rows as codes (n,) uint64 and group numbers (n,); ``ids`` only where the reader asks for them."""

    code: np.ndarray
    group: np.ndarray
    ids: pl.Series | None = None


class StreamPart(Protocol):
    """A part of all rows, such as a range of a file. ``start`` is the position of its first row in the stream."""

    @property
    def start(self) -> int:
        """Return the position."""
        ...


P_contra = TypeVar("P_contra", bound=StreamPart, contravariant=True)
P = TypeVar("P", bound=StreamPart)
R = TypeVar("R")


class PartReader(Protocol[P_contra]):
    """Reads a part in batches, with ids if the second argument is true.

    Every call yields the same rows in the same order. Workers run it, so it must be possible to pickle it.
    """

    def __call__(self, part: P_contra, with_ids: bool, /) -> Iterator[CodedBatch]:
        """Read the part."""
        ...


# Reads the batches of the part that a function is to look at, with ids if the argument is true.
PartBatches = Callable[[bool], Iterator[CodedBatch]]


@dataclass(frozen=True)
class BatchStream(Generic[P]):
    """All rows, in parts that the engine reads; several parts may be read at a time."""

    read: PartReader[P]
    parts: Sequence[P]
    engine: Engine

    def map(self, function: Callable[[PartBatches, int], R]) -> Iterator[R]:
        """Yield what an importable function returns of every part, in the order in which the parts are done.

        The function is given the batches of the part, and the position of its first row.
        """
        results = self.engine.run(partial(_of_part, self.read, function), self.parts)
        return counted(results, "parts of score files read", len(self.parts))


def _of_part(read: PartReader[P], function: Callable[[PartBatches, int], R], part: P) -> R:
    return function(partial(read, part), part.start)


@dataclass(frozen=True)
class Histogram:
    """Rows of each group between edges, (intervals, groups).

    Interval i is [edges[i], edges[i + 1]); the first edge is 0, and the last interval is open.
    """

    edges: tuple[int, ...]
    counts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Return the rows of each interval, (intervals,)."""
        return np.asarray(self.counts.sum(axis=1))

    def width(self, i: int) -> int:
        """Return how many pairs of code and key lie in interval ``i``."""
        return (self.edges[i + 1] if i + 1 < len(self.edges) else SIDE * SIDE) - self.edges[i]


@dataclass(frozen=True)
class IntervalFinder:
    """The edges as two (intervals,) arrays of codes and keys; ``ties`` are the codes that an edge splits by key."""

    edge_codes: np.ndarray
    edge_keys: np.ndarray
    ties: np.ndarray
    seed: int

    def find(self, batch: CodedBatch) -> np.ndarray:
        """Return the interval of each row, (n,)."""
        interval = np.searchsorted(self.edge_codes, batch.code, side="right") - 1
        # Hashing ids is slow, so only the few rows whose code is split by an edge are hashed.
        if len(self.ties) and (tied := np.isin(batch.code, self.ties)).any():
            assert batch.ids is not None
            rows = np.flatnonzero(tied)
            keys = tables.keys(batch.ids.gather(rows), self.seed)
            codes = batch.code[rows]
            for code in np.unique(codes):
                equal = codes == code
                start = np.searchsorted(self.edge_codes, code, "left")
                stop = np.searchsorted(self.edge_codes, code, "right")
                place = np.searchsorted(self.edge_keys[start:stop], keys[equal], side="right")
                interval[rows[equal]] = start + place - 1
        return interval


def codes(scores: np.ndarray) -> np.ndarray:
    """Return whole numbers (n,) uint64 that sort as the scores (n,) do."""
    bits = (scores.astype(np.float64) + 0.0).view(np.uint64)  # adding 0.0 makes -0.0 equal to 0.0
    # The bits of positive floats sort upwards already; those of negative ones sort downwards, so they are inverted.
    return np.asarray(np.where(bits & SIGN_BIT, ~bits, bits | SIGN_BIT))


def scores_of(codes: np.ndarray) -> np.ndarray:
    """Return the scores (n,) whose codes these are."""
    return np.where(codes & SIGN_BIT, codes & ~SIGN_BIT, ~codes).astype(np.uint64).view(np.float64)


def finder(edges: Sequence[int], seed: int) -> IntervalFinder:
    """Return the finder of intervals between these edges."""
    edge_codes = np.array([edge >> 64 for edge in edges], dtype=np.uint64)
    edge_keys = np.array([edge % SIDE for edge in edges], dtype=np.uint64)
    return IntervalFinder(edge_codes, edge_keys, np.unique(edge_codes[edge_keys > 0]), seed)


def most_intervals(groups: int) -> int:
    """Return the largest number of intervals in a table of counts of this many groups."""
    # With fewer than two, splitting an interval would not make it narrower.
    return min(INTERVALS, max(2, CELLS // groups))


def first_edges(sample: np.ndarray, intervals: int) -> tuple[int, ...]:
    """Return edges at quantiles of sampled codes, so that about as many rows lie between each two.

    At most about ``intervals`` edges are returned, and always the edge 0.
    """
    distinct = np.unique(sample)
    distinct = distinct[:: max(1, -(-len(distinct) // intervals))]
    return tuple(sorted({0, *(int(code) << 64 for code in distinct)}))


def count(stream: BatchStream[P], edges: tuple[int, ...], groups: int, seed: int) -> Histogram:
    """Count the rows of each group between edges; one pass over the rows."""
    counts = np.zeros((len(edges), groups), dtype=np.int64)
    for cells, rows in stream.map(partial(_count_part, finder(edges, seed), groups)):
        counts.reshape(-1)[cells] += rows
    return Histogram(edges, counts)


def _count_part(
    intervals: IntervalFinder, groups: int, batches: PartBatches, _start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells (interval * groups + group) of which a part has rows, and how many, (m,) each."""
    counts = np.zeros((len(intervals.edge_codes), groups), dtype=np.int64)
    for batch in batches(bool(len(intervals.ties))):
        np.add.at(counts, (intervals.find(batch), batch.group), 1)
    return filled_cells(counts)


def filled_cells(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the cells of a table that are not 0, in the order of rows, and what they hold."""
    cells = np.flatnonzero(counts)
    return cells, counts.reshape(-1)[cells]


def first_count(stream: BatchStream[P], sample: np.ndarray, groups: int, seed: int) -> Histogram:
    """Count the rows of each group between edges at quantiles of sampled codes; one pass over the rows."""
    return count(stream, first_edges(sample, most_intervals(groups)), groups, seed)


@dataclass
class GrowingCounts:
    """Rows between edges for groups that turn up one after the other.

    When the table would exceed ``CELLS``, neighbouring intervals are joined: ``level`` times so far. ``counts`` is
    (intervals, room for groups).
    """

    edges: tuple[int, ...]
    level: int = field(default=0, init=False)
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Make room for one group."""
        self.counts = np.zeros((len(self.edges), 1), dtype=np.int64)

    def make_room(self, groups: int) -> None:
        """Make room for so many groups."""
        if groups > self.counts.shape[1]:
            room = max(groups, 2 * self.counts.shape[1])
            while len(self.counts) * room > CELLS and len(self.counts) > 2:
                self.join(self.level + 1)
            self.counts = np.pad(self.counts, ((0, 0), (0, room - self.counts.shape[1])))

    def join(self, level: int) -> None:
        """Join intervals in pairs until they were joined ``level`` times."""
        while self.level < level:
            self.counts = np.add.reduceat(self.counts, np.arange(0, len(self.counts), 2), axis=0)
            self.level += 1

    def add(self, interval: np.ndarray, group: np.ndarray, rows: np.ndarray | int, level: int = 0) -> None:
        """Add rows in intervals (m,) that were joined ``level`` times, not more often than these."""
        np.add.at(self.counts, (interval >> (self.level - level), group), rows)

    def histogram(self, groups: np.ndarray) -> Histogram:
        """Return the counts of these groups, in this order."""
        return Histogram(self.edges[:: 1 << self.level], self.counts[:, groups])
