"""Write arrays to work files so that a full disk is an error, not a short file.

In: arrays. Out: files. ``ndarray.tofile`` ignores errors that come when its buffer is flushed, and leaves a short file.
Every work file of plain numbers is written through this module instead.
"""

from typing import BinaryIO

import numpy as np


def append(file: BinaryIO, array: np.ndarray) -> None:
    """Write the numbers of an array at the end of a file, row by row.

    Raises:
        OSError: if they do not fit.
    """
    file.write(np.ascontiguousarray(array).data)
