"""Cut the copies of every pool into cells small enough to sort, and sort each cell.

In: the index of every data file. Out: the number of rows of each last pass, and a file of sorted copies for each cell.
A pass is in the order of a hash, so the rows whose hashes lie in one range are one stretch of it: a cell. Counting the
tokens of all cells first gives the tokens before each cell, so that every cell can be sorted by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.storage import disk_arrays, files
from curate.storage.files import replacing
from curate.training_set.ordering import pieces, pool_draw
from curate.training_set.ordering.pieces import KeyedFile, Run
from curate.training_set.ordering.pool_draw import Phases, PoolDraw

# Rows that are sorted at a time, about 100 bytes each: 13 MB. A change of this number changes how the work files are
# cut, and no byte of a training set.
CELL_ROWS = 1 << 17
INDEX = np.dtype([("row", "<i8"), ("key", "<u8"), ("tokens", "<i8")])
COPY = np.dtype([("order", "<u8"), ("row", "<i8"), ("tokens", "<i8")])
TIMED = np.dtype([("time", "<f8"), ("file", "<i8"), ("row", "<i8"), ("tokens", "<i8")])


@dataclass(frozen=True)
class PoolCells:
    """The cells of one pool: ``buckets`` for each of ``passes``. They are numbered from ``first``, pass by pass."""

    first: int
    passes: int
    buckets: int

    @property
    def end(self) -> int:
        """Return the number after the last cell."""
        return self.first + self.passes * self.buckets

    def of(self, order_key: np.ndarray, epoch: int) -> np.ndarray:
        """Return the cell (n,) of rows in a pass, from the hashes by which they are sorted, (n,) uint64."""
        # The upper 32 bits of the hash choose the bucket, so that a later row of the pass never has an earlier bucket.
        bucket = ((order_key >> np.uint64(32)) * np.uint64(self.buckets)) >> np.uint64(32)
        return self.first + epoch * self.buckets + bucket.astype(np.int64)


def index_path(folder: Path, number: int) -> Path:
    """Return the file that lists the rows of each pool in a data file."""
    return folder / f"{number:05d}.rows"


def split_path(folder: Path, number: int) -> Path:
    """Return the file with the copies of a data file by cell."""
    return folder / f"{number:05d}.split"


def cell_path(folder: Path, cell: int) -> Path:
    """Return the file with the sorted copies of a cell."""
    return folder / f"{cell:07d}.cell"


def pool_cells(passes: Sequence[int], rows: Sequence[int], cell_rows: int) -> tuple[PoolCells, ...]:
    """Return the cells of pools with so many passes and rows each."""
    result, first = [], 0
    for number, count in zip(passes, rows, strict=True):
        result.append(PoolCells(first, number, max(1, -(-count // cell_rows))))
        first = result[-1].end
    return tuple(result)


@dataclass(frozen=True)
class Indexed:
    """A data file that is indexed: its number, the folder of the work files, and the numbers of its pools."""

    number: int
    folder: Path
    pools: tuple[int, ...]

    @property
    def index(self) -> KeyedFile:
        """Return the index of the file. Its keys are the positions in ``pools``."""
        return pieces.opened(index_path(self.folder, self.number))


def count_cells(pools: Sequence[PoolCells], file: Indexed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells of the rows of a data file, (c,), and the rows and tokens in each, (c,) both."""
    numbers, counts = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int64)]
    index = file.index
    for position, pool in enumerate(file.pools):
        cells = pools[pool]
        sums = np.zeros((cells.end - cells.first, 2), dtype=np.int64)
        for rows in pieces.read(index, position) if cells.passes else ():
            for epoch in range(cells.passes):
                cell = cells.of(pool_draw.order_keys(rows["key"], epoch), epoch) - cells.first
                np.add.at(sums[:, 0], cell, 1)
                np.add.at(sums[:, 1], cell, rows["tokens"])
        present = np.flatnonzero(sums[:, 0])
        numbers.append(present + cells.first)
        counts.append(sums[present])
    rows_tokens = np.concatenate(counts)
    return np.concatenate(numbers), rows_tokens[:, 0], rows_tokens[:, 1]


def split(pools: Sequence[PoolCells], needed: np.ndarray, file: Indexed) -> int:
    """Write the copies of a data file that are in ``needed`` cells, by cell; return the number of the file.

    ``needed`` (cells,) bool marks cells.
    """
    index = file.index

    def runs() -> Iterator[Run]:
        for position, pool in enumerate(file.pools):
            cells = pools[pool]
            for rows in pieces.read(index, position) if cells.passes else ():
                for epoch in range(cells.passes):
                    order = pool_draw.order_keys(rows["key"], epoch)
                    cell = cells.of(order, epoch)
                    inside = needed[cell]
                    copies = np.empty(int(inside.sum()), dtype=COPY)
                    copies["order"], copies["row"] = order[inside], rows["row"][inside]
                    copies["tokens"] = rows["tokens"][inside]
                    yield cell[inside], copies

    pieces.write(split_path(file.folder, file.number), runs(), len(needed))
    return file.number


