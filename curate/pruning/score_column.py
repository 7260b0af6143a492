"""Read one score of every row, with the row's group, as often as a rule needs it.

In: score files and the names of two columns. Out: a histogram, totals, and streams of rows; no column is held whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.progress import counted
from curate.pruning import balance, exact_sums
from curate.pruning.ranking import histograms
from curate.pruning.ranking.histograms import BatchStream, CodedBatch, Histogram
from curate.tables import batches as tables
from curate.tables import scored
from curate.tables.shards import Shard

SAMPLED_FILES = 16  # the first rows of this many files say where the first edges of the histogram lie
NO_GROUP = "(none)"  # the group of a row without a label or cluster
# Turns rows with the score, the group and perhaps the id, and their position in the stream, into a batch.
BatchMaker = Callable[[pl.DataFrame, int], CodedBatch]


@dataclass(frozen=True)
class ScoreColumn:
    """The score ``by`` of all rows, their group (a value of ``grouping``; "": one group for all), and its totals.

    ``histogram`` counts codes of ``sign`` * score. ``low``, ``high``, ``mean`` and ``deviation`` are of the score.
    ``complexity`` (groups,) is there only where the balance needs it. ``sample`` holds scores from several files.
    """

    shards: tuple[Shard, ...]
    by: str
    sign: float
    grouping: str
    groups: Mapping[str, int]
    histogram: Histogram
    low: float
    high: float
    mean: float
    deviation: float
    complexity: np.ndarray | None
    sample: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Return the rows of each group, (groups,)."""
        return np.asarray(self.histogram.counts.sum(axis=0))

    @property
    def rows(self) -> int:
        """Return the number of all rows."""
        return int(self.sizes.sum())

    def frames(self, identity: Sequence[str], others: Sequence[str] = ()) -> Iterator[tuple[Shard, pl.DataFrame]]:
        """Yield the score, the column of groups, and the named identity and other columns, batch by batch."""
        # Of one file there is nothing to count, as where decisions are written file by file.
        several = len(self.shards) > 1
        for shard in counted(self.shards, "score files read", len(self.shards)) if several else self.shards:
            for frame in _light(shard, (self.by, *others), self.grouping, identity):
                yield shard, frame

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the scores (n,) of a frame."""
        return frame[self.by].cast(pl.Float64).to_numpy()

    def group(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the group numbers (n,) of a frame."""
        return _group_numbers(frame, self.grouping, self.groups)

    def ranked(self, sign: float) -> BatchMaker:
        """Return what makes batches that sort by ``sign`` * score."""

        def make(frame: pl.DataFrame, start: int) -> CodedBatch:
            ids = frame["id"] if "id" in frame.columns else None
            return CodedBatch(histograms.codes(sign * self.scores(frame)), self.group(frame), ids)

        return make

    def stream(self, make: BatchMaker, *, always_ids: bool = False) -> BatchStream:
        """Return all rows as a stream of the batches that ``make`` makes."""

        def batches(with_ids: bool) -> Iterator[CodedBatch]:
            start = 0
            for _, frame in self.frames(("id",) if with_ids or always_ids else ()):
                yield make(frame, start)
                start += frame.height

        return batches


@dataclass
class _Totals:
    """What the first reading sums up, batch by batch."""

    groups: dict[str, int] = field(default_factory=dict)
    complexities: dict[str, float] = field(default_factory=dict)
    moments: exact_sums.Moments = field(default_factory=exact_sums.Moments)
    low: float = np.inf
    high: float = -np.inf
    rows: int = 0

    def add(self, score: np.ndarray) -> None:
        exact_sums.add(self.moments, score)
        self.low = min(self.low, float(score.min(initial=np.inf)))
        self.high = max(self.high, float(score.max(initial=-np.inf)))
        self.rows += len(score)


