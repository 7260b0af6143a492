"""Sort any number of rows in bounded memory.

In: chunks of rows. Out: the same rows in order, in blocks. This is the textbook external sort: each chunk is sorted and
written to a work file as a run. Rows of the runs at even distances, the splitters, then divide all rows into blocks.
A block is read from every run, sorted, and yielded.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import BinaryIO

import numpy as np

from curate.storage import disk_arrays

# A row of 40 bytes: rows sort by code, then by key (the hash of an id), then by position. Some sorts put the cell
# before the code. The weight is 1, or the tokens of the row.
ROW = np.dtype([("cell", "u8"), ("code", "u8"), ("key", "u8"), ("position", "i8"), ("weight", "i8")])
# Rows of a chunk, a run and a block: 5 MB. A sort needs several copies of them.
CHUNK_ROWS = 1 << 17


def chunk_rows(rows: int) -> int:
    """Return the rows of a chunk, where there are ``rows`` in all.

    The splitters of all runs are in memory too. They are few as long as chunks grow with the square root of the rows:
    1e9 rows are sorted in chunks of 2e6.
    """
    return max(CHUNK_ROWS, 64 * isqrt(rows))


@dataclass(frozen=True)
class ExternalSort:
    """Rows to sort: ``chunks`` yields them in the order of their positions, at most ``rows`` in all.

    ``folder`` is for work files. With ``by_cell`` the rows of a cell come together, cells in rising order.
    """

    chunks: Callable[[], Iterator[np.ndarray]]
    rows: int
    folder: Path
    by_cell: bool = False

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the rows in order, in blocks (m,) of `ROW`. Every call reads and sorts the rows again."""
        size = chunk_rows(self.rows)
        if self.rows <= size:
            parts = list(self.chunks())
            yield from (self._sorted(np.concatenate(parts)),) if parts else ()
            return
        with tempfile.TemporaryFile(dir=self.folder) as file:
            ends, samples = self._write_runs(file, size)
            if len(ends) > 1:
                yield from self._merged(file, ends, samples, size)

    def _write_runs(self, file: BinaryIO, size: int) -> tuple[list[int], np.ndarray]:
        """Write sorted runs. Return where they begin, with the end of the last one, and rows at even distances."""
        runs = -(-self.rows // size)
        ends, samples = [0], [np.zeros(0, ROW)]
        step = max(1, size // (2 * runs))
        for chunk in self.chunks():
            run = self._sorted(chunk)
            disk_arrays.append(file, run)
            ends.append(ends[-1] + len(run))
            # A copy, since a view would keep the whole run in memory.
            samples.append(run[::step].copy())
        file.flush()
        return ends, np.concatenate(samples)

    def _merged(self, file: BinaryIO, ends: Sequence[int], samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield sorted blocks of the runs."""
        runs = len(ends) - 1
        step = max(1, size // (2 * runs))
        # Between two splitters lie at most `runs` samples, so at most 2 * runs * step <= size rows.
        splitters = self._sorted(samples)[runs :: max(1, size // step - runs)]
        bounds = [
            [low, *(low + self._rows_before(_read(file, low, high), splitters)).tolist(), high]
            for low, high in pairwise(ends)
        ]
        for block in range(len(splitters) + 1):
            parts = [_read(file, bound[block], bound[block + 1]) for bound in bounds]
            if sum(map(len, parts)):
                yield self._sorted(np.concatenate(parts))

    def _sorted(self, rows: np.ndarray) -> np.ndarray:
        """Return rows in order; rows that are equal but for their position come in rising positions already."""
        order = np.argsort(rows["code"], kind="stable")
        code = rows["code"][order]
        # Most scores are distinct: the keys are then not needed.
        if (code[1:] == code[:-1]).any():
            order = np.lexsort((rows["key"], rows["code"], *([rows["cell"]] if self.by_cell else [])))
        elif self.by_cell:
            # A stable sort leaves the rows of a cell in this order.
            order = order[np.argsort(rows["cell"][order], kind="stable")]
        # `take` copies whole rows, which is eight times as fast as an index.
        return np.asarray(rows.take(order))

    def _rows_before(self, run: np.ndarray, splitters: np.ndarray) -> np.ndarray:
        """Return how many rows of a sorted run come before each splitter, by halving an interval."""
        low = np.zeros(len(splitters), np.int64)
        high = np.full(len(splitters), len(run), np.int64)
        while (open_ := low < high).any():
            middle = (low + high) // 2
            before = self._before(run[np.minimum(middle, len(run) - 1)], splitters)
            low = np.where(open_ & before, middle + 1, low)
            high = np.where(open_ & ~before, middle, high)
        return low

    def _before(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return whether each row comes before the other one at its place, (m,)."""
        fields = ("cell", "code", "key", "position") if self.by_cell else ("code", "key", "position")
        before = np.zeros(len(rows), bool)
        for name in reversed(fields):
            before = (rows[name] < others[name]) | ((rows[name] == others[name]) & before)
        return before


def _read(file: BinaryIO, first: int, end: int) -> np.ndarray:
    file.seek(first * ROW.itemsize)
    return np.frombuffer(file.read((end - first) * ROW.itemsize), ROW)
