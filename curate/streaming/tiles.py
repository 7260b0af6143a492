"""The vectors of a stream turned on disk, so that a few coordinates of all rows can be read at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import SchemaError

HELD = 1 << 22  # numbers read at a time: 16 MB


@dataclass(frozen=True)
class Tiled:
    """A file of tiles, each (d, m) float32 for m rows in the order of the stream; ``sizes`` are their m."""

    path: Path
    sizes: tuple[int, ...]
    width: int

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(self.sizes)


def tiled(vectors: Iterator[np.ndarray], path: Path, what: str) -> Tiled:
    """Write (m, d) batches, turned; ``what`` names them in a message."""
    sizes: list[int] = []
    width = 0
    with path.open("wb") as file:
        for x in vectors:
            if width and x.shape[1] != width:
                raise SchemaError(f"{what} has vectors of {width} and of {x.shape[1]} numbers: embed again")
            width = x.shape[1]
            np.ascontiguousarray(x.T, dtype=np.float32).tofile(file)
            sizes.append(len(x))
    return Tiled(path, tuple(sizes), width)


def columns(found: Tiled) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first coordinate and (c, n) float32 of a few coordinates of all rows, until all were given."""
    step = max(1, min(found.width, HELD // max(1, found.rows)))
    for low in range(0, found.width, step):
        yield low, some(found, range(low, min(found.width, low + step)))


def some(found: Tiled, coordinates: range | list[int]) -> np.ndarray:
    """Return (c, n) float32: the coordinates asked for, of all rows."""
    result, at, offset = np.empty((len(coordinates), found.rows), np.float32), 0, 0
    if not found.rows:
        return result
    tiles = np.memmap(found.path, np.float32, "r")
    for size in found.sizes:
        tile = tiles[offset : offset + size * found.width].reshape(found.width, size)
        result[:, at : at + size] = tile[list(coordinates)]
        at, offset = at + size, offset + size * found.width
    return result
