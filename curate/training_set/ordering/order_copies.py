"""Plan the draw of every pool and place every copy: the steps of `cells` and `windows`, one after the other.

In: the index of every data file and the planned tokens of every pool. Out: the draws, and a file for each window.
Every step runs on the engine, a task for each data file, pool, cell or window. This process holds a few numbers for
each of them, and no row. A step finds the files of an earlier call, so that a job that was killed goes on.
Disk: about 30 bytes for each row, and 90 for each copy.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from curate.storage.files import replacing
from curate.training_set.ordering import cells, windows
from curate.training_set.ordering.cells import CellTask, Indexed, PoolCells
from curate.training_set.ordering.pool_draw import Phases, PoolDraw
from curate.training_set.ordering.windows import Stretch, TimeWindow

T = TypeVar("T")
R = TypeVar("R")


class Run(Protocol):
    """Runs the tasks of a step somewhere, and yields their results as they come: the step's name, and its tasks."""

    def __call__(self, step: str, function: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
        """Run the tasks."""
        ...


@dataclass(frozen=True)
class PlannedPool:
    """A pool to draw ``target`` tokens from: its ``rows`` with text, their tokens, and the phases of a schedule.

    ``files`` are the numbers of the data files that have rows of it, rising.
    """

    name: str
    target: int
    rows: int
    unique: int
    phases: Phases
    files: tuple[int, ...]


def put_in_order(
    folder: Path,
    pools: Sequence[PlannedPool],
    files: Sequence[Indexed],
    first_blocks: np.ndarray,
    run: Run,
    cell_rows: int,
) -> tuple[PoolDraw, ...]:
    """Write the places of all copies, window by window, and return the draws.

    The windows are numbered from 0, and there are as many as ``cell_rows`` goes into all copies. ``first_blocks`` is
    what `windows.blocks` returns.
    """
    passes = [pool.target // pool.unique + (pool.target % pool.unique > 0) for pool in pools]
    plan = cells.pool_cells(passes, [pool.rows for pool in pools], cell_rows)
    sums = _counted(folder, plan, files, run)
    ends = {
        number: cells.last_pass(number, folder, pool.files, rest, first, sums[first : first + plan[number].buckets])
        for number, pool in enumerate(pools)
        if (rest := pool.target % pool.unique)
        for first in [plan[number].end - plan[number].buckets]
    }
    needed = np.ones(len(sums), dtype=bool)
    for number, end in ends.items():
        needed[end.cell + 1 : plan[number].end] = False
    absent = [file for file in files if not cells.split_path(folder, file.number).is_file()]
    for _ in run("files cut into cells", partial(cells.split, plan, needed), absent):
        pass
    last = {number: (rows, tokens) for number, rows, tokens in run("ends found", cells.end_of_pass, [*ends.values()])}
    draws = tuple(_draw(pool, *last.get(number, (0, 0))) for number, pool in enumerate(pools))
    if any(draw.copies for draw in draws):
        tasks, stretches = _cells_to_sort(folder, pools, draws, plan, sums)
        edges = windows.edges(draws, _drawn(tasks, plan, sums), [pool.phases for pool in pools], cell_rows)
        parts: list[list[Stretch]] = [[] for _ in range(len(edges) + 1)]
        results = run("cells sorted", partial(cells.sort_cells, edges), cells.groups(tasks))
        for cell, first, ends_of_windows in chain.from_iterable(results):
            start = 0
            for window, end in enumerate(ends_of_windows.tolist(), start=first):
                if end > start:
                    parts[window].append(replace(stretches[cell], start=start, end=end))
                start = end
        # Tasks end in any order. Copies of equal time are put in the order of pools and passes.
        merges = _windows(folder, [sorted(part, key=lambda stretch: stretch.cell) for part in parts])
        absent_windows = [task for task in merges if not windows.window_path(folder, task.number).is_file()]
        for _ in run("rows placed", partial(windows.merge, first_blocks), absent_windows):
            pass
    return draws


def _counted(folder: Path, plan: Sequence[PoolCells], files: Sequence[Indexed], run: Run) -> np.ndarray:
    """Return the rows and tokens of every cell, (cells, 2)."""
    path = folder / "cells.npy"
    if path.is_file():
        return np.asarray(np.load(path))
    sums = np.zeros((plan[-1].end, 2), dtype=np.int64)
    # The order in which tasks end changes nothing, because sums of whole numbers are exact.
    for numbers, rows, tokens in run("rows counted by cell", partial(cells.count_cells, plan), files):
        sums[numbers, 0] += rows
        sums[numbers, 1] += tokens
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, sums, allow_pickle=False)
    return sums


def _draw(pool: PlannedPool, last: int, tokens: int) -> PoolDraw:
    full = pool.target // pool.unique
    return PoolDraw(pool.name, pool.target, pool.unique, pool.rows, full, last, full * pool.unique + tokens)


def _cells_to_sort(
    folder: Path,
    pools: Sequence[PlannedPool],
    draws: Sequence[PoolDraw],
    plan: Sequence[PoolCells],
    sums: np.ndarray,
) -> tuple[list[CellTask], dict[int, Stretch]]:
    """Return a task for each cell of which copies are drawn, and the pool and pass of each such cell."""
    tasks, stretches = [], {}
    for number, (pool, draw, own) in enumerate(zip(pools, draws, plan, strict=True)):
        counts = sums[own.first : own.end]
        before = np.cumsum(counts, axis=0) - counts
        # The rows of a pool come pass by pass, so the number of copies says where its sequence ends.
        rows = np.clip(draw.copies - before[:, 0], 0, counts[:, 0])
        for position in np.flatnonzero(rows).tolist():
            cell = own.first + position
            tokens, drawn = int(before[position, 1]), int(rows[position])
            tasks.append(CellTask(cell, folder, pool.files, draw, pool.phases, tokens, drawn))
            stretches[cell] = Stretch(cell, number, position // own.buckets, 0, 0)
    return tasks, stretches


def _drawn(tasks: Sequence[CellTask], plan: Sequence[PoolCells], sums: np.ndarray) -> list[np.ndarray]:
    """Return the rows and tokens that are drawn of the cells of each pool, (cells, 2).

    The tokens of a cell that is drawn in part are a guess, in proportion to its rows.
    """
    drawn = np.zeros_like(sums)
    for task in tasks:
        rows, tokens = sums[task.cell].tolist()
        drawn[task.cell] = task.rows, tokens * task.rows // rows
    return [drawn[own.first : own.end] for own in plan]


def _windows(folder: Path, parts: Sequence[Sequence[Stretch]]) -> list[TimeWindow]:
    """Return a task for each window, which knows the place of its first copy."""
    result, first = [], 0
    for number, part in enumerate(parts):
        result.append(TimeWindow(number, folder, first, tuple(part)))
        first += sum(stretch.end - stretch.start for stretch in part)
    return [window for window in result if window.stretches]
