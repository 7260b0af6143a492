"""Which rows a pool gives in which pass, and the place of every copy in the training set.

A pool's copies form one sequence: all its rows in a random order, all of them again in another, and a last part of a
pass. The time of a copy is the part of the pool's drawn tokens that come before it, plus a random part of its own, in
[0, 1). All copies sorted by time are the training set: at any cut every pool has given its planned share to within one
document, no document repeats before its pool's pass is over, and the pools do not alternate in a pattern that could
meet the stride of a data loader. A schedule bends time per pool: a copy lies where the schedule has drawn that part of
the pool's tokens (``bent``). Memory: about 90 bytes a row of the largest pool, whatever the number of passes; on disk
24 bytes a copy while it lasts.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.storage.files import replacing

WINDOW = 1 << 20  # copies that are sorted at a time: 40 bytes each
NOT_DRAWN = -1
Phases = Sequence[tuple[float, float, int]]  # (from, to, tokens): fractions of training in which a pool is drawn


@dataclass(frozen=True)
class Draw:
    """What is drawn of one pool: ``full`` passes over its ``rows`` and ``last`` rows of one more.

    ``target`` tokens were planned, ``tokens`` are drawn, ``unique`` are those of one pass.
    """

    pool: str
    target: int
    unique: int
    rows: int
    full: int
    last: int
    tokens: int

    @property
    def copies(self) -> int:
        """Rows drawn, repeats counted."""
        return self.full * self.rows + self.last

    @property
    def begun(self) -> int:
        """Passes begun: every row is drawn this often or once less."""
        return self.full + (self.last > 0)


def take(pool: str, keys: np.ndarray, tokens: np.ndarray, target: int) -> Draw:
    """Plan a draw of ``target`` tokens from (n,) rows with random uint64 ``keys`` and ``tokens``, at least one in all.

    Rows join the last pass in its order for as long as that brings the drawn tokens nearer to the target: the rest is
    at most half of the next document. Whole documents only; nothing is carried over to other pools.
    """
    unique = int(tokens.sum())
    full, rest = divmod(target, unique)
    seen = np.concatenate([[0], np.cumsum(tokens[_shuffled(keys, full)])])
    last = int(np.abs(seen - rest).argmin())  # the fewest rows among equals
    return Draw(pool, target, unique, len(keys), full, last, full * unique + int(seen[last]))


def copies(draw: Draw, keys: np.ndarray, tokens: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each pass begun as the (m,) rows it takes, in order, and their (m,) times in [0, 1), not decreasing."""
    for at in range(draw.begun):
        order = _shuffled(keys, at)[: draw.last if at == draw.full else None]
        size = tokens[order]
        before = at * draw.unique + np.cumsum(size) - size
        part = (_mixed(_mixed(keys[order], at), 1) >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
        yield order, np.minimum((before + part * size) / draw.tokens, np.nextafter(1.0, 0.0))


def bent(parts: np.ndarray, phases: Phases) -> np.ndarray:
    """(m,) parts of a pool's drawn tokens in [0, 1) to the fractions of training at which ``phases`` reach them."""
    if not phases:
        return parts
    starts, ends, tokens = np.array(phases, dtype=np.float64).T
    done = np.concatenate([[0.0], np.cumsum(tokens)]) / tokens.sum()
    k = np.searchsorted(done[1:-1], parts, side="right")
    inside = (parts - done[k]) / (done[k + 1] - done[k])
    return np.asarray(np.minimum(starts[k] + inside * (ends - starts)[k], np.nextafter(ends[k], 0.0)))


def place(folder: Path, draws: Sequence[Draw]) -> None:
    """Merge the pools' sequences by time: write ``slots-<pool>.npy``, where in the training set each copy goes.

    Reads what ``lay_out`` wrote. A file holds (passes begun, rows) int64 places from 0, or ``NOT_DRAWN``. Ties go by
    pool, then by order within the pool. Memory: one window, whatever the number of rows and passes.
    """
    drawn = [i for i, draw in enumerate(draws) if draw.copies]
    times = [np.load(folder / f"times-{i}.npy", mmap_mode="r") for i in drawn]
    cells = [np.load(folder / f"cells-{i}.npy", mmap_mode="r") for i in drawn]
    windows = -(-sum(map(len, times)) // WINDOW)
    edges = np.linspace(0, 1, windows + 1)[1:-1]
    cuts = [[0, *np.searchsorted(time, edges).tolist(), len(time)] for time in times]
    with ExitStack() as stack:
        slots = [_slots(stack.enter_context(replacing(slots_path(folder, i))), draws[i]) for i in drawn]
        at = 0
        for window in range(windows):
            spans = [slice(cut[window], cut[window + 1]) for cut in cuts]
            order = np.concatenate([time[span] for time, span in zip(times, spans, strict=True)]).argsort(kind="stable")
            places = np.empty(len(order), dtype=np.int64)
            places[order] = np.arange(at, at + len(order))
            at, start = at + len(order), 0
            for mine, cell, span in zip(slots, cells, spans, strict=True):
                end = start + span.stop - span.start
                mine.reshape(-1)[cell[span]] = places[start:end]
                start = end
        for mine in slots:
            mine.flush()
    for i in drawn:
        (folder / f"times-{i}.npy").unlink()
        (folder / f"cells-{i}.npy").unlink()


def lay_out(folder: Path, number: int, draw: Draw, keys: np.ndarray, tokens: np.ndarray, phases: Phases = ()) -> None:
    """Write the times of pool ``number``'s copies in order, and the cell (pass * rows + row) of each, pass by pass."""
    if not draw.copies:
        return
    times = _array(folder / f"times-{number}.npy", np.float64, (draw.copies,))
    cells = _array(folder / f"cells-{number}.npy", np.int64, (draw.copies,))
    at = 0
    for rows, time in copies(draw, keys, tokens):
        times[at : at + len(rows)] = bent(time, phases)
        cells[at : at + len(rows)] = at + rows  # every pass before this one was full, so ``at`` is pass * rows
        at += len(rows)


def slots_path(folder: Path, number: int) -> Path:
    """Return where the places of a pool's copies are."""
    return folder / f"slots-{number}.npy"


def _slots(path: Path, draw: Draw) -> np.memmap:
    made = _array(path, np.int64, (draw.begun, draw.rows))
    made[-1] = NOT_DRAWN  # all other passes are full
    return made


def _array(path: Path, kind: type, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


def _shuffled(keys: np.ndarray, at: int) -> np.ndarray:
    """Return the (n,) rows in the random order of a pass; rows with equal keys in the order in which they are read."""
    return _mixed(keys, at).argsort(kind="stable")


def _mixed(keys: np.ndarray, salt: int) -> np.ndarray:
    """Return (n,) uint64 hashes of keys and a small whole number: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = keys + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
