"""The verdict of every ranked row: one byte a row in a work file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

# Verdict CAPPED + i: the cap with number i dropped the row. REMOVED_FIRST: the rule took the row out of the ranking.
DROPPED, KEPT, KEPT_BY_FLOOR, REMOVED_FIRST, CAPPED = range(5)


@dataclass(frozen=True)
class VerdictFile:
    """A file with the verdict of each ranked row, in the order of the rows."""

    path: Path

    def create(self, rows: int) -> np.memmap:
        """Create the file, and return its verdicts (rows,) uint8, all `DROPPED`, to be changed in place."""
        return np.memmap(self.path, np.uint8, mode="w+", shape=(rows,))

    def of(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame of ranked rows that begins at position ``start``."""
        return np.fromfile(self.path, np.uint8, frame.height, offset=start)
