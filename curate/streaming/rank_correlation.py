"""Compute Spearman's rank correlation of two columns.

In: batches of rows with an id and two numbers. Out: one number, the same for any order of the rows.
Ranks need sorted columns. If there are many rows, only a sample is sorted, so memory does not grow with the rows.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.tables import batches as tables

# The correlation r of a sample of n rows has a standard error of about (1 - r^2) / sqrt(n): at most .006 for this many.
SAMPLE = 1 << 15
SEED = 0  # seed of the hash of ids; it is fixed, so that the sample depends on the rows alone
ALL_KEYS = np.uint64(2**64 - 1)


@dataclass
class RankSample:
    """Two numbers of each sampled row out of ``rows`` rows; `add` fills it.

    The sample is all rows if there are at most `SAMPLE`, else the rows whose ids have the smallest hashes. ``limit`` is
    the largest hash that can still enter. ``parts`` holds (hashes, first numbers, second numbers) of batches.
    """

    rows: int
    limit: np.uint64 = ALL_KEYS
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Return the rows of the sample."""
        return min(SAMPLE, sum(len(part[0]) for part in self.parts))


def add(sample: RankSample, ids: pl.Series, first: np.ndarray, second: np.ndarray) -> None:
    """Add a batch of rows: their ids (n,), and two numbers of each, (n,) and (n,)."""
    # Hashing ids is the slow part, and a sample of all rows needs no hashes.
    keys = tables.keys(ids, SEED) if sample.rows > SAMPLE else np.zeros(len(ids), dtype=np.uint64)
    inside = keys <= sample.limit
    sample.parts.append((keys[inside], first[inside], second[inside]))
    if sum(len(part[0]) for part in sample.parts) > 2 * SAMPLE:
        _shrink(sample)


def merge(sample: RankSample, other: RankSample) -> None:
    """Add the rows of another sample out of the same number of rows."""
    sample.parts.extend(other.parts)
    if sum(len(part[0]) for part in sample.parts) > 2 * SAMPLE:
        _shrink(sample)


def spearman(sample: RankSample) -> float | None:
    """Return the rank correlation of the two columns; None if one of them is constant or there are no rows.

    Equal numbers share their mean rank. Everything is counted in whole numbers up to the last division, so that the
    result does not depend on the order of the rows.
    """
    if not sample.parts:
        return None
    _shrink(sample)
    _, first, second = sample.parts[0]
    x, y = _centred_ranks(first), _centred_ranks(second)
    spread = float(int(x @ x) * int(y @ y)) ** 0.5
    return int(x @ y) / spread if spread else None


def _shrink(sample: RankSample) -> None:
    """Keep only the rows with the smallest hashes."""
    keys, first, second = (np.concatenate(column) for column in zip(*sample.parts, strict=True))
    if len(keys) > SAMPLE:
        sample.limit = np.partition(keys, SAMPLE - 1)[SAMPLE - 1]
        below, tied = np.flatnonzero(keys < sample.limit), np.flatnonzero(keys == sample.limit)
        # Rows with equal ids are ordered by their numbers, so that the result does not depend on the order of rows.
        tied = tied[np.lexsort((second[tied], first[tied]))][: SAMPLE - len(below)]
        rows = np.concatenate([below, tied])
        keys, first, second = keys[rows], first[rows], second[rows]
    sample.parts[:] = [(keys, first, second)]


def _centred_ranks(numbers: np.ndarray) -> np.ndarray:
    """Return twice the difference of each rank from the mean rank, (n,) int64."""
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    # Of a run of equal numbers from rank a to rank b, twice the mean rank is a + b.
    return np.asarray((2 * ends - counts + 1 - (len(numbers) + 1))[place], dtype=np.int64)
