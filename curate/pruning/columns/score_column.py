"""One score of all rows, as often as a rule needs it.

In: score files and the names of two columns. Out: totals, and streams of rows; no column is held whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.pruning.eligible import Eligible
from curate.pruning.ranking import histograms
from curate.pruning.ranking.histograms import BatchStream, CodedBatch, Histogram
from curate.tables import scored
from curate.tables.row_ranges import RowRange

NO_GROUP = "(none)"  # the group of a row without a label or cluster
# Turns rows with the score, the group and perhaps the id, and their position in the stream, into a batch.
BatchMaker = Callable[[pl.DataFrame, int], CodedBatch]
R = TypeVar("R")


@dataclass(frozen=True)
class ScoreFileRange:
    """A range of rows of a score file, or all its rows.

    ``number`` is the place of the range among all ranges. ``start`` is the position of its first row in the stream of
    all rows.
    """

    rows: RowRange
    number: int
    start: int = 0

    def __str__(self) -> str:
        """Return the path of the file, and which rows of it."""
        return str(self.rows)


@dataclass(frozen=True)
class ScoreValues:
    """The score ``by`` of all rows and their group (a value of ``grouping``; "": one group for all).

    ``groups`` are the numbers of the groups. ``low``, ``high``, ``mean`` and ``deviation`` are of the score.
    """

    by: str
    grouping: str
    groups: Mapping[str, int]
    low: float
    high: float
    mean: float
    deviation: float
    eligible: Eligible | None = None

    def frames(
        self, part: ScoreFileRange, identity: Sequence[str], others: Sequence[str] = ()
    ) -> Iterator[pl.DataFrame]:
        """Yield the score, the column of groups, and the named identity and other columns of a range."""
        return light(part.rows, (self.by, *others), self.grouping, identity, self.eligible)

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the scores (n,) of a frame."""
        return frame[self.by].cast(pl.Float64).to_numpy()

    def group(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the group numbers (n,) of a frame."""
        return group_numbers(frame, self.grouping, self.groups)


@dataclass(frozen=True)
class Ranked:
    """Makes batches that sort by ``sign`` * score."""

    values: ScoreValues
    sign: float

    def __call__(self, frame: pl.DataFrame, start: int) -> CodedBatch:
        """Make a batch."""
        ids = frame["id"] if "id" in frame.columns else None
        return CodedBatch(histograms.codes(self.sign * self.values.scores(frame)), self.values.group(frame), ids)


@dataclass(frozen=True)
class RangeReader:
    """Reads the batches that ``make`` makes of a range of a score file."""

    values: ScoreValues
    make: BatchMaker
    always_ids: bool

    def __call__(self, part: ScoreFileRange, with_ids: bool, /) -> Iterator[CodedBatch]:
        """Read a range of rows."""
        start = part.start
        for frame in self.values.frames(part, ("id",) if with_ids or self.always_ids else ()):
            yield self.make(frame, start)
            start += frame.height


@dataclass(frozen=True)
class ScoreColumn:
    """One score of all rows, its totals, and the engine that reads it.

    ``files`` are whole files, and ``ranges`` the same rows in ranges that workers read. ``histogram`` counts codes of
    ``sign`` * score. ``complexity`` (groups,) is there only where the balance needs it. ``sample`` holds scores from
    several files.
    """

    values: ScoreValues
    files: tuple[ScoreFileRange, ...]
    ranges: tuple[ScoreFileRange, ...]
    engine: Engine
    sign: float
    histogram: Histogram
    complexity: np.ndarray | None
    sample: np.ndarray

    @property
    def groups(self) -> Mapping[str, int]:
        """Return the number of each group."""
        return self.values.groups

    @property
    def sizes(self) -> np.ndarray:
        """Return the rows of each group, (groups,)."""
        return np.asarray(self.histogram.counts.sum(axis=0))

    @property
    def rows(self) -> int:
        """Return the number of all rows."""
        return int(self.sizes.sum())

    def map(self, function: Callable[[ScoreFileRange], R]) -> Iterator[R]:
        """Yield what an importable function returns of every range, in the order in which ranges are done."""
        return counted(self.engine.run(function, self.ranges), "parts of score files read", len(self.ranges))

    def map_files(self, function: Callable[[ScoreFileRange], R], what: str) -> Iterator[R]:
        """Yield what an importable function returns of every whole file, in the order in which files are done."""
        return counted(self.engine.run(function, self.files), what, len(self.files))

    def ranked(self, sign: float) -> BatchMaker:
        """Return what makes batches that sort by ``sign`` * score."""
        return Ranked(self.values, sign)

    def stream(self, make: BatchMaker, *, always_ids: bool = False) -> BatchStream[ScoreFileRange]:
        """Return all rows as a stream of the batches that ``make`` makes."""
        return BatchStream(RangeReader(self.values, make, always_ids), self.ranges, self.engine)


def light(
    rows: RowRange,
    columns: Sequence[str],
    grouping: str,
    identity: Sequence[str],
    eligible: Eligible | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the named columns and the column of groups, which may itself be an identity column.

    The first of the columns is the score. Rows that are not ``eligible`` are left out.
    """
    names = (*columns, grouping) if grouping else columns
    mask = None if eligible is None else eligible.mask(rows)
    start = 0
    for frame in scored.light_batches(rows, tuple(dict.fromkeys(names)), identity):
        # Types may differ between files.
        scored.check_numbers(frame, columns[0], rows.shard)
        start += frame.height
        kept = frame if mask is None else frame.filter(pl.Series(mask[start - frame.height : start]))
        if kept.height:
            yield kept


def group_names(frame: pl.DataFrame, grouping: str) -> pl.Series:
    """Return the name of the group of each row (n,); without ``grouping`` all are empty."""
    if not grouping:
        return pl.repeat("", frame.height, dtype=pl.String, eager=True)
    return frame[grouping].cast(pl.String).fill_null(NO_GROUP)


def group_numbers(frame: pl.DataFrame, grouping: str, groups: Mapping[str, int]) -> np.ndarray:
    """Return the number of the group of each row (n,); ``groups`` has the number of each name."""
    if not grouping:
        return np.zeros(frame.height, dtype=np.int64)
    names = group_names(frame, grouping)
    distinct = names.unique()
    numbers = pl.Series([groups[name] for name in distinct], dtype=pl.Int64)
    return names.replace_strict(distinct, numbers, return_dtype=pl.Int64).to_numpy()
