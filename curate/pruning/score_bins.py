"""Split each source at quantiles of a score, and count the rows and tokens of every bin.

In: score files, and decisions if rows were pruned. Out: bounds of bins and their counts.
Memory does not grow with the rows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.pruning.ranking import cutoffs, histograms
from curate.pruning.ranking.cutoffs import SORTED_ROWS, Ranking
from curate.pruning.ranking.histograms import BatchStream, CodedBatch
from curate.tables import scored
from curate.tables.row_ranges import RowRange
from curate.tables.scored import ScoreRange

R = TypeVar("R")


@dataclass(frozen=True)
class KeptRows:
    """The rows of score files that the decisions in ``kept`` keep (None: all rows), with the score ``by``.

    Rows of the sources ``without`` are passed over.
    """

    kept: Path | None
    by: str = ""
    without: frozenset[str] = frozenset()

    def frames(self, rows: RowRange) -> Iterator[pl.DataFrame]:
        """Yield id, source, tokens and score of the kept ones of some rows; each score must be finite."""
        for batch, verdict in scored.kept_batches(rows, self.kept, (self.by,) if self.by else ()):
            frame = batch.filter(verdict)
            if self.without:
                frame = frame.filter(~pl.col("source").is_in(sorted(self.without)))
            if self.by:
                scored.check_finite(frame, self.by, rows.shard)
            yield frame


@dataclass(frozen=True)
class ScoreFiles:
    """The score files of a folder, cut into ranges of rows, and the engine that reads them."""

    ranges: tuple[RowRange, ...]
    engine: Engine

    def map(self, function: Callable[[RowRange], R]) -> Iterator[R]:
        """Yield what an importable function returns of every range, in the order in which ranges are done."""
        return counted(self.engine.run(function, self.ranges), "parts of score files read", len(self.ranges))


@dataclass(frozen=True)
class Bin:
    """A bin of one source: the half-open range of its score (None: no bound), and its rows and tokens."""

    limits: ScoreRange
    rows: int
    tokens: int


def totals(score_files: ScoreFiles, kept_rows: KeptRows) -> tuple[dict[str, int], dict[str, int]]:
    """Return the rows and the tokens of each source."""
    rows: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for counts in score_files.map(partial(_totals_of_range, kept_rows)):
        for name, (n, total) in counts.items():
            rows[name], tokens[name] = rows.get(name, 0) + n, tokens.get(name, 0) + total
    return rows, tokens


def _totals_of_range(kept_rows: KeptRows, rows: RowRange) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for frame in kept_rows.frames(rows):
        for name, n, total in frame.group_by("source").agg(pl.len(), pl.col("tokens").sum()).iter_rows():
            earlier_rows, tokens = counts.get(name, (0, 0))
            counts[name] = earlier_rows + n, tokens + total
    return counts


def bins(
    score_files: ScoreFiles, kept_rows: KeptRows, parts: Mapping[str, int], rows: Mapping[str, int]
) -> dict[str, list[Bin]]:
    """Split each source into about ``parts`` bins of equal rows, the lowest scores first.

    A source of many equal scores gets fewer bins, since no bin is empty. ``rows`` are the rows of each source.
    ``kept_rows`` must name a score.
    """
    edges = _inner_edges(score_files, kept_rows, parts, rows)
    bounds: dict[str, list[float | None]] = {source: [None, *edges.get(source, []), None] for source in sorted(rows)}
    counts = _count(score_files, kept_rows, bounds)
    result = {}
    for source, limits in bounds.items():
        # Scores may lie so that nothing is between two edges: such a bin is joined to the one before it.
        full = counts[source][:, 0] > 0
        lows = [low for low, has_rows in zip(limits[:-1], full.tolist(), strict=True) if has_rows]
        pairs = pairwise([*lows, None])
        numbers = counts[source][full].tolist()
        result[source] = [Bin(pair, n, tokens) for pair, (n, tokens) in zip(pairs, numbers, strict=True)]
    return result


@dataclass(frozen=True)
class KeptPart:
    """Rows of a score file, of which the kept ones are a part of a stream.

    Where they begin in the stream is not known, and nothing depends on it.
    """

    rows: RowRange
    start: int = 0


@dataclass(frozen=True)
class KeptReader:
    """Reads the kept rows of score files as batches; ``numbers`` are those of the sources."""

    kept_rows: KeptRows
    numbers: Mapping[str, int]

    def __call__(self, part: KeptPart, with_ids: bool, /) -> Iterator[CodedBatch]:
        """Read some rows of a score file."""
        sources, numbers = list(self.numbers), list(self.numbers.values())
        for frame in self.kept_rows.frames(part.rows):
            score = frame[self.kept_rows.by].cast(pl.Float64).to_numpy()
            group = frame["source"].replace_strict(sources, numbers, return_dtype=pl.Int64)
            yield CodedBatch(histograms.codes(score), group.to_numpy(), frame["id"] if with_ids else None)


def _inner_edges(
    score_files: ScoreFiles, kept_rows: KeptRows, parts: Mapping[str, int], rows: Mapping[str, int]
) -> dict[str, list[float]]:
    """Return the edges within each source: quantiles of its score, without those that would leave a bin empty."""
    numbers = {source: number for number, source in enumerate(sorted(rows))}
    read = KeptReader(kept_rows, numbers)
    kept_parts = [KeptPart(rows) for rows in score_files.ranges]
    stream = BatchStream(read, kept_parts, score_files.engine)
    # The first rows only place the first edges: wherever these lie, the cuts become exact.
    codes = (batch.code for part in kept_parts for batch in read(part, False))
    sample = next((code for code in codes if len(code)), np.zeros(0, dtype=np.uint64))
    histogram = histograms.first_count(stream, sample, len(numbers), 0)
    # Places of the quantiles among the sorted scores of a source; a place between two scores is interpolated.
    places = {s: (rows[s] - 1) * (np.arange(1, parts[s]) / parts[s]) for s in numbers if parts[s] > 1}
    ranks = {
        numbers[source]: sorted({0, *(int(rank) for place in spots for rank in (place // 1, -(-place // 1)))})
        for source, spots in places.items()
    }
    score_at = cutoffs.order_statistics(Ranking(stream, seed=0, sorted_rows=SORTED_ROWS), histogram, ranks)
    result = {}
    for source, spots in places.items():
        number = numbers[source]
        inner = {
            _interpolated(score_at[number, int(place // 1)], score_at[number, int(-(-place // 1))], place % 1)
            for place in spots
        }
        # An edge at the lowest score would cut off an empty bin below it.
        result[source] = sorted(edge for edge in inner if edge > score_at[number, 0])
    return result


def _interpolated(low: float, high: float, part: float) -> float:
    """Interpolate as ``numpy.quantile`` does, to the last bit."""
    return float(high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part)


def _count(
    score_files: ScoreFiles, kept_rows: KeptRows, bounds: Mapping[str, list[float | None]]
) -> dict[str, np.ndarray]:
    """Return (bins, 2): the rows and tokens of each bin of each source."""
    counts = _no_counts(bounds)
    for part in score_files.map(partial(_counts_of_range, kept_rows, bounds)):
        for source, rows_tokens in part.items():
            counts[source] += rows_tokens
    return counts


def _counts_of_range(
    kept_rows: KeptRows, bounds: Mapping[str, list[float | None]], rows: RowRange
) -> dict[str, np.ndarray]:
    counts = _no_counts(bounds)
    for frame in kept_rows.frames(rows):
        for (name,), part in frame.partition_by("source", as_dict=True).items():
            tokens = part["tokens"].to_numpy()
            for i, limits in enumerate(pairwise(bounds[str(name)])):
                members = scored.inside(part[kept_rows.by].to_numpy(), limits)
                counts[str(name)][i] += (int(members.sum()), int(tokens[members].sum()))
    return counts


def _no_counts(bounds: Mapping[str, list[float | None]]) -> dict[str, np.ndarray]:
    return {source: np.zeros((len(limits) - 1, 2), dtype=np.int64) for source, limits in bounds.items()}
