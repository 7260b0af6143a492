"""Write arrays to work files so that a full disk is an error, not a crash or a short file.

In: arrays, or shapes. Out: files, and arrays that are mapped to files.
Two habits of numpy are unsafe on a full disk. An array that is mapped to a new file has no space yet: the process is
killed (SIGBUS) when a page of it cannot be stored. ``ndarray.tofile`` ignores errors that come when its buffer is
flushed, and leaves a short file. Every work file is written through this module instead.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from curate.storage.disk_errors import refusal_to_write

# File systems that cannot reserve space answer with one of these.
UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
BLOCK = 1 << 20  # bytes that are written at a time where the system cannot reserve space


def append(file: BinaryIO, array: np.ndarray) -> None:
    """Write the numbers of an array at the end of a file, row by row.

    Raises:
        OSError: if they do not fit.
    """
    file.write(np.ascontiguousarray(array).data)


def new_mapped(path: Path, dtype: str | type, shape: Sequence[int], *, npy: bool = False) -> np.memmap:
    """Create a file with room for an array of zeros, and return the array mapped to it.

    With ``npy``, the file has the head that ``numpy.load`` reads.

    Raises:
        CurateError: if the disk has no room. The message names the space that is missing.
    """
    try:
        if npy:
            array: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))
        else:
            array = np.memmap(path, dtype, "w+", shape=tuple(shape))
        # The file is sparse so far. Nothing may be written to the array before its space is reserved.
        _reserve(path)
    except OSError as error:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raise refusal_to_write(error, path, needs=size) from error
    return array


def _reserve(path: Path) -> None:
    """Give every block of a sparse file space on the disk, without changing what it holds."""
    with path.open("rb+", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
        for start in range(0, size, BLOCK):
            block = os.pread(file.fileno(), BLOCK, start)
            if os.pwrite(file.fileno(), block, start) < len(block):
                # A short write means that the disk is full; the next one says so.
                os.pwrite(file.fileno(), block, start)
