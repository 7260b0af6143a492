"""Read one score of every row for the first time: count, sum and check it.

In: score files and the names of two columns. Out: the column with its totals.
The engine reads ranges of rows, a task each. What a task returns does not grow with its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError
from curate.progress import counted
from curate.pruning import balance, exact_sums
from curate.pruning.columns import score_column
from curate.pruning.columns.score_column import ScoreColumn, ScoreFileRange, ScoreValues
from curate.pruning.eligible import Eligible
from curate.pruning.exact_sums import Moments
from curate.pruning.ranking import histograms
from curate.pruning.ranking.histograms import CodedBatch, GrowingCounts
from curate.tables import batches as tables
from curate.tables import scored
from curate.tables.row_ranges import RowRange, row_ranges
from curate.tables.shards import Shard

SAMPLED_FILES = 16  # the first rows of this many files say where the first edges of the histogram lie


@dataclass
class _RangeTotals:
    """What the first reading sums up of the range of rows ``number``.

    ``groups`` are the groups of the range in the order of their first rows. ``cells`` and ``counts`` are the rows of
    (interval * groups + group), where intervals were joined ``level`` times.
    """

    number: int
    groups: dict[str, int] = field(default_factory=dict)
    complexities: dict[str, float] = field(default_factory=dict)
    moments: Moments = field(default_factory=Moments)
    low: float = np.inf
    high: float = -np.inf
    rows: int = 0
    level: int = 0
    cells: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def add(self, score: np.ndarray) -> None:
        exact_sums.add(self.moments, score)
        self.low = min(self.low, float(score.min(initial=np.inf)))
        self.high = max(self.high, float(score.max(initial=-np.inf)))
        self.rows += len(score)


@dataclass(frozen=True)
class _FirstReading:
    """How files are read for the first time: the score, the column of groups, and the edges of the histogram."""

    by: str
    grouping: str
    sign: float
    complexity: bool
    edges: tuple[int, ...]
    eligible: Eligible | None

    def __call__(self, part: ScoreFileRange) -> _RangeTotals:
        """Read one range of rows."""
        totals, table, shard = _RangeTotals(part.number), GrowingCounts(self.edges), part.rows.shard
        intervals = histograms.finder(self.edges, 0)
        columns = (self.by, balance.COMPLEXITY) if self.complexity else (self.by,)
        for frame in score_column.light(part.rows, columns, self.grouping, (), self.eligible):
            _check_finite(frame, self.by, part.rows, self.eligible)
            for name in score_column.group_names(frame, self.grouping).unique(maintain_order=True):
                totals.groups.setdefault(name, len(totals.groups))
            if self.complexity:
                _note_complexities(frame, self.grouping, totals.complexities, shard)
            score = frame[self.by].cast(pl.Float64).to_numpy()
            totals.add(score)
            group = score_column.group_numbers(frame, self.grouping, totals.groups)
            table.make_room(len(totals.groups))
            table.add(intervals.find(CodedBatch(histograms.codes(self.sign * score), group)), group, 1)
        totals.level = table.level
        totals.cells, totals.counts = histograms.filled_cells(table.counts[:, : max(1, len(totals.groups))])
        return totals


def look(
    shards: Sequence[Shard],
    by: str,
    grouping: str,
    *,
    sign: float,
    engine: Engine,
    complexity: bool = False,
    eligible: Eligible | None = None,
) -> ScoreColumn:
    """Read one score of every row for the first time. Rows that are not ``eligible`` have no part in it.

    Raises:
        SchemaError: if a score is not finite (the row is named), if there are no rows, or if a cluster has two
            complexities.
    """
    # Files may be sorted by score, so the sample takes some from everywhere.
    sampled = shards[:: max(1, len(shards) // SAMPLED_FILES)][:SAMPLED_FILES]
    sample = np.concatenate([_first_scores(shard, by, eligible) for shard in sampled])
    edges = histograms.first_edges(histograms.codes(sign * sample), histograms.INTERVALS)
    cut = [rows for shard in shards for rows in row_ranges(shard)]
    ranges = [ScoreFileRange(rows, number) for number, rows in enumerate(cut)]
    sums, table, counts = _RangeTotals(0), GrowingCounts(edges), np.zeros(len(ranges), dtype=np.int64)
    # Of each group the range and the place in it where it comes first: groups are numbered in the order of the rows.
    firsts: dict[str, tuple[int, int]] = {}
    reading = _FirstReading(by, grouping, sign, complexity, edges, eligible)
    for part in counted(engine.run(reading, ranges), "parts of score files read", len(ranges)):
        for place, name in enumerate(part.groups):
            sums.groups.setdefault(name, len(sums.groups))
            firsts[name] = min(firsts.get(name, (part.number, place)), (part.number, place))
        for name, value in part.complexities.items():
            _note_complexity(name, value, value, sums.complexities, cut[part.number].shard)
        table.make_room(len(sums.groups))
        table.join(part.level)
        interval, group = np.divmod(part.cells, max(1, len(part.groups)))
        numbers = np.array([sums.groups[name] for name in part.groups] or [0])
        table.add(interval, numbers[group], part.counts, part.level)
        exact_sums.merge(sums.moments, part.moments)
        sums.low, sums.high, counts[part.number] = min(sums.low, part.low), max(sums.high, part.high), part.rows
    total = int(counts.sum())
    if not total:
        raise SchemaError(f"{shards[0].path} and the other score files have no rows. Score data that has rows")
    names = sorted(firsts, key=firsts.__getitem__)
    mean, deviation = exact_sums.result(sums.moments, total)
    starts = (np.cumsum(counts) - counts).tolist()
    placed = [replace(part, start=start) for part, start in zip(ranges, starts, strict=True)]
    # A file begins where its first range does.
    begins = [part for part in placed if part.rows.first == 0]
    return ScoreColumn(
        values=ScoreValues(
            by, grouping, {n: i for i, n in enumerate(names)}, sums.low, sums.high, mean, deviation, eligible
        ),
        files=tuple(
            ScoreFileRange(RowRange(part.rows.shard), number, part.start) for number, part in enumerate(begins)
        ),
        ranges=tuple(placed),
        engine=engine,
        sign=sign,
        histogram=table.histogram(np.array([sums.groups[name] for name in names])),
        complexity=np.array([sums.complexities[name] for name in names]) if complexity else None,
        sample=sample,
    )


def _note_complexities(frame: pl.DataFrame, grouping: str, complexities: dict[str, float], shard: Shard) -> None:
    """Note the complexity of each cluster; all its rows must agree."""
    value = pl.col(balance.COMPLEXITY).cast(pl.Float64)
    frame = frame.select(score_column.group_names(frame, grouping).alias("name"), value.alias("value"))
    extremes = frame.group_by("name").agg(pl.col("value").min().alias("low"), pl.col("value").max().alias("high"))
    for name, low, high in extremes.iter_rows():
        _note_complexity(name, low, high, complexities, shard)


def _note_complexity(
    name: str, low: float | None, high: float | None, complexities: dict[str, float], shard: Shard
) -> None:
    """Note the complexity of a cluster, the lowest and the highest of some rows, which must agree."""
    if low is None or not (low == high == complexities.setdefault(name, low)):
        raise SchemaError(
            f"{shard.path}: {balance.COMPLEXITY} differs within cluster {name!r} ({low} and {high}, "
            f"{complexities.get(name)} before). It must be the complexity of the cluster: score again with "
            "--scorer density"
        )


def _first_scores(shard: Shard, by: str, eligible: Eligible | None) -> np.ndarray:
    # The whole first range is passed over only where none of its rows is eligible.
    frames = score_column.light(RowRange(shard), (by,), "", (), eligible)
    empty = pl.DataFrame(schema={by: pl.Float64})
    return next((frame for frame in frames if frame.height), empty)[by].cast(pl.Float64).to_numpy()


def _check_finite(frame: pl.DataFrame, by: str, rows: RowRange, eligible: Eligible | None) -> None:
    # These batches have no ids. Only where a score is bad, the rows are read again with ids, to name the row.
    if not tables.finite(frame[by]).all():
        for batch in score_column.light(rows if eligible else RowRange(rows.shard), (by,), "", ("id",), eligible):
            scored.check_finite(batch, by, rows.shard)
