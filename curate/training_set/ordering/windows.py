"""Merge the sorted copies of all pools by time, and give every copy its place in the training set.

In: the file of every cell. Out: a file for each window of time, with the places of its copies by data file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.training_set.ordering import cells, pieces, pool_draw
from curate.training_set.ordering.pool_draw import Phases, PoolDraw

# Rows of a data file whose copies are brought to their places at a time. With few passes they are as many as in a cell.
BLOCK_ROWS = 1 << 17
PLACE = np.dtype([("row", "<i8"), ("slot", "<i8"), ("tokens", "<i8"), ("pool", "<i4"), ("epoch", "<i4")])


@dataclass(frozen=True)
class Stretch:
    """Copies of one cell that lie in a window: those in the positions [start, end). They are of one pool and pass."""

    cell: int
    pool: int
    epoch: int
    start: int
    end: int


@dataclass(frozen=True)
class TimeWindow:
    """A window of time to be merged. ``first`` is the place of its first copy; ``stretches`` are in order of cells."""

    number: int
    folder: Path
    first: int
    stretches: tuple[Stretch, ...]


def window_path(folder: Path, number: int) -> Path:
    """Return the file with the places of the copies of a window."""
    return folder / f"{number:06d}.window"


def edges(
    draws: Sequence[PoolDraw], sums: Sequence[np.ndarray], phases: Sequence[Phases], window_rows: int
) -> np.ndarray:
    """Return the times (windows - 1,) that divide the training into windows of about ``window_rows`` copies.

    ``sums`` are the rows and tokens that are drawn of the cells of each pool, (cells, 2).
    """
    curves = []
    for draw, counts, bent in zip(draws, sums, phases, strict=True):
        if draw.copies:
            rows, tokens = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(counts, axis=0)]).T
            time = pool_draw.bend(np.minimum(tokens / draw.tokens, pool_draw.BEFORE_END), bent)
            curves.append((time, rows))
    knots = np.unique(np.concatenate([time for time, _ in curves]))
    # Between the ends of two cells, copies are nearly even in time.
    copies = np.sum([np.interp(knots, time, rows) for time, rows in curves], axis=0)
    total = sum(draw.copies for draw in draws)
    windows = -(-total // window_rows)
    return np.asarray(np.interp(np.linspace(0, total, windows + 1)[1:-1], copies, knots))


def blocks(rows: Sequence[int]) -> np.ndarray:
    """Return the number of the first block of each data file, (files + 1,). ``rows`` are those of each file."""
    counts = [max(1, -(-count // BLOCK_ROWS)) for count in rows]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def merge(first_blocks: np.ndarray, window: TimeWindow) -> int:
    """Write the places of the copies of a window by block of the data, and return the number of the window.

    Copies of equal time go by pool, then by their order within the pool.
    """
    timed, pools, epochs = [], [], []
    for stretch in window.stretches:
        path, size = cells.cell_path(window.folder, stretch.cell), stretch.end - stretch.start
        timed.append(np.fromfile(path, cells.TIMED, size, offset=stretch.start * cells.TIMED.itemsize))
        pools.append(np.full(size, stretch.pool))
        epochs.append(np.full(size, stretch.epoch))
    copies = np.concatenate(timed)
    places = np.empty(len(copies), dtype=PLACE)
    places["row"], places["tokens"] = copies["row"], copies["tokens"]
    places["pool"], places["epoch"] = np.concatenate(pools), np.concatenate(epochs)
    order = copies["time"].argsort(kind="stable")
    places["slot"][order] = np.arange(window.first, window.first + len(order))
    block = first_blocks[copies["file"]] + copies["row"] // BLOCK_ROWS
    pieces.write(window_path(window.folder, window.number), [(block, places)], int(first_blocks[-1]))
    return window.number
