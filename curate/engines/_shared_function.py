"""Hand a function to the worker processes of this machine once, however many tasks they run with it.

The function may hold learned arrays of 100 MB. They are written to one file, and the workers map it into their memory:
all of them together hold one copy. The rest is a pickle, as in Python's own pools of processes. The file lies in a
scratch folder that only this user can open, and no other file is read this way.
"""

import mmap
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curate import open_sets
from curate.engines import R, T

# Arrays begin at multiples of this many bytes, so that vector instructions read them at full speed.
ALIGNMENT = 64


@dataclass(frozen=True)
class SharedFunction:
    """A file that holds a pickled function, with its arrays apart from the rest.

    ``spans`` are where the pickle and each array begin and end, in bytes. ``own_files`` are files of the user that may
    define the function.
    """

    path: Path
    spans: tuple[tuple[int, int], ...]
    own_files: tuple[str, ...] = ()


def write(function: Callable[[T], R], path: Path) -> SharedFunction:
    """Write a function to a file of this machine, its arrays apart from the rest."""
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(function, protocol=5, buffer_callback=arrays.append)
    spans = []
    with path.open("wb") as file:
        for part in (memoryview(head), *(array.raw() for array in arrays)):
            start = file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
            file.write(part)
            spans.append((start, start + part.nbytes))
    return SharedFunction(path, tuple(spans), open_sets.own_files())


# The function that this worker used last. Only one is kept: the next one may need the memory.
_current: tuple[Path, Callable[[object], object]] | None = None


def call(shared: SharedFunction, task: object) -> object:
    """Run one task in a worker. The function is loaded for the first of its tasks."""
    global _current
    if _current is None or _current[0] != shared.path:
        _current = None  # frees the previous function before the next one is loaded
        _current = (shared.path, _load(shared))
    return _current[1](task)


def _load(shared: SharedFunction) -> Callable[[object], object]:
    # A worker cannot import them by the names of their modules.
    open_sets.load_own_files(shared.own_files)
    with shared.path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head, *arrays = (content[start:stop] for start, stop in shared.spans)
    function: Callable[[object], object] = pickle.loads(head, buffers=arrays)
    return function
