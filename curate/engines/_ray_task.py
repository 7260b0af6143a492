"""Run one task on a node of a Ray cluster. If a node cannot run it, say why in one line."""

import platform
import re
import time
from collections.abc import Callable
from contextlib import chdir, nullcontext
from functools import lru_cache
from pathlib import Path

from curate import __version__
from curate.engines import R, T
from curate.errors import CurateError
from curate.shown import shortened

# A network file system may show a new file this late to a node that has read the folder shortly before: NFS keeps what
# it knows about a folder for 60 s (acdirmax in `man 5 nfs`).
SECONDS_TO_SEE = 60.0
# What Python says when a module of ours exists on a node but lacks a name that the task needs.
OTHER_CODE = re.compile(r"Can't get attribute|cannot import name|module 'curate[^']*' has no attribute")


def call(function: Callable[[T], R], task: T, folder: str, version: str, marks: tuple[str, ...] = ()) -> R:
    """Run one task in the folder of the command, so that relative paths mean the same on every node.

    Args:
        function: what runs the task.
        task: its only argument.
        folder: the folder of the command.
        version: the version of curate that the command has.
        marks: files that the job has put into the folders that it writes to. A node that does not see them has other
            folders under these names.
    """
    # Tasks and results are objects of our classes, so both sides must run the same code during a job. (A job that is
    # continued later may have another version: see `curate.storage.job_record`.)
    if version != __version__:
        raise CurateError(_other_version(f"Ray node {platform.node()} has curate {__version__}", version))
    with chdir(folder) if Path(folder).is_dir() else nullcontext():
        for mark in marks:
            _check_mark(mark)
        try:
            return function(task)
        except OSError as error:
            raise _named(error) from error


# Remembered for the life of a worker, which runs many tasks of a job.
@lru_cache(maxsize=64)
def _check_mark(mark: str) -> None:
    """Check that this node has a folder of the job, and not one of its own that has the same name."""
    limit = time.monotonic() + SECONDS_TO_SEE
    while not Path(mark).exists():
        if time.monotonic() >= limit:
            raise CurateError(
                f"Ray node {platform.node()} does not have the folder {Path(mark).parent} of this command, or has "
                "another one of that name. Mount it there under the same name, or write to s3://"
            )
        time.sleep(min(1.0, SECONDS_TO_SEE))


def _named(error: OSError) -> OSError:
    """Return an error of the operating system with the name of this node added, where it must be repaired."""
    node = f"on Ray node {platform.node()}"
    if error.errno is None:
        return OSError(f"{error} ({node})")
    return OSError(error.errno, f"{error.strerror} ({node})", error.filename, None, error.filename2)


def own_error(cause: Exception) -> Exception:
    """Return the error of a task. If a node could not even begin the task, say what to install."""
    if isinstance(cause, CurateError):
        return cause
    text = str(cause)
    if missing := re.search(r"No module named '([^']+)'", text):
        return CurateError(
            f"a Ray node has no module {missing[1]}. Install curate-planner=={__version__} and its extras on all nodes "
            'or have Ray install them: --runtime-env \'{"pip": ["PACKAGE"]}\''
        )
    if OTHER_CODE.search(text):
        return CurateError(
            _other_version("a Ray node cannot load the task: it seems to have another version", __version__)
        )
    return cause


def failed_environment(error: Exception) -> CurateError:
    """Return the error for a node on which Ray could not install what ``--runtime-env`` asks for."""
    return CurateError(
        f"a Ray node could not be prepared: {shortened(' '.join(str(error).split()), 400)}. Check --runtime-env, or "
        "install the packages on all nodes"
    )


def _other_version(state: str, version: str) -> str:
    return (
        f"{state}, and this command has curate {version}. Install curate-planner=={version} "
        f'on all nodes, or have Ray do it: --runtime-env \'{{"pip": ["curate-planner=={version}"]}}\''
    )
