"""Cut long files into ranges of rows, so that several workers can read one file.

In: a file. Out: ranges that end where its row groups end. They depend on the file alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from curate.storage import files
from curate.tables import readers
from curate.tables.shards import Shard

# A range of a file has about so many bytes on disk. Scores of that size take seconds to read. The head of a smaller
# file need not be read.
RANGE_BYTES = 32 << 20


@dataclass(frozen=True)
class RowRange:
    """Rows of a file from row ``first`` on: ``count`` rows, or all that follow if it is None."""

    shard: Shard
    first: int = 0
    count: int | None = None

    def __str__(self) -> str:
        """Return the path of the file, and the rows where it is not all of them."""
        if self.count is None:
            return f"{self.shard.path}{f' from row {self.first} on' if self.first else ''}"
        return f"{self.shard.path}, rows {self.first} to {self.first + self.count - 1}"

    def cut(self, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows of this range from batches that begin with row ``first``."""
        if self.count is None:
            yield from frames
            return
        remaining = self.count
        for frame in frames:
            yield frame.head(remaining)
            remaining -= frame.height
            if remaining <= 0:
                return


def row_ranges(shard: Shard) -> tuple[RowRange, ...]:
    """Return ranges that together have all rows of a file, in their order.

    A file is one range if it is small, has a single row group, or does not say how many rows it has.
    """
    pieces = files.size(shard.path) // RANGE_BYTES
    groups = readers.head(shard).groups if pieces > 1 else None
    if groups is None:
        return (RowRange(shard),)
    ends = np.cumsum([rows for rows, _ in groups], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    # A range ends with the first row group that reaches its share of the rows.
    shares = np.arange(1, pieces) * total // pieces
    inner = ends[np.searchsorted(ends, shares)] if total else ends
    edges = sorted({0, *(end for end in inner.tolist() if end < total)})
    # The last range has no count: whatever follows belongs to it.
    return (*(RowRange(shard, low, high - low) for low, high in pairwise(edges)), RowRange(shard, edges[-1]))
