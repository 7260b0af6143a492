"""Tell which rows of score files meet all requirements.

In: one file of codes for each score file. Out: the code of each row of a range.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.tables.row_ranges import RowRange

CODES = ".npy"  # ending of a file of codes
ELIGIBLE = 0  # the code of a row that meets all requirements; n is the code of a row that fails the n-th one first


@dataclass(frozen=True)
class Eligible:
    """The codes of all rows: one file of (n,) uint16 below ``folder`` for each score file of n rows."""

    folder: Path

    def path(self, relative: str) -> Path:
        """Return the file of the codes of the score file with this relative path."""
        return self.folder / (relative + CODES)

    def codes(self, rows: RowRange) -> np.ndarray:
        """Return the codes of a range of rows, (n,) uint16."""
        # Mapped, so that only the range is read.
        codes = np.load(self.path(rows.shard.relative), mmap_mode="r")
        end = None if rows.count is None else rows.first + rows.count
        return np.asarray(codes[rows.first : end])
