"""Cut texts, as tokens, into batches and windows by fixed rules.

In: numbers of tokens. Out: the rows of each batch, or the windows of a long text.

The batches depend only on the texts of one call, and never on the number of workers. The padded width of a text depends
on its own length alone, and a batch holds texts of one width. With torch on CPUs with AVX-512, a matrix product of 16
rows or more gave each row the same bits, whatever the other rows were. The vector of a text then does not depend on how
rows were cut into batches. Libraries for matrices do not promise this, and on GPUs it does not hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STEP = 16  # widths are multiples of this; with fewer rows, a matrix product takes another way through the processor
BATCH_TOKENS = 2048  # tokens of a batch; between 1,024 and 4,096, MiniLM is equally fast on one core


@dataclass(frozen=True)
class Batch:
    """Texts that run through a model together: their ``rows`` (b,), padded to ``width`` tokens."""

    rows: np.ndarray
    width: int


def by_length(
    lengths: Sequence[int] | np.ndarray, limit: int, *, tokens: int = BATCH_TOKENS, step: int = STEP
) -> Iterator[Batch]:
    """Yield batches of texts of about equal length, the shortest first.

    Args:
        lengths: number of tokens of each text, at most ``limit``. A text without tokens is in no batch.
        limit: the most tokens that the model can take.
        tokens: the most tokens of a batch, with padding. A batch has at least one text.
        step: widths are multiples of this, or ``limit``.
    """
    counts = np.asarray(lengths, np.int64)
    widths = np.minimum(-(-counts // step) * step, limit)
    order = np.argsort(widths, kind="stable")
    order = order[widths[order] > 0]
    for width in np.unique(widths[order]).tolist():
        rows = order[widths[order] == width]
        size = max(1, tokens // width)
        for start in range(0, len(rows), size):
            yield Batch(rows[start : start + size], width)


def padded(values: Sequence[Sequence[int]], width: int, filler: int) -> np.ndarray:
    """Return (b, width) int64: lists of numbers, filled up on the right."""
    result = np.full((len(values), width), filler, np.int64)
    for row, numbers in zip(result, values, strict=True):
        row[: len(numbers)] = numbers
    return result


@dataclass(frozen=True)
class Window:
    """The tokens ``start`` up to ``stop`` of a text. Those from ``first`` on are new, the others are context."""

    start: int
    stop: int
    first: int


def windows(length: int, size: int, overlap: int) -> list[Window]:
    """Return windows of at most ``size`` tokens that cover a text; each repeats the last ``overlap`` of the one before.

    Raises:
        ValueError: if ``overlap`` is not in [0, size).
    """
    if not 0 <= overlap < size:
        raise ValueError(f"an overlap of {overlap} tokens must be at least 0 and below the window of {size}")
    result, first = list[Window](), 0
    while first < length:
        start = max(0, first - overlap)
        stop = min(length, start + size)
        result.append(Window(start, stop, first))
        first = stop
    return result
