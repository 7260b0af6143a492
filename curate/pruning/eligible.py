"""Tell which rows of score files meet all requirements.

In: one file of codes for each score file. Out: the code of each row of a range.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from curate.storage import disk_arrays
from curate.tables.row_ranges import RowRange

CODES = ".npy"  # ending of a file of codes
CODE = np.dtype(np.uint16)  # room for 65,535 requirements
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
        with self.path(rows.shard.relative).open("rb") as file:
            total, start = _header(file)
            end = total if rows.count is None else min(total, rows.first + rows.count)
            file.seek(start + rows.first * CODE.itemsize)
            return np.fromfile(file, CODE, max(0, end - rows.first))

    def mask(self, rows: RowRange) -> np.ndarray:
        """Return which rows of a range meet all requirements, (n,) bool."""
        return np.asarray(self.codes(rows) == ELIGIBLE)

    def make_room(self, relative: str, rows: int) -> None:
        """Make the file of the codes of a score file with ``rows`` rows, which several tasks then write."""
        path = self.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": CODE.str, "fortran_order": False, "shape": (rows,)})
            file.truncate(file.tell() + rows * CODE.itemsize)

    def write(self, rows: RowRange, codes: np.ndarray) -> None:
        """Write the codes of a range of rows. A range that is the whole file makes the file."""
        if rows.first == 0 and rows.count is None:
            self.make_room(rows.shard.relative, len(codes))
        # Tasks write different rows of a file, so that none waits for another. The file is not mapped: where the disk
        # is full, writing to a mapped file ends the process.
        with self.path(rows.shard.relative).open("r+b") as file:
            _, start = _header(file)
            file.seek(start + rows.first * CODE.itemsize)
            disk_arrays.append(file, codes.astype(CODE, copy=False))


def _header(file: BinaryIO) -> tuple[int, int]:
    """Return the number of codes in a file, and the byte at which they begin."""
    np.lib.format.read_magic(file)
    shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return int(shape[0]), file.tell()