def look(shards: Sequence[Shard], by: str, grouping: str, *, sign: float, complexity: bool = False) -> ScoreColumn:
    """Read one score of every row for the first time.

    Raises:
        SchemaError: if a score is not finite (the row is named), if there are no rows, or if a cluster has two
            complexities.
    """
    # Files may be sorted by score, so the sample takes some from everywhere.
    sampled = shards[:: max(1, len(shards) // SAMPLED_FILES)][:SAMPLED_FILES]
    sample = np.concatenate([_first_scores(shard, by) for shard in sampled])
    edges = histograms.first_edges(histograms.codes(sign * sample), histograms.INTERVALS)
    columns = (by, balance.COMPLEXITY) if complexity else (by,)
    totals = _Totals()

    def batches() -> Iterator[CodedBatch]:
        for shard in counted(shards, "score files read", len(shards)):
            for frame in _light(shard, columns, grouping, ()):
                _check_finite(frame, by, shard)
                for name in _group_names(frame, grouping).unique(maintain_order=True):
                    totals.groups.setdefault(name, len(totals.groups))
                if complexity:
                    _note_complexities(frame, grouping, totals.complexities, shard)
                score = frame[by].cast(pl.Float64).to_numpy()
                totals.add(score)
                yield CodedBatch(histograms.codes(sign * score), _group_numbers(frame, grouping, totals.groups))

    histogram = histograms.count_new_groups(batches(), edges)
    if not totals.rows:
        raise SchemaError(f"{shards[0].path} and the other score files have no rows. Score data that has rows")
    mean, deviation = exact_sums.result(totals.moments, totals.rows)
    return ScoreColumn(
        shards=tuple(shards),
        by=by,
        sign=sign,
        grouping=grouping,
        groups=totals.groups,
        histogram=Histogram(histogram.edges, histogram.counts[:, : len(totals.groups)]),
        low=totals.low,
        high=totals.high,
        mean=mean,
        deviation=deviation,
        complexity=np.array([totals.complexities[name] for name in totals.groups]) if complexity else None,
        sample=sample,
    )


def _light(shard: Shard, columns: Sequence[str], grouping: str, identity: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the named columns and the column of groups, which may itself be an identity column.

    The first of the columns is the score.
    """
    names = (*columns, grouping) if grouping else columns
    for frame in scored.light_batches(shard, tuple(dict.fromkeys(names)), identity):
        # Types may differ between files.
        scored.check_numbers(frame, columns[0], shard)
        yield frame


def _group_names(frame: pl.DataFrame, grouping: str) -> pl.Series:
    if not grouping:
        return pl.repeat("", frame.height, dtype=pl.String, eager=True)
    return frame[grouping].cast(pl.String).fill_null(NO_GROUP)


def _group_numbers(frame: pl.DataFrame, grouping: str, groups: Mapping[str, int]) -> np.ndarray:
    if not grouping:
        return np.zeros(frame.height, dtype=np.int64)
    names = _group_names(frame, grouping)
    distinct = names.unique()
    numbers = pl.Series([groups[name] for name in distinct], dtype=pl.Int64)
    return names.replace_strict(distinct, numbers, return_dtype=pl.Int64).to_numpy()


def _note_complexities(frame: pl.DataFrame, grouping: str, complexities: dict[str, float], shard: Shard) -> None:
    """Note the complexity of each cluster; all its rows must agree."""
    value = pl.col(balance.COMPLEXITY).cast(pl.Float64)
    frame = frame.select(_group_names(frame, grouping).alias("name"), value.alias("value"))
    extremes = frame.group_by("name").agg(pl.col("value").min().alias("low"), pl.col("value").max().alias("high"))
    for name, low, high in extremes.iter_rows():
        if low is None or not (low == high == complexities.setdefault(name, low)):
            raise SchemaError(
                f"{shard.path}: {balance.COMPLEXITY} differs within cluster {name!r} ({low} and {high}, "
                f"{complexities.get(name)} before). It must be the complexity of the cluster: score again with "
                "--scorer density"
            )


def _first_scores(shard: Shard, by: str) -> np.ndarray:
    empty = pl.DataFrame(schema={by: pl.Float64})
    return next(_light(shard, (by,), "", ()), empty)[by].cast(pl.Float64).to_numpy()


def _check_finite(frame: pl.DataFrame, by: str, shard: Shard) -> None:
    # These batches have no ids. Only where a score is bad, the file is read again with ids, to name the row.
    if not tables.finite(frame[by]).all():
        for batch in tables.batches(shard, (by,)):
            scored.check_finite(batch, by, shard)
