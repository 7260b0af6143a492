"""Read one score of every row, with the row's group, as often as a rule needs it.

In: score files and the names of two columns. Out: a histogram, totals, and streams of rows; no column is held whole.
The engine reads the files, a task each. What a task returns does not grow with the rows of its file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError
from curate.progress import counted
from curate.pruning import balance, exact_sums
from curate.pruning.exact_sums import Moments
from curate.pruning.ranking import histograms
from curate.pruning.ranking.histograms import BatchStream, CodedBatch, GrowingCounts, Histogram
from curate.tables import batches as tables
from curate.tables import scored
from curate.tables.shards import Shard

SAMPLED_FILES = 16  # the first rows of this many files say where the first edges of the histogram lie
NO_GROUP = "(none)"  # the group of a row without a label or cluster
# Turns rows with the score, the group and perhaps the id, and their position in the stream, into a batch.
BatchMaker = Callable[[pl.DataFrame, int], CodedBatch]
R = TypeVar("R")


@dataclass(frozen=True)
class ScoreFile:
    """A score file, its number, and the position of its first row in the stream of all rows."""

    shard: Shard
    number: int
    start: int = 0


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

    def frames(self, file: ScoreFile, identity: Sequence[str], others: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
        """Yield the score, the column of groups, and the named identity and other columns of a file."""
        return _light(file.shard, (self.by, *others), self.grouping, identity)

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the scores (n,) of a frame."""
        return frame[self.by].cast(pl.Float64).to_numpy()

    def group(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the group numbers (n,) of a frame."""
        return _group_numbers(frame, self.grouping, self.groups)


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
class FileReader:
    """Reads the batches that ``make`` makes of a score file."""

    values: ScoreValues
    make: BatchMaker
    always_ids: bool

    def __call__(self, file: ScoreFile, with_ids: bool, /) -> Iterator[CodedBatch]:
        """Read a score file."""
        start = file.start
        for frame in self.values.frames(file, ("id",) if with_ids or self.always_ids else ()):
            yield self.make(frame, start)
            start += frame.height


@dataclass(frozen=True)
class ScoreColumn:
    """One score of all rows, its totals, and the engine that reads it.

    ``histogram`` counts codes of ``sign`` * score. ``complexity`` (groups,) is there only where the balance needs it.
    ``sample`` holds scores from several files.
    """

    values: ScoreValues
    files: tuple[ScoreFile, ...]
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

    def map(self, function: Callable[[ScoreFile], R], what: str = "score files read") -> Iterator[R]:
        """Yield what an importable function returns of every file, in the order in which files are done."""
        return counted(self.engine.run(function, self.files), what, len(self.files))

    def ranked(self, sign: float) -> BatchMaker:
        """Return what makes batches that sort by ``sign`` * score."""
        return Ranked(self.values, sign)

    def stream(self, make: BatchMaker, *, always_ids: bool = False) -> BatchStream[ScoreFile]:
        """Return all rows as a stream of the batches that ``make`` makes."""
        return BatchStream(FileReader(self.values, make, always_ids), self.files, self.engine)


@dataclass
class _FileTotals:
    """What the first reading sums up of the file ``number``.

    ``groups`` are the groups of the file in the order of their first rows. ``cells`` and ``counts`` are the rows of
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

    def __call__(self, file: ScoreFile) -> _FileTotals:
        """Read one file."""
        totals, table, shard = _FileTotals(file.number), GrowingCounts(self.edges), file.shard
        intervals = histograms.finder(self.edges, 0)
        columns = (self.by, balance.COMPLEXITY) if self.complexity else (self.by,)
        for frame in _light(shard, columns, self.grouping, ()):
            _check_finite(frame, self.by, shard)
            for name in _group_names(frame, self.grouping).unique(maintain_order=True):
                totals.groups.setdefault(name, len(totals.groups))
            if self.complexity:
                _note_complexities(frame, self.grouping, totals.complexities, shard)
            score = frame[self.by].cast(pl.Float64).to_numpy()
            totals.add(score)
            group = _group_numbers(frame, self.grouping, totals.groups)
            table.make_room(len(totals.groups))
            table.add(intervals.find(CodedBatch(histograms.codes(self.sign * score), group)), group, 1)
        totals.level = table.level
        totals.cells, totals.counts = histograms.filled_cells(table.counts[:, : max(1, len(totals.groups))])
        return totals


def look(
    shards: Sequence[Shard], by: str, grouping: str, *, sign: float, engine: Engine, complexity: bool = False
) -> ScoreColumn:
    """Read one score of every row for the first time.

    Raises:
        SchemaError: if a score is not finite (the row is named), if there are no rows, or if a cluster has two
            complexities.
    """
    # Files may be sorted by score, so the sample takes some from everywhere.
    sampled = shards[:: max(1, len(shards) // SAMPLED_FILES)][:SAMPLED_FILES]
    sample = np.concatenate([_first_scores(shard, by) for shard in sampled])
    edges = histograms.first_edges(histograms.codes(sign * sample), histograms.INTERVALS)
    files = [ScoreFile(shard, number) for number, shard in enumerate(shards)]
    sums, table, rows = _FileTotals(0), GrowingCounts(edges), np.zeros(len(files), dtype=np.int64)
    # Of each group the file and the place in it where it comes first: groups are numbered in the order of the rows.
    firsts: dict[str, tuple[int, int]] = {}
    reading = _FirstReading(by, grouping, sign, complexity, edges)
    for part in counted(engine.run(reading, files), "score files read", len(files)):
        for place, name in enumerate(part.groups):
            sums.groups.setdefault(name, len(sums.groups))
            firsts[name] = min(firsts.get(name, (part.number, place)), (part.number, place))
        for name, value in part.complexities.items():
            _note_complexity(name, value, value, sums.complexities, shards[part.number])
        table.make_room(len(sums.groups))
        table.join(part.level)
        interval, group = np.divmod(part.cells, max(1, len(part.groups)))
        numbers = np.array([sums.groups[name] for name in part.groups] or [0])
        table.add(interval, numbers[group], part.counts, part.level)
        exact_sums.merge(sums.moments, part.moments)
        sums.low, sums.high, rows[part.number] = min(sums.low, part.low), max(sums.high, part.high), part.rows
    total = int(rows.sum())
    if not total:
        raise SchemaError(f"{shards[0].path} and the other score files have no rows. Score data that has rows")
    names = sorted(firsts, key=firsts.__getitem__)
    mean, deviation = exact_sums.result(sums.moments, total)
    starts = (np.cumsum(rows) - rows).tolist()
    return ScoreColumn(
        values=ScoreValues(by, grouping, {n: i for i, n in enumerate(names)}, sums.low, sums.high, mean, deviation),
        files=tuple(ScoreFile(file.shard, file.number, start) for file, start in zip(files, starts, strict=True)),
        engine=engine,
        sign=sign,
        histogram=table.histogram(np.array([sums.groups[name] for name in names])),
        complexity=np.array([sums.complexities[name] for name in names]) if complexity else None,
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


def _first_scores(shard: Shard, by: str) -> np.ndarray:
    empty = pl.DataFrame(schema={by: pl.Float64})
    return next(_light(shard, (by,), "", ()), empty)[by].cast(pl.Float64).to_numpy()


def _check_finite(frame: pl.DataFrame, by: str, shard: Shard) -> None:
    # These batches have no ids. Only where a score is bad, the file is read again with ids, to name the row.
    if not tables.finite(frame[by]).all():
        for batch in tables.batches(shard, (by,)):
            scored.check_finite(batch, by, shard)
