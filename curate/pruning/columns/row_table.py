"""The score, group and tokens of every ranked row, in a work file.

In: arrays of the rows of parts of score files, in any order of the parts. Out: the same rows in the order of the files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from curate.storage import disk_arrays

FILE_STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: tells rows apart that have one id and place in two files
VALUE = "value."  # begins the names of the columns that hold hashes of values, one for each capped column


def row_type(values: int) -> np.dtype:
    """Return the type of a row with the values of so many capped columns.

    ``key`` is the hash of the id, which orders rows of equal score.
    """
    columns = [("score", "f8"), ("key", "u8"), ("group", "i4"), ("tokens", "i8")]
    return np.dtype(columns + [(f"{VALUE}{number}", "u8") for number in range(values)])


class RowWriter:
    """Appends the rows of parts to one file, in a ``with`` block; a part comes whole.

    ``spans`` has the first row and the number of rows of each part, by its number.
    """

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self.path = path
        self.spans: dict[int, tuple[int, int]] = {}
        self._rows = 0
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, so that it can be read."""
        self._file.close()

    def add(self, part: int, arrays: Sequence[np.ndarray]) -> int:
        """Append the rows of the part with this number, and return how many they are."""
        count = sum(map(len, arrays))
        for rows in arrays:
            disk_arrays.append(self._file, rows)
        self.spans[part] = (self._rows, count)
        self._rows += count
        return count


@dataclass(frozen=True)
class RowTable:
    """Rows in a file: ``spans`` has the first row and the number of rows of each part, in the order of the rows.

    ``groups`` holds the final number of each group by its number in the file.
    """

    path: Path
    type: np.dtype
    spans: Sequence[tuple[int, int]]
    groups: np.ndarray

    @property
    def rows(self) -> int:
        """Return the number of all rows."""
        return sum(rows for _, rows in self.spans)

    def chunks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all rows, ``size`` at a time, each chunk with the position of its first row."""
        position, pieces, missing = 0, list[np.ndarray](), size
        with self.path.open("rb") as file:
            for first, rows in self.spans:
                while rows:
                    count = min(rows, missing)
                    file.seek(first * self.type.itemsize)
                    pieces.append(np.frombuffer(file.read(count * self.type.itemsize), self.type))
                    first, rows, missing = first + count, rows - count, missing - count
                    if not missing:
                        yield position, self._joined(pieces)
                        position, pieces, missing = position + size, [], size
        if pieces:
            yield position, self._joined(pieces)

    def _joined(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        rows = np.concatenate(pieces)
        rows["group"] = self.groups[rows["group"]]
        return rows
