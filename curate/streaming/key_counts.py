"""Count the keys of all parts of a corpus, such as hashes of n-grams, where the data is.

In: a corpus, and a function that yields the keys of a part. Out: the different keys with their counts.

A part is reduced to its different keys and their counts, which take about as many bytes as its text. They are cut into
ranges of keys, and a task sums one range over all parts. Counts are whole numbers, so every cut into parts, and every
number of ranges, gives the same sums.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from curate.tables.corpus import Arrays, Corpus, PartRows

# Yields, for each piece of a part, the keys of every table: (w,) whole numbers below the limit, in any order.
KeyFunction = Callable[[PartRows], Iterator[Sequence[np.ndarray]]]
# The different keys of a table within a range, (m,) uint32 in rising order, and their counts, (m,) uint64.
KeyCounts = tuple[np.ndarray, np.ndarray]

MOST_KEYS = 1 << 32  # keys are stored in 32 bits
# Every part has a section for each range, so more ranges would make tiny sections. A power of two, so that ranges meet
# where cells of folded tables do.
MOST_RANGES = 1024
# Up to so many possible keys are counted in an array of them all, which still lies in the processor's cache.
DENSE_KEYS = 1 << 16
PENDING = 1 << 23  # keys that wait until they are counted together: 32 MB
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def count(
    corpus: Corpus, function: KeyFunction, *, needs: Sequence[str], tables: int, limit: int, name: str
) -> Iterator[list[KeyCounts]]:
    """Yield the counts of all keys of the data, range by range from the lowest: one pair for each table.

    The keys are counted when this is called first. A second call with the same ``name`` only reads the counts.

    Args:
        corpus: the rows.
        function: a pure function at the top level of a module, or a partial of one.
        needs: columns that it reads.
        tables: kinds of keys that are counted apart.
        limit: keys are below it; at most 2^32. The keys should be spread evenly.
        name: of these counts, different from others of the learner.
    """
    ranges = min(MOST_RANGES, 1 << max(0, len(corpus.parts) - 1).bit_length())
    # The first key of each range: limit x i / ranges, rounded up.
    starts = np.array([-(-limit * i // ranges) for i in range(ranges)], np.uint64)
    of_part = partial(_count_part, function, tables, limit, starts)
    summed = partial(_sum_range, tables)
    for arrays in corpus.exchange(of_part, "range", summed, name=name, splits=ranges, needs=needs):
        yield [(arrays[f"keys{table}"], arrays[f"counts{table}"]) for table in range(tables)]


class KeyTally:
    """Counts keys below a limit. Its memory grows with the different keys, not with all that were added."""

    def __init__(self, limit: int) -> None:
        """Begin without any keys."""
        self._dense = np.zeros(limit if limit <= DENSE_KEYS else 0, np.uint64)
        self._pending: list[np.ndarray] = []
        self._pending_keys = 0
        self._sorted: list[np.ndarray] = []  # packed counts, the longest first

    def add(self, keys: np.ndarray) -> None:
        """Count (w,) whole numbers once each."""
        if len(self._dense):
            self._dense += np.bincount(keys, minlength=len(self._dense)).astype(np.uint64)
            return
        self._pending.append(keys.astype(np.uint32, copy=False))
        self._pending_keys += len(keys)
        if self._pending_keys >= PENDING:
            self._count_pending()

    def packed(self) -> np.ndarray:
        """Return the different keys with their counts as `pack` does, in rising order."""
        if len(self._dense):
            keys = np.flatnonzero(self._dense)
            return pack(keys, self._dense[keys])
        self._count_pending()
        return pack(*_summed(self._sorted))

    def _count_pending(self) -> None:
        if not self._pending_keys:
            return
        self._sorted.append(pack(*_counted(np.concatenate(self._pending))))
        self._pending, self._pending_keys = [], 0
        # Each run is at least twice as long as the next, so a key is merged only a few times.
        while len(self._sorted) > 1 and len(self._sorted[-2]) < 2 * len(self._sorted[-1]):
            last_two = [self._sorted.pop(), self._sorted.pop()]
            self._sorted.append(pack(*_summed(last_two)))


def pack(keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return keys (m,) and counts (m,) as one uint64 each: the key in the upper 32 bits, the count in the lower.

    A count of 2^32 or more takes several numbers, whose counts sum to it.
    """
    keys, counts = keys.astype(np.uint64) << HALF, counts.astype(np.uint64)
    if counts.max(initial=0) <= LOW:
        return np.asarray(keys | counts)
    full, rest = np.divmod(counts, LOW)
    return np.sort(np.concatenate((keys | rest, np.repeat(keys | LOW, full.astype(np.int64)))))


def _counted(keys: np.ndarray) -> KeyCounts:
    """Return the different keys among (w,) uint32 in rising order, and how often each occurs."""
    keys.sort()
    starts = _run_starts(keys)
    return keys[starts], np.diff(starts, append=len(keys)).astype(np.uint64)


def _summed(packed: Sequence[np.ndarray]) -> KeyCounts:
    """Return the different keys of several arrays of `pack` in rising order, and the sum of the counts of each."""
    if not packed:
        return np.zeros(0, np.uint32), np.zeros(0, np.uint64)
    together = np.concatenate(packed)
    together.sort()
    keys = (together >> HALF).astype(np.uint32)
    starts = _run_starts(keys)
    sums = np.add.reduceat(together & LOW, starts) if len(starts) else np.zeros(0, np.uint64)
    return keys[starts], sums


def _run_starts(keys: np.ndarray) -> np.ndarray:
    """Return where each run of equal keys begins among (w,) sorted ones."""
    begins = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def _count_part(function: KeyFunction, tables: int, limit: int, starts: np.ndarray, rows: PartRows) -> pl.DataFrame:
    """Return a row for each range and table: keys that occur once as 4 bytes, and others packed with their counts."""
    tallies = [KeyTally(limit) for _ in range(tables)]
    for keys_of_tables in function(rows):
        for tally, keys in zip(tallies, keys_of_tables, strict=True):
            tally.add(keys)
    frames = []
    for table, tally in enumerate(tallies):
        packed = tally.packed()
        is_single = (packed & LOW) == 1
        columns = {
            "range": pl.Series(np.arange(len(starts), dtype=np.uint64)),
            "single": _lists((packed[is_single] >> HALF).astype(np.uint32), starts.astype(np.uint32)),
            "several": _lists(packed[~is_single], starts << HALF),
        }
        frames.append(pl.DataFrame(columns).with_columns(table=pl.lit(table, pl.UInt32)))
    return pl.concat(frames)


def _lists(values: np.ndarray, starts: np.ndarray) -> pl.Series:
    """Return sorted values as a list for each range."""
    offsets = np.append(np.searchsorted(values, starts), len(values)).astype(np.int64)
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))))


def _sum_range(tables: int, frame: pl.DataFrame) -> Arrays:
    """Sum the counts of one range over all parts."""
    arrays = {}
    for table in range(tables):
        rows = frame.filter(pl.col("table") == table)
        singles = pack(*_counted(_joined(rows["single"])))
        arrays[f"keys{table}"], arrays[f"counts{table}"] = _summed([singles, _joined(rows["several"])])
    return arrays


def _joined(lists: pl.Series) -> np.ndarray:
    """Return the values of all lists, one list after the other, as an array of their own."""
    return np.array(lists.rechunk().to_arrow().flatten().to_numpy())
