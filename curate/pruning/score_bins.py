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
from curate.pruning.columns.row_table import RowTable, RowWriter
from curate.pruning.ranking import codes
from curate.pruning.ranking.external_sort import ROW, ExternalSort, chunk_rows
from curate.storage.scratch import scratch_folder
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


# A kept row: its score as a code, and the number of its source.
SCORED = np.dtype([("code", "u8"), ("group", "i4")])


def _codes_of_range(
    kept_rows: KeptRows, numbers: Mapping[str, int], numbered: tuple[int, RowRange]
) -> tuple[int, list[np.ndarray]]:
    """Return the number of a range, and its kept rows as arrays of `SCORED`."""
    pieces = []
    for frame in kept_rows.frames(numbered[1]):
        rows = np.zeros(frame.height, SCORED)
        rows["code"] = codes.codes(frame[kept_rows.by].cast(pl.Float64).to_numpy())
        rows["group"] = frame["source"].replace_strict(list(numbers), list(numbers.values()), return_dtype=pl.Int32)
        pieces.append(rows)
    return numbered[0], pieces


def _scores_at(
    score_files: ScoreFiles, kept_rows: KeptRows, numbers: Mapping[str, int], ranks: Mapping[int, list[int]]
) -> dict[tuple[int, int], float]:
    """Return the score at each of some ranks (from 0) of each source, by (number of the source, rank)."""
    result: dict[tuple[int, int], float] = {}
    with scratch_folder() as folder:
        tasks = list(enumerate(score_files.ranges))
        with RowWriter(folder / "rows") as writer:
            read = score_files.engine.run(partial(_codes_of_range, kept_rows, numbers), tasks)
            for number, kept in counted(read, "parts of score files read", len(tasks)):
                writer.add(number, kept)
        spans = [writer.spans[number] for number, _ in tasks]
        table = RowTable(writer.path, SCORED, spans, np.arange(len(numbers), dtype=np.int32))

        def sortable() -> Iterator[np.ndarray]:
            for start, rows in table.chunks(chunk_rows(table.rows)):
                chunk = np.zeros(len(rows), ROW)
                chunk["cell"], chunk["code"] = rows["group"], rows["code"]
                chunk["position"] = np.arange(start, start + len(rows))
                yield chunk

        sizes = np.zeros(len(numbers), np.int64)
        for _, rows in table.chunks(chunk_rows(table.rows)):
            sizes += np.bincount(rows["group"], minlength=len(numbers))
        # The sources come one after the other, so a rank in a source is a place among all rows.
        before = np.cumsum(sizes) - sizes
        places = {int(before[group]) + rank: (group, rank) for group, wanted in ranks.items() for rank in wanted}
        wanted_places, first = np.array(sorted(places), dtype=np.int64), 0
        for block in ExternalSort(sortable, table.rows, folder, by_cell=True).blocks():
            low, high = np.searchsorted(wanted_places, (first, first + len(block)))
            inside = wanted_places[low:high]
            scores = codes.scores_of(block["code"][inside - first])
            result |= {places[place]: score for place, score in zip(inside.tolist(), scores.tolist(), strict=True)}
            first += len(block)
    return result


def _inner_edges(
    score_files: ScoreFiles, kept_rows: KeptRows, parts: Mapping[str, int], rows: Mapping[str, int]
) -> dict[str, list[float]]:
    """Return the edges within each source: quantiles of its score, without those that would leave a bin empty."""
    numbers = {source: number for number, source in enumerate(sorted(rows))}
    # Places of the quantiles among the sorted scores of a source; a place between two scores is interpolated.
    places = {s: (rows[s] - 1) * (np.arange(1, parts[s]) / parts[s]) for s in numbers if parts[s] > 1}
    ranks = {
        numbers[source]: sorted({0, *(int(rank) for place in spots for rank in (place // 1, -(-place // 1)))})
        for source, spots in places.items()
    }
    score_at = _scores_at(score_files, kept_rows, numbers, ranks) if places else {}
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
