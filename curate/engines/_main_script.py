"""Keep workers from running the user's script again, unless they need what it defines.

Python hands the path of the running script to each process that it starts, and the process runs the script as the
module ``__mp_main__``, in case its task needs something from there. A script that calls curate without
``if __name__ == "__main__":`` would then call it again in each worker. Tasks of ours need nothing from a script, so
workers are told of it only if the function or a task of the user is defined there.
"""

import io
import multiprocessing
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.errors import CurateError

# The exit code of a worker that would start workers of its own while it runs the script: EX_CONFIG of sysexits.h, which
# Python itself never uses.
UNGUARDED = 78


def uses_script(*values: object) -> bool:
    """Return whether one of the values, which can be pickled, holds a function or class of the running script."""
    return any(map(_Search.finds, values))


class _Search(pickle.Pickler):
    """Pickles a value to nowhere, and notes whether something in it comes from the running script."""

    uses_script = False

    @classmethod
    def finds(cls, value: object) -> bool:
        # Arrays come from no script; without this call they would be copied.
        search = cls(io.BytesIO(), protocol=5, buffer_callback=lambda _: None)
        search.dump(value)
        return search.uses_script

    def reducer_override(self, obj: object) -> object:  # type: ignore[override]
        self.uses_script = self.uses_script or getattr(obj, "__module__", None) == "__main__"
        return NotImplemented


@contextmanager
def hidden() -> Iterator[None]:
    """Hide the user's script from processes that are started in the block, so that they do not run it."""
    main = sys.modules["__main__"]
    # Where `multiprocessing.spawn.get_preparation_data` looks: without them it takes this for an interactive session.
    names = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    if "__file__" in names:
        del main.__file__
    try:
        yield
    finally:
        for name, value in names.items():
            setattr(main, name, value)


def check_not_running_again() -> None:
    """End this process if it is a worker that runs the script again, and would start workers of its own."""
    # Python sets it on a process until the script has been run.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED)


def check_runnable() -> None:
    """Check that workers can run the script.

    Raises:
        CurateError: if there is no file to run, as in a notebook or an interactive Python.
    """
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is None and not Path(getattr(main, "__file__", "")).is_file():
        raise CurateError(
            "worker processes cannot import what is defined in a notebook or typed into Python. Write the function or "
            "class of your own into a file and import it from there, or use one process: engine=Local(1)"
        )


def unguarded() -> CurateError:
    """Return the error for a script that starts workers when a worker runs it."""
    script = getattr(sys.modules["__main__"], "__file__", "the script")
    return CurateError(
        f"{script} starts worker processes, and each of them runs it again because its tasks are defined there. Put "
        'the calls under `if __name__ == "__main__":`, or use one process: engine=Local(1)'
    )
