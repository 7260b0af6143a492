"""The vectors of a stream, transposed on disk, so that a few coordinates of all rows can be read at a time.

In: batches of vectors. Out: a file of tiles, and blocks of coordinates from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import SchemaError
from curate.storage import disk_arrays

NUMBERS = 1 << 22  # numbers read at a time: 16 MB


@dataclass(frozen=True)
class Tiles:
    """A file of tiles, each (d, m) float32 for m rows of the stream, in order.

    ``sizes`` lists every m, ``width`` is d.
    """

    path: Path
    sizes: tuple[int, ...]
    width: int

    @property
    def rows(self) -> int:
        """Rows of all tiles together."""
        return sum(self.sizes)


def write(vectors: Iterator[np.ndarray], path: Path, what: str) -> Tiles:
    """Write (m, d) batches as tiles; ``what`` names the vectors in a message.

    Raises:
        SchemaError: if two batches have vectors of different lengths.
    """
    sizes: list[int] = []
    width = 0
    with path.open("wb") as file:
        for x in vectors:
            if width and x.shape[1] != width:
                raise SchemaError(f"{what} has vectors of {width} and of {x.shape[1]} numbers. Embed the data again")
            width = x.shape[1]
            disk_arrays.append(file, x.T.astype(np.float32, copy=False))
            sizes.append(len(x))
    return Tiles(path, tuple(sizes), width)


def blocks(tiles: Tiles) -> Iterator[tuple[int, np.ndarray]]:
    """Yield all coordinates of all rows, a few at a time: the first one's number and a block (c, n) float32."""
    step = max(1, min(tiles.width, NUMBERS // max(1, tiles.rows)))
    for low in range(0, tiles.width, step):
        yield low, read(tiles, range(low, min(tiles.width, low + step)))


def read(tiles: Tiles, coordinates: range | list[int]) -> np.ndarray:
    """Return these coordinates of all rows, (c, n) float32."""
    block, first_row, offset = np.empty((len(coordinates), tiles.rows), np.float32), 0, 0
    if not tiles.rows:
        return block
    numbers = np.memmap(tiles.path, np.float32, "r")
    for size in tiles.sizes:
        tile = numbers[offset : offset + size * tiles.width].reshape(tiles.width, size)
        block[:, first_row : first_row + size] = tile[list(coordinates)]
        first_row, offset = first_row + size, offset + size * tiles.width
    return block
