"""Turn what ended a job into one line and an exit code.

In: an exception. Out: the line that stderr shows, or nothing, and the exit code: 1 for what the user can change, 2 for
wrong usage, 70 for a mistake in curate itself.
"""

import errno
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import curate
import pipelines
from curate.errors import CurateError
from curate.shown import escaped, shortened
from curate.storage import disk_errors
from curate.storage.s3 import spelled

FAILED = 1
WRONG_USAGE = 2
BUG = 70  # EX_SOFTWARE of sysexits.h (BSD): an internal software error
PACKAGES = tuple(str(Path(package.__path__[0])) for package in (curate, pipelines))
# A worker process sends its traceback as text.
FRAME = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)')
# What to do about the commonest errors of the operating system.
REMEDIES: Mapping[int, str] = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EISDIR: "give a file, not a folder",
    errno.ENOTDIR: "a part of its path is a file: give another path",
    errno.EEXIST: "give another path, or remove what is there",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EFBIG: "write to another file system, or raise the limit (ulimit -f)",
    errno.EROFS: "give a folder that can be written",
    errno.ELOOP: "remove the links that lead in a circle",
    errno.ENOMEM: "lower --workers, or use a machine with more memory",
}


@dataclass(frozen=True)
class Failure:
    """How a job ended: the exit code, and the line for stderr (empty where there is nothing to say)."""

    code: int
    message: str


def failure(error: BaseException, job: str) -> Failure:
    """Return how an exception ends the job ``job``. The message has no ``curate:`` in front."""
    # Libraries raise it as errors of their own kinds, so it is looked for first.
    if not isinstance(error, CurateError) and (refusal := disk_errors.too_many_files(error)) is not None:
        return Failure(FAILED, one_line(str(refusal)))
    match error:
        case CurateError():
            return Failure(FAILED, one_line(str(error)))
        case BrokenPipeError():
            # Nobody reads what the job prints, as in `curate list scorers | head -1`; click ends with 1 too.
            return Failure(FAILED, "")
        case ModuleNotFoundError() if error.name and error.name.split(".")[0] == "torch":
            # The rows wing works without torch. The jobs that need it say so.
            return Failure(FAILED, f"`curate {job}` needs PyTorch, which is not installed: pip install torch")
        case MemoryError():
            return Failure(
                FAILED,
                "there is not enough memory. Lower --workers, give smaller inputs, or use a machine with more memory",
            )
        case OSError():
            return Failure(FAILED, _of_the_system(error))
        case _ if disk_errors.number(error) is not None:
            # Polars raises errors of the operating system as errors of its own, with their number in the text.
            return Failure(FAILED, _of_the_system(OSError(str(error))))
    return Failure(BUG, _bug(error))


def one_line(message: str) -> str:
    """Return a message as one line without control characters; paths of objects are written as s3://bucket/key."""
    # Messages of libraries that are quoted may have several lines. All white space between words becomes one space.
    return escaped(" ".join(spelled(message).split()))


def _of_the_system(error: OSError) -> str:
    """Return the line for an error of the operating system, or of a store."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    # pyarrow gives text only, which names the file.
    reason = error.strerror or shortened(str(error), 300) or type(error).__name__
    remedy = REMEDIES.get(disk_errors.number(error) or 0, "")
    message = f"{' -> '.join(names)}: {reason}" if names else reason
    return one_line(f"{message}: {remedy}" if remedy else message)


def _bug(error: BaseException) -> str:
    text = shortened(str(error))
    detail = f" ({text})" if text else ""
    return one_line(
        f"this is a bug in curate: {type(error).__name__} in {place(error)}{detail}; run again with --debug and "
        "report it"
    )


def place(error: BaseException) -> str:
    """Return ``file.py:line`` of the innermost frame that lies in our packages."""
    # The traceback of a worker process is the cause of the exception, as text; it is nearer to the mistake.
    own = [
        (match["file"], int(match["line"]))
        for match in FRAME.finditer(str(error.__cause__ or ""))
        if match["file"].startswith(PACKAGES)
    ]
    if not own:
        frames = traceback.walk_tb(error.__traceback__)
        own = [(f.f_code.co_filename, n) for f, n in frames if f.f_code.co_filename.startswith(PACKAGES)]
    if not own:
        return "an unknown place"
    file, line = own[-1]
    return f"{Path(file).name}:{line}"
