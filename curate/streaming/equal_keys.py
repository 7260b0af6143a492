"""Rows with equal keys, and the pairs that they make, from keys on disk.

In: files of 64-bit keys. Out: row numbers and pairs, part by part: memory is one part, whatever the number of rows.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curate.words.ngrams import BASE, mix

PART = 1 << 22  # keys sorted at a time: 64 MB
SMALL = 32  # in a group of up to 32 rows every row is compared with every other
WINDOW = 4  # in a larger group each row is compared with 4 others, drawn anew for every band


def open_numbers(path: Path, dtype: str | np.dtype) -> np.ndarray:
    """Open a file of numbers, or of records of numbers, as an array on disk."""
    # an empty file cannot be mapped
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


def rows_by_key(keys: np.ndarray, part: int = PART) -> Iterator[np.ndarray]:
    """Yield row numbers in ascending order of their (n,) uint64 keys, a range of keys at a time.

    Keys must be hashes: ranges of equal length then hold about equally many rows, ``part`` at most or nearly so.
    """
    bits = max(0, int(len(keys) - 1).bit_length() - int(part - 1).bit_length())
    for i in range(1 << bits):
        if bits == 0:
            yield np.argsort(keys)
            continue
        pieces = [
            start + np.flatnonzero((keys[start : start + part] >> np.uint64(64 - bits)) == i)
            for start in range(0, len(keys), part)
        ]
        rows = np.concatenate(pieces)
        yield rows[np.argsort(keys[rows])]


def repeated(keys: np.ndarray, part: int = PART) -> Iterator[np.ndarray]:
    """Yield the rows whose key another row has too, in ascending order of keys."""
    for order in rows_by_key(keys, part):
        same = np.zeros(len(order) + 1, bool)
        ordered = keys[order]
        same[1:-1] = ordered[1:] == ordered[:-1]
        yield order[same[1:] | same[:-1]]


def pairs(
    keys: np.ndarray, numbers: np.ndarray, priority: np.ndarray, *, alive: np.ndarray, salt: int, part: int = PART
) -> Iterator[np.ndarray]:
    """Yield (m, 2) pairs of row numbers with equal keys: all pairs of a small group, a few a row of a large one.

    ``keys`` (c,) uint64 belong to the rows ``numbers`` (c,); rows that are not ``alive`` (n,) bool are left out.
    ``priority`` (n,) uint64, distinct, and ``salt`` give the order in which a large group is paired, so that the result
    does not depend on the order of the rows.
    """
    for places in repeated(keys, part):
        places = places[alive[numbers[places]]]
        group, rows = keys[places], numbers[places]
        order = np.lexsort((mix(priority[rows] + BASE * np.full(len(rows), salt, np.uint64)), group))
        group, rows = group[order], rows[order]
        starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])[: len(group)])
        sizes = np.diff(np.append(starts, len(group)))
        reach = np.repeat(np.where(sizes <= SMALL, SMALL, WINDOW), sizes)
        # rows of a group stand side by side now: pair each with the row 1, 2, ... places further on
        for step in range(1, min(SMALL, int(sizes.max(initial=1)))):
            near = np.flatnonzero((group[step:] == group[:-step]) & (reach[step:] >= step))
            yield np.stack([rows[near], rows[near + step]], axis=1)


def pack(row_pairs: np.ndarray) -> np.ndarray:
    """Return (m, 2) pairs of row numbers below 2^32 as (m,) uint64, the smaller number in the upper half."""
    low, high = row_pairs.min(axis=1).astype(np.uint64), row_pairs.max(axis=1).astype(np.uint64)
    return np.asarray((low << np.uint64(32)) | high)


def distinct_pairs(packed: np.ndarray, rows: int, part: int = PART) -> Iterator[np.ndarray]:
    """Yield (m, 2) distinct pairs in ascending order, from ``pack``ed pairs that may repeat; row numbers < rows."""
    step = max(1, rows * part // max(1, len(packed)))
    for low in range(0, rows, step) if len(packed) else ():
        # few pairs make a step beyond 2^32, so the upper bound stops at the number of rows
        bounds = np.uint64(low << 32), np.uint64(min(rows, low + step) << 32)
        chunks = (packed[start : start + part] for start in range(0, len(packed), part))
        once = np.unique(np.concatenate([c[(c >= bounds[0]) & (c < bounds[1])] for c in chunks]))
        yield np.stack([once >> np.uint64(32), once & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
