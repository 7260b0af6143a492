"""The verdict of every ranked row: one byte a row in a work file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import numpy as np
import polars as pl

from curate.storage import files, manifest, s3

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
        with files.opened(self.path) as file:
            file.seek(start)
            return np.frombuffer(file.read(frame.height), np.uint8)

    @contextmanager
    def reachable(self, out: Path) -> Iterator["VerdictFile"]:
        """Yield the verdicts where workers on other machines can read them: in the store, if ``out`` is in one."""
        if not s3.remote(out):
            yield self
            return
        copy = VerdictFile(out / manifest.FOLDER / self.path.name)
        with files.replacing(copy.path) as temporary:
            copyfile(self.path, temporary)
        try:
            yield copy
        finally:
            files.remove(copy.path)
