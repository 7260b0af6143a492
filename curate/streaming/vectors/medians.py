"""The exact median of every coordinate of the vectors of a corpus, in bounded memory.

In: a corpus with a column of vectors, and the group of each row. Out: the median of each coordinate over each group.

The 32 bits of a float32 can be turned into a whole number, so that whole numbers have the order of the floats. The
median is then found digit by digit (of 8 bits), from the highest. In each pass over the rows, only values that begin
with the digits so far are counted, by their next digit. Counts are whole numbers, so they add up exactly in any order.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from curate.tables.corpus import Arrays, Corpus, PartRows

DIGITS = 256  # of 8 bits: four passes, and counts that fit into memory
COUNTS = 1 << 24  # numbers that are counted at a time: 128 MB. More groups are worked on a few at a time

Groups = Callable[[pl.DataFrame], np.ndarray]  # the number (n,) of the group of each row of a batch


def medians(
    corpus: Corpus, embedding: str, needs: tuple[str, ...], groups: Groups, sizes: np.ndarray, width: int
) -> np.ndarray:
    """Return the median (g, d) float32 of each coordinate over each group.

    ``sizes`` (g,) are the numbers of rows of the groups, above 0. ``groups`` is a function at the top level of a
    module, or a partial of one. ``needs`` are the columns that it reads, besides the vectors of ``embedding``. Of an
    even number of values, the median is the mean of the two in the middle.
    """
    step = max(1, COUNTS // (2 * width * DIGITS))
    parts = [
        _of_groups(corpus, embedding, needs, partial(_shifted, groups, low), sizes[low : low + step], width)
        for low in range(0, len(sizes), step)
    ]
    return np.concatenate(parts)


def _of_groups(
    corpus: Corpus, embedding: str, needs: tuple[str, ...], groups: Groups, sizes: np.ndarray, width: int
) -> np.ndarray:
    """Return the medians of groups that are few enough to be counted at once."""
    shape = (2, len(sizes), width)
    # The two values in the middle are the same one if the number of rows is odd.
    rank = np.broadcast_to(np.stack([(sizes - 1) // 2, sizes // 2])[:, :, None], shape).copy()
    prefix = np.zeros(shape, np.uint32)
    for shift in (24, 16, 8, 0):
        counts = np.zeros((len(sizes), 2, width, DIGITS), np.int64)
        function = partial(_digit_counts, embedding, groups, prefix, shift)
        for part in corpus.map(function, tuple(dict.fromkeys((embedding, *needs)))):
            counts.reshape(-1)[part["cell"]] += part["count"]
        below = np.cumsum(counts.swapaxes(0, 1), axis=-1)
        # The next digit is the first one at which more values are counted than the rank.
        digit = (below <= rank[..., None]).sum(axis=-1)
        before = np.take_along_axis(below, np.maximum(digit - 1, 0)[..., None], axis=-1)[..., 0]
        rank -= np.where(digit > 0, before, 0)
        prefix = (prefix << np.uint32(8)) | digit.astype(np.uint32)
    low, high = _floats(prefix)
    return np.asarray((low + high) / np.float32(2))


def _shifted(groups: Groups, low: int, batch: pl.DataFrame) -> np.ndarray:
    return groups(batch) - low


def _digit_counts(embedding: str, groups: Groups, prefix: np.ndarray, shift: int, rows: PartRows) -> Arrays:
    """Return how many values of a part have each next digit: the numbers of cells of a (g, 2, d, DIGITS) array.

    Only values count that begin with the digits ``prefix`` (2, g, d), for each of the two values in the middle. Few
    cells have a value: the first digit of a float is its sign and most of its exponent.
    """
    _, size, width = prefix.shape
    counts: dict[int, np.ndarray] = {}
    for batch in rows.batches():
        group = groups(batch)
        inside = np.flatnonzero((group >= 0) & (group < size))
        if not len(inside):
            continue
        numbers = _ordered(batch[embedding].to_numpy()[inside])
        for number in np.unique(group[inside]).tolist():
            values = numbers[group[inside] == number]
            total = counts.setdefault(number, np.zeros((2, width, DIGITS), np.int64))
            first = _counts(values, prefix[0, number], shift)
            # Mostly, both values in the middle begin with the same digits.
            same = np.array_equal(*prefix[:, number])
            total += np.stack([first, first if same else _counts(values, prefix[1, number], shift)])
    cells, numbers_of_cells = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, total in counts.items():
        cell = np.flatnonzero(total)
        cells.append(cell + number * total.size)
        numbers_of_cells.append(total.ravel()[cell])
    return {"cell": np.concatenate(cells), "count": np.concatenate(numbers_of_cells)}


def _counts(values: np.ndarray, prefix: np.ndarray, shift: int) -> np.ndarray:
    """Return how many of (n, d) values that begin with ``prefix`` (d,) have each next digit, (d, DIGITS)."""
    width = values.shape[1]
    cell = (values >> np.uint32(shift) & np.uint32(DIGITS - 1)).astype(np.int64) + np.arange(width) * DIGITS
    if shift < 24:
        cell = cell[values >> np.uint32(shift + 8) == prefix]
    return np.bincount(cell.ravel(), minlength=width * DIGITS).reshape(width, DIGITS)


def _ordered(vectors: np.ndarray) -> np.ndarray:
    """Return float32 numbers as uint32 in the same order."""
    # Adding 0 turns -0 into 0, which is equal to it.
    bits = (vectors.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(1 << 31))


def _floats(numbers: np.ndarray) -> np.ndarray:
    """Return the float32 numbers that `_ordered` turned into these."""
    positive = numbers >> np.uint32(31) == 1
    return np.where(positive, numbers & np.uint32((1 << 31) - 1), ~numbers).astype(np.uint32).view(np.float32)
