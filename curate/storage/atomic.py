"""Replace files whole or not at all, and remove what killed processes left."""

import os
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import xxhash

from curate.errors import CurateError, Interrupted
from curate.processes import host, is_alive
from curate.storage import disk_errors, s3

# The names that `replacing` writes to: the final name, the machine and the process that writes.
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>\d+)\.tmp")
# Folders that another job has taken over, and what to say: this process must write nothing there any more.
LOST: dict[Path, str] = {}
# Files that are synced at the same time. A disk writes many files in one go if it is asked for them together: on a
# virtual disk, 8 threads sync small files 13 times faster than one thread, and 32 threads no faster than 8.
SYNC_THREADS = 8
# The files that the innermost `together` moves at its end: each temporary path, and the final one.
_waiting: ContextVar[dict[Path, Path] | None] = ContextVar("_waiting", default=None)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and move it to ``path`` when the block ends without an error.

    The file is synced to disk first; after an error it is removed. For an object the temporary path is local, and it
    is uploaded at the end. Inside a block of `together` the file is moved at the end of that block.

    Raises:
        CurateError: if there is no space, no permission or the like.
    """
    _check_ours(path)
    if s3.remote(path):
        with s3.replacing(path) as temporary:
            yield temporary
            _check_ours(path)
        return
    temporary = path.with_name(f".{_shortened(path.name)}.{host()}-{os.getpid()}.tmp")
    try:
        if not os.path.isdir(path.parent):
            with _refused(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        except Exception as error:
            # The block may read files too. Their errors are not about this path, and are left to the caller.
            if isinstance(error, CurateError) or (refusal := _about(error, path, temporary)) is None:
                raise
            raise refusal from error
        if (waiting := _waiting.get()) is not None:
            waiting[temporary] = path
        else:
            _move({temporary: path})
    except BaseException:
        _discard(temporary)
        raise


@contextmanager
def together() -> Iterator[None]:
    """Move all files that `replacing` writes in the block at the end of the block.

    Many small files then cost far less: they are synced at the same time, and each folder is synced once. Inside the
    block nobody can read them under their final names. After an error none of them is moved. Objects in a store do not
    wait, and nor do files that other threads write.

    Raises:
        CurateError: if there is no space, no permission or the like.
    """
    waiting: dict[Path, Path] = {}
    outer = _waiting.set(waiting)
    try:
        yield
        _move(waiting)
    except BaseException:
        for temporary in waiting:
            _discard(temporary)
        raise
    finally:
        _waiting.reset(outer)


def _move(waiting: dict[Path, Path]) -> None:
    """Sync temporary files to disk, and give them their final names, in order."""
    _sync(waiting, waiting.values())
    for temporary, path in waiting.items():
        _check_ours(path)
        with _refused(path):
            # The rename is atomic: readers see the old file or the whole new one.
            os.replace(temporary, path)
    # The renames themselves must survive a power cut.
    folders = {path.parent: path for path in waiting.values()}
    _sync(folders, folders.values())


def _sync(places: Collection[Path], finals: Collection[Path]) -> None:
    """Sync files or folders to disk. ``finals`` are the files, in the same order, that an error names."""
    if len(places) < SYNC_THREADS:
        for place, path in zip(places, finals, strict=True):
            _sync_one(place, path)
        return
    with ThreadPoolExecutor(SYNC_THREADS) as pool:
        # The list is read to its end, so that an error is raised here.
        list(pool.map(_sync_one, places, finals))


def _sync_one(place: Path, path: Path) -> None:
    with _refused(path):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn an error of the disk, from calls that only write, into one line that names ``path``."""
    try:
        yield
    except OSError as error:
        raise disk_errors.too_many_files(error) or disk_errors.refusal_to_write(error, path) from error


def _about(error: Exception, path: Path, temporary: Path) -> CurateError | None:
    """Return the error to show if the file that is being written, or the machine, is at fault; else None."""
    if isinstance(error, OSError) and str(temporary) in str(error):
        return disk_errors.too_many_files(error) or disk_errors.refusal_to_write(error, path)
    return disk_errors.of_the_machine(error, path)


def _shortened(name: str) -> str:
    """Return a name that leaves room for what a temporary file adds to it. It keeps its ending, for `sweep`."""
    # File systems allow 255 bytes, and the machine, the process and the ending take up to 22. The last 40 characters
    # have at most 160 bytes.
    return name if len(os.fsencode(name)) <= 230 else f"{xxhash.xxh3_64_hexdigest(os.fsencode(name))}~{name[-40:]}"


def _check_ours(path: Path) -> None:
    for folder, message in LOST.items():
        if path.is_relative_to(folder):
            raise Interrupted(message)


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # a folder that cannot be written to holds no temporary file of ours


def sweep(folder: Path, ending: str = "", *, ended: Collection[int] = ()) -> int:
    """Remove the temporary files that killed processes left under a folder; return how many.

    Only files whose final name has ``ending`` are removed. A file stays if its process is alive on this machine and is
    not among those that have ``ended``. It stays too if it comes from another machine, or from this one before it was
    restarted, since nothing here can tell whether its process is alive.
    """
    removed = 0
    for path in () if s3.remote(folder) else folder.rglob(".*.tmp"):
        match = TEMPORARY.fullmatch(path.name)
        ours = match and match["name"].endswith(ending) and match["host"] in (None, host())
        if match and ours and (int(match["pid"]) in ended or not is_alive(int(match["pid"]))):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())
