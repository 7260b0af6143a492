"""Say in one line why a disk, or this machine, refuses to write or to open a file.

In: the error of a system call or of a library. Out: a ``CurateError`` that says what to change, or None.
An error of the machine (a full disk, too many open files) must never be taken for a fault of one input file.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from curate.errors import CurateError

# Errors that can come from writing only. The words take the place of those of the operating system.
WRITING: Mapping[int, str] = {
    errno.ENOSPC: "no space left on its disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it is larger than this system allows a file to be (see `ulimit -f`)",
    errno.EROFS: "its disk is read-only",
}
# The process, or the whole machine, has no file handle left. Any file may be the one that needs the next.
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
# How Polars, whose errors have no number, names it: the end of a message, and the middle of that of a panic.
OS_ERROR = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+)")
MB = 1_000_000


def number(error: BaseException) -> int | None:
    """Return the number of a system error (``errno``), or None if the error is of another kind."""
    code = getattr(error, "errno", None)
    if code is None and (match := OS_ERROR.search(str(error))):
        return int(match[1] or match[2])
    return code if isinstance(code, int) else None


def too_many_files(error: BaseException) -> CurateError | None:
    """Return the error to show where no more files can be opened, else None."""
    if number(error) not in TOO_MANY_FILES:
        return None
    return CurateError(
        f"too many files are open at a time{_handles()}. Raise the limit, as with `ulimit -n 4096`, or lower "
        "--workers; the same command then continues"
    )


def of_the_machine(error: BaseException, path: Path) -> CurateError | None:
    """Return the error to show if a disk that is written to, or the machine, is at fault; else None.

    ``path`` is what is being written.
    """
    if (refusal := too_many_files(error)) is not None:
        return refusal
    return refusal_to_write(error, path) if number(error) in WRITING else None


def refusal_to_write(error: BaseException, path: Path) -> CurateError:
    """Return the error to show where ``path`` cannot be written, for whatever reason."""
    code = number(error)
    reason = WRITING.get(code or 0) or (os.strerror(code) if code else str(error).split("\n")[0])
    remedy = "Repair the folder or choose another"
    if code in (errno.ENOSPC, errno.EDQUOT):
        free = _free_bytes(path)
        reason += "" if free is None or code == errno.EDQUOT else f" ({free / MB:.1f} MB are free)"
        remedy = "Free some space or choose another disk"
    return CurateError(
        f"cannot write {path}: {reason}. {remedy} (--out for results, TMPDIR for work files); the same command then "
        "continues"
    )


@contextmanager
def scratch_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk into one line that names the folder of work files.

    Raises:
        CurateError: if the disk of ``folder`` is full, or no more files can be opened.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, CurateError) or (refusal := of_the_machine(error, folder)) is None:
            raise
        raise refusal from error


def _free_bytes(path: Path) -> int | None:
    """Return how many bytes are free on the disk of a file, or None if that cannot be told."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return None


def _handles() -> str:
    """Return the limit on open files of this process in words, where the system tells it."""
    try:
        import resource
    except ImportError:  # not on Windows
        return ""
    return f" (the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
