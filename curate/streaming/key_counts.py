"""Count the keys of all parts of a corpus, such as hashes of n-grams, where the data is.

In: a corpus, and a function that yields the keys of a part. Out: the number of different keys, and tables of counts.

A part is reduced to its different keys and their counts, which take about as many bytes as its text. They are cut into
ranges of keys, and a task sums one range over all parts. Counts are whole numbers, so every cut into parts, and every
number of ranges, gives the same sums. The process that learns reads the finished tables only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from curate.storage.files import text_hash
from curate.tables.corpus import Arrays, Corpus, PartRows
from curate.tables.corpus.array_files import read_arrays, write_arrays
from curate.tables.corpus.corpus import EXCHANGES

# Yields, for each piece of a part, the keys of every table: (w,) whole numbers below the limit, in any order.
KeyFunction = Callable[[PartRows], Iterator[Sequence[np.ndarray]]]

# Every part has a section for each range, so more ranges would make tiny sections. A power of two, so that a range has
# whole cells of every smaller table.
MOST_RANGES = 1024
# Up to so many possible keys are counted in an array of them all, which still lies in the processor's cache.
DENSE_KEYS = 1 << 16
PENDING = 1 << 23  # keys that wait until they are counted together: 32 MB
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


@dataclass(frozen=True)
class KeyCounts:
    """Counts of the keys of a corpus, in a file for each range of keys.

    ``different`` (tables,) int64 is the number of different keys in each table. ``sums`` (tables,) int64 is the number
    of keys in each table, with repetitions. The keys of range i begin at ``starts[i]``, and all are below ``limit``.
    """

    corpus: Corpus
    paths: tuple[Path, ...]
    starts: tuple[int, ...]
    limit: int
    different: np.ndarray
    sums: np.ndarray

    def tables(self, count: int, cells: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
        """Return the counts of the first ``count`` tables, (count, cells). A cell stands for limit / cells keys.

        A count that is too large for ``dtype`` becomes the largest number of that type. ``cells`` is the limit, or the
        limit divided by a power of two. It is at least the number of ranges.
        """
        keys_of_cell = self.limit // cells
        edges = [start // keys_of_cell for start in (*self.starts, self.limit)]
        tasks = list(zip(self.paths, edges[:-1], edges[1:], strict=True))
        result = np.zeros((count, cells), dtype)
        for path, low, high in self.corpus.engine.run(partial(_fill_cells, count, keys_of_cell, dtype), tasks):
            result[:, low:high] = read_arrays(path)["cells"]
        return result


def count(
    corpus: Corpus, function: KeyFunction, *, needs: Sequence[str], tables: int, limit: int, name: str
) -> KeyCounts:
    """Count all keys of the data.

    Args:
        corpus: the rows.
        function: a pure function at the top level of a module, or a partial of one.
        needs: columns that it reads.
        tables: the number of kinds of keys. Each kind is counted in a table of its own.
        limit: keys are below it; at most 2^32. The keys should be spread evenly.
        name: the name of these counts. Other counts of the learner have other names.
    """
    ranges = min(MOST_RANGES, 1 << max(0, len(corpus.parts) - 1).bit_length())
    # The first key of each range: limit x i / ranges, rounded up.
    starts = tuple(-(-limit * i // ranges) for i in range(ranges))
    # A killed job may have had other parts, and so other sums.
    parts = text_hash(repr([part.name for part in corpus.parts]))
    folder = corpus.folder / EXCHANGES / name / f"sums-{parts}"
    of_part = partial(_count_part, function, tables, limit, np.array(starts, np.uint64))
    totals = corpus.exchange(
        of_part, "range", partial(_sum_range, tables, folder), name=name, splits=ranges, needs=needs
    )
    different, sums = np.zeros((2, tables), np.int64)
    for of_range in totals if corpus.parts else ():
        different += of_range["different"]
        sums += of_range["sums"]
    paths = tuple(_range_path(folder, number) for number in range(ranges if corpus.parts else 0))
    return KeyCounts(corpus, paths, starts[: len(paths)], limit, different, sums)


def _range_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


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
        return self._sorted[0] if len(self._sorted) == 1 else pack(*_summed(self._sorted))

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


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different keys among (w,) uint32 in rising order, and how often each occurs."""
    keys.sort()
    starts = _run_starts(keys)
    return keys[starts], np.diff(starts, append=len(keys)).astype(np.uint64)


def _summed(packed: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
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
        single, several = _split_off_singles(tally.packed())
        columns = {
            "range": pl.Series(np.arange(len(starts), dtype=np.uint64)),
            "single": _lists(single, starts.astype(np.uint32)),
            "several": _lists(several, starts << HALF),
        }
        frames.append(pl.DataFrame(columns).with_columns(table=pl.lit(table, pl.UInt32)))
    return pl.concat(frames)


def _split_off_singles(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys that occur once, (s,) uint32, and the others as they are: most n-grams occur once."""
    is_single = (packed & LOW) == 1
    return (packed[is_single] >> HALF).astype(np.uint32), packed[~is_single]


def _lists(values: np.ndarray, starts: np.ndarray) -> pl.Series:
    """Return sorted values as a list for each range."""
    offsets = np.append(np.searchsorted(values, starts), len(values)).astype(np.int64)
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))))


def _sum_range(tables: int, folder: Path, frame: pl.DataFrame) -> Arrays:
    """Sum the counts of one range over all parts into a file, and return how many there are."""
    arrays = {}
    different, sums = np.zeros((2, tables), np.int64)
    for table in range(tables):
        rows = frame.filter(pl.col("table") == table)
        singles = pack(*_counted(_joined(rows["single"])))
        keys, counts = _summed([singles, _joined(rows["several"])])
        different[table], sums[table] = len(keys), counts.sum()
        arrays[f"single{table}"], arrays[f"several{table}"] = _split_off_singles(pack(keys, counts))
    write_arrays(_range_path(folder, int(frame["range"][0])), arrays)
    return {"different": different, "sums": sums}


def _fill_cells(
    tables: int, keys_of_cell: int, dtype: type[np.unsignedinteger], task: tuple[Path, int, int]
) -> tuple[Path, int, int]:
    """Write the cells [low, high) of all tables, and return the file and the place of these cells.

    ``task`` is the file with the counts of the keys that belong to these cells, with ``low`` and ``high``.
    """
    path, low, high = task
    arrays = read_arrays(path)
    cells = np.zeros((tables, high - low), dtype)
    # A shift is much faster than a division.
    shift = keys_of_cell.bit_length() - 1
    for table, counts in enumerate(cells):
        singles = (arrays[f"single{table}"] >> np.uint32(shift)) - np.uint32(low)
        starts = _run_starts(singles)
        counts[singles[starts]] = np.diff(starts, append=len(singles))
        several = arrays[f"several{table}"]
        numbers = (several >> np.uint64(32 + shift)).astype(np.int64) - low
        starts = _run_starts(numbers)
        if len(starts):
            numbers = numbers[starts]
            sums = np.add.reduceat(several & LOW, starts) + counts[numbers]
            counts[numbers] = np.minimum(sums, np.iinfo(dtype).max)
    output = path.with_name(f"{path.stem}-cells.npz")
    write_arrays(output, {"cells": cells})
    return output, low, high


def _joined(lists: pl.Series) -> np.ndarray:
    """Return a copy of the values of all lists, one list after the other."""
    return np.array(lists.rechunk().to_arrow().flatten().to_numpy())