@dataclass(frozen=True)
class LastPass:
    """The last pass of a pool, which takes whole rows in their order until they come nearest to ``rest`` tokens.

    ``cell`` is the cell in which the sum of tokens passes ``rest``. ``before`` are the (rows, tokens) of the pass
    before this cell. ``earlier`` is the last cell before it that has tokens, with the rows before that one; None if
    there is no such cell. ``files`` are the numbers of the data files that have rows of the pool.
    """

    pool: int
    folder: Path
    files: tuple[int, ...]
    rest: int
    cell: int
    before: tuple[int, int]
    earlier: tuple[int, int] | None


def last_pass(pool: int, folder: Path, files: tuple[int, ...], rest: int, first: int, sums: np.ndarray) -> LastPass:
    """Return where a last pass ends, from the rows and tokens of its cells, (buckets, 2). Its first cell is ``first``.

    ``rest`` is less than the tokens of all cells.
    """
    before = np.cumsum(sums, axis=0) - sums
    bucket = int(np.searchsorted(before[:, 1], rest, side="right")) - 1
    earlier = np.flatnonzero(sums[:bucket, 1])
    last = (first + int(earlier[-1]), int(before[earlier[-1], 0])) if len(earlier) else None
    rows, tokens = before[bucket].tolist()
    return LastPass(pool, folder, files, rest, first + bucket, (rows, tokens), last)


def end_of_pass(task: LastPass) -> tuple[int, int, int]:
    """Return the pool, and the rows and tokens that its last pass takes.

    The tokens are as near to ``rest`` as whole rows in order can be, with the fewest rows among equals.
    """
    rows, tokens = task.before
    sums = tokens + np.cumsum(_sorted(task.folder, task.cell, task.files)[0]["tokens"])
    below = int(np.searchsorted(sums, task.rest, side="right"))
    low = int(sums[below - 1]) if below else tokens
    high = int(sums[below])
    if task.rest - low > high - task.rest:
        return task.pool, rows + below + 1, high
    if low > tokens:
        return task.pool, rows + int(np.searchsorted(sums, low)) + 1, low
    if task.earlier is None:
        return task.pool, 0, 0
    # Rows without tokens between the two cells change no sum, so the pass ends at the last row that has some.
    cell, rows = task.earlier
    copies, _ = _sorted(task.folder, cell, task.files)
    return task.pool, rows + int(np.flatnonzero(copies["tokens"])[-1]) + 1, low


@dataclass(frozen=True)
class CellTask:
    """A cell to be sorted: the first ``rows`` copies of it are drawn, after ``before`` tokens of the pool."""

    cell: int
    folder: Path
    files: tuple[int, ...]
    draw: PoolDraw
    phases: Phases
    before: int
    rows: int


# Cells of pools with few rows and many passes are tiny. So many of them are sorted and synced to disk together.
TOGETHER = 64


def groups(tasks: Sequence[CellTask]) -> list[tuple[CellTask, ...]]:
    """Return cells in groups that one task sorts: up to ``TOGETHER`` cells, with no more rows than a large cell has."""
    result: list[list[CellTask]] = []
    rows = 0
    for task in tasks:
        if not result or len(result[-1]) == TOGETHER or rows + task.rows > CELL_ROWS:
            result.append([])
            rows = 0
        result[-1].append(task)
        rows += task.rows
    return [tuple(group) for group in result]


def sort_cells(edges: np.ndarray, tasks: Sequence[CellTask]) -> list[tuple[int, int, np.ndarray]]:
    """Sort some cells, each into a file of its own; return for each what `_sort_cell` returns."""
    with files.together():
        return [_sort_cell(edges, task) for task in tasks]


def _sort_cell(edges: np.ndarray, task: CellTask) -> tuple[int, int, np.ndarray]:
    """Write the drawn copies of a cell in their order with their times.

    Returns the cell, the first window of which it has copies, and where the copies of each window end, (windows,) from
    that window on. ``edges`` (windows - 1,) are the times at which a window ends and the next begins.
    """
    path = cell_path(task.folder, task.cell)
    if path.is_file():
        # The file of an earlier call is whole, and is the same.
        time = np.fromfile(path, dtype=TIMED)["time"]
    else:
        copies, file = _sorted(task.folder, task.cell, task.files)
        copies, file = copies[: task.rows], file[: task.rows]
        size = copies["tokens"]
        timed = np.empty(len(copies), dtype=TIMED)
        before = task.before + np.cumsum(size) - size
        timed["time"] = pool_draw.times(copies["order"], size, before, task.draw, task.phases)
        timed["file"], timed["row"], timed["tokens"] = file, copies["row"], size
        with replacing(path) as temporary, temporary.open("wb") as target:
            disk_arrays.append(target, timed)
        time = timed["time"]
    first, last = np.searchsorted(edges, time[[0, -1]], side="right").tolist() if len(time) else (0, 0)
    return task.cell, first, np.searchsorted(time, [*edges[first:last].tolist(), np.inf])


def _sorted(folder: Path, cell: int, files: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the copies of a cell in the order of their pass, and the data file of each."""
    parts, owners = [np.zeros(0, dtype=COPY)], [np.zeros(0, dtype=np.int64)]
    for number in files:
        for part in pieces.read(pieces.opened(split_path(folder, number)), cell):
            parts.append(part)
            owners.append(np.full(len(part), number))
    copies, owner = np.concatenate(parts), np.concatenate(owners)
    # Rows with equal hashes stay in the order of files and rows.
    order = np.argsort(copies["order"], kind="stable")
    return copies[order], owner[order]
