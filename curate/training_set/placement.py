"""Decide which rows a pool gives in which pass, and the place of every copy in the training set.

In: the keys and tokens of each pool's rows, and its planned tokens. Out: files with the place of every copy.
The copies of a pool form one sequence: all its rows in a random order, all of them again in another order, and a part
of a last pass. The time of a copy, in [0, 1), is the part of the pool's drawn tokens that come before it, plus a random
part of its own. All copies sorted by time are the training set. So at any cut every pool has given its planned share
to within one document, no document repeats before its pool's pass is over, and pools do not alternate in a pattern
that could meet the stride of a data loader. A schedule bends the time of each pool (`bend`).
Memory: about 90 bytes for each row of the largest pool, whatever the number of passes. Disk: 24 bytes for each copy.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.storage import disk_arrays
from curate.storage.files import replacing

WINDOW = 1 << 20  # copies that are sorted at a time, 40 bytes each: 40 MB
NOT_DRAWN = -1
# (from, to, tokens): between these fractions of training a pool gives so many tokens.
Phases = Sequence[tuple[float, float, int]]


@dataclass(frozen=True)
class PoolDraw:
    """What is drawn of one pool: ``full`` passes over its ``rows``, and ``last`` rows of one more pass.

    ``target`` tokens were planned and ``tokens`` are drawn; ``unique`` are the tokens of one pass. Of the pool's rows,
    ``without_text`` more have a null text and are never drawn.
    """

    pool: str
    target: int
    unique: int
    rows: int
    full: int
    last: int
    tokens: int
    without_text: int = 0

    @property
    def copies(self) -> int:
        """Return the rows drawn, repeats counted."""
        return self.full * self.rows + self.last

    @property
    def passes(self) -> int:
        """Return the passes begun: every row is drawn this often, or once less."""
        return self.full + (self.last > 0)


def plan_draw(pool: str, keys: np.ndarray, tokens: np.ndarray, target: int) -> PoolDraw:
    """Plan to draw ``target`` tokens in whole documents.

    ``keys`` (n,) are random uint64, and ``tokens`` (n,) are the tokens of each row, with at least one in all. Rows join
    the last pass in its order while that brings the drawn tokens nearer to the target. So the difference is at most
    half of a document. Nothing is carried over to other pools.
    """
    unique = int(tokens.sum())
    full, rest = divmod(target, unique)
    reachable = np.concatenate([[0], np.cumsum(tokens[_shuffled(keys, full)])])
    last = int(np.abs(reachable - rest).argmin())  # argmin takes the fewest rows among equals
    return PoolDraw(pool, target, unique, len(keys), full, last, full * unique + int(reachable[last]))


def copies(draw: PoolDraw, keys: np.ndarray, tokens: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows (m,) that each pass takes, in order, and their times (m,) in the training.

    Times lie in [0, 1) and never fall from one row to the next.
    """
    for epoch in range(draw.passes):
        order = _shuffled(keys, epoch)[: draw.last if epoch == draw.full else None]
        size = tokens[order]
        before = epoch * draw.unique + np.cumsum(size) - size
        # The upper 53 bits of a hash as a float: uniform in [0, 1), another number for each pass.
        part = (_mixed(_mixed(keys[order], epoch), 1) >> np.uint64(11)) * 2.0**-53
        yield order, np.minimum((before + part * size) / draw.tokens, np.nextafter(1.0, 0.0))


def bend(parts: np.ndarray, phases: Phases) -> np.ndarray:
    """Return the fractions of training (m,) at which a schedule has drawn these parts (m,) of a pool's tokens.

    Parts lie in [0, 1). Without phases they are returned as they are.
    """
    if not phases:
        return parts
    starts, ends, tokens = np.array(phases, dtype=np.float64).T
    done = np.concatenate([[0.0], np.cumsum(tokens)]) / tokens.sum()
    phase = np.searchsorted(done[1:-1], parts, side="right")
    inside = (parts - done[phase]) / (done[phase + 1] - done[phase])
    times = starts[phase] + inside * (ends - starts)[phase]
    return np.asarray(np.minimum(times, np.nextafter(ends[phase], 0.0)))


def lay_out(
    folder: Path, number: int, draw: PoolDraw, keys: np.ndarray, tokens: np.ndarray, phases: Phases = ()
) -> None:
    """Write the times of the copies of pool ``number`` in order, and the cell (pass * rows + row) of each."""
    if not draw.copies:
        return
    times = _array(folder / f"times-{number}.npy", np.float64, (draw.copies,))
    cells = _array(folder / f"cells-{number}.npy", np.int64, (draw.copies,))
    start = 0
    for rows, time in copies(draw, keys, tokens):
        times[start : start + len(rows)] = bend(time, phases)
        # Every pass before this one was full, so ``start`` is pass * rows.
        cells[start : start + len(rows)] = start + rows
        start += len(rows)


def place(folder: Path, draws: Sequence[PoolDraw]) -> None:
    """Merge the sequences of all pools by time: write ``slots-<pool>.npy``, the place of each copy in the training set.

    Reads what `lay_out` wrote. A file holds int64 places from 0, (passes, rows), or ``NOT_DRAWN``. Ties go by pool,
    then by order within the pool. Memory: one window, whatever the number of rows and passes.
    """
    drawn = [i for i, draw in enumerate(draws) if draw.copies]
    times = [np.load(folder / f"times-{i}.npy", mmap_mode="r") for i in drawn]
    cells = [np.load(folder / f"cells-{i}.npy", mmap_mode="r") for i in drawn]
    windows = -(-sum(map(len, times)) // WINDOW)
    edges = np.linspace(0, 1, windows + 1)[1:-1]
    cuts = [[0, *np.searchsorted(time, edges).tolist(), len(time)] for time in times]
    with ExitStack() as stack:
        slots = [_slots(stack.enter_context(replacing(slots_path(folder, i))), draws[i]) for i in drawn]
        first = 0  # the place of the first copy of the window
        for window in range(windows):
            spans = [slice(cut[window], cut[window + 1]) for cut in cuts]
            order = np.concatenate([time[span] for time, span in zip(times, spans, strict=True)]).argsort(kind="stable")
            places = np.empty(len(order), dtype=np.int64)
            places[order] = np.arange(first, first + len(order))
            first += len(order)
            start = 0
            for slot, cell, span in zip(slots, cells, spans, strict=True):
                end = start + span.stop - span.start
                slot.reshape(-1)[cell[span]] = places[start:end]
                start = end
        for slot in slots:
            slot.flush()
    for i in drawn:
        (folder / f"times-{i}.npy").unlink()
        (folder / f"cells-{i}.npy").unlink()


def slots_path(folder: Path, number: int) -> Path:
    """Return the file with the places of a pool's copies."""
    return folder / f"slots-{number}.npy"


def _slots(path: Path, draw: PoolDraw) -> np.memmap:
    slots = _array(path, np.int64, (draw.passes, draw.rows))
    slots[-1] = NOT_DRAWN  # only the last pass may leave rows out
    return slots


def _array(path: Path, kind: type, shape: tuple[int, ...]) -> np.memmap:
    return disk_arrays.new_mapped(path, kind, shape, npy=True)


def _shuffled(keys: np.ndarray, epoch: int) -> np.ndarray:
    """Return the rows (n,) in the random order of a pass. Rows with equal keys stay in the order of reading."""
    return _mixed(keys, epoch).argsort(kind="stable")


def _mixed(keys: np.ndarray, salt: int) -> np.ndarray:
    """Return uint64 hashes (n,) of keys and a small whole number: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = keys + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
