"""Take the longest prefix of each cell that is within its quota.

In: rows in order, a block at a time. Out: which of them are taken. A cell is a group of rows with a quota of its own.
"""

from dataclasses import dataclass, field

import numpy as np

FEW_CELLS = 1 << 16  # numpy sorts numbers of 16 bits by counting, which is much faster


@dataclass
class Prefixes:
    """The quotas (cells,) of rows or tokens, and the weights of the rows so far: those taken and those passed over.

    A row is taken if its cell, up to and with this row, is within the quota. Weights are not negative, so the rows
    taken of a cell are a prefix of its rows, and no longer prefix is within the quota.
    """

    quotas: np.ndarray
    sums: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no rows."""
        self.sums = np.zeros(len(self.quotas), np.int64)

    def take(self, cell: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return which of the next rows are taken, (n,) bool; ``cell`` (n,) numbers their cells."""
        if not len(cell):
            return np.zeros(0, bool)
        if len(self.quotas) == 1:
            sums = self.sums[0] + np.cumsum(weight)
            self.sums[0] = sums[-1]
            return np.asarray(sums <= self.quotas[0])
        order = np.argsort(cell.astype(np.uint16) if len(self.quotas) <= FEW_CELLS else cell, kind="stable")
        sorted_cell = cell[order].astype(np.int64)
        sums, first = sums_of_segments(sorted_cell, weight[order])
        sums += self.sums[sorted_cell]
        taken = np.empty(len(cell), bool)
        taken[order] = sums <= self.quotas[sorted_cell]
        last = np.append(first[1:], len(cell)) - 1
        self.sums[sorted_cell[last]] = sums[last]
        return taken

    @property
    def finished(self) -> bool:
        """Return whether every quota is passed, so that no later row can be taken."""
        return bool((self.sums > self.quotas).all())


def sums_of_segments(cell: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the running sums (n,) of weights within each run of equal cells, and where the runs begin."""
    first = np.flatnonzero(np.concatenate(([True], cell[1:] != cell[:-1]))) if len(cell) else np.zeros(0, np.int64)
    sums = np.cumsum(weight)
    before = sums[first] - weight[first]
    return sums - np.repeat(before, np.diff(np.append(first, len(cell)))), first
