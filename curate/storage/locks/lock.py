"""Let one job write in a folder at a time.

In: an output folder and the name of a job. Out: the job holds the folder, or an error says who does.

On disk the lock is the file ``OUT/_curate/.lock``, locked by the operating system (flock). The system releases it when
the process ends, however it ends, so that the next job takes over at once. That is sound on local disks, and on network
disks that pass locks on to their server. Not all do. So the file also names its holder, and holds a counter that the
holder raises every few seconds. A lock of a dead process of this machine is taken over at once. A lock of another
machine is taken over after its counter stood still for two intervals. Clocks are never compared.

In a store there are no locks; `curate.storage.locks.store_lock` uses objects and the same counter.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from curate.errors import CurateError, SchemaError
from curate.progress import Progress, silent
from curate.shown import is_text, printable
from curate.storage import atomic, s3, scratch
from curate.storage.locks import file_lock, lock_record, store_lock
from curate.storage.locks.file_lock import FileClaim
from curate.storage.locks.lock_record import FolderBusy, Holder, Wait, busy, this_process
from curate.storage.locks.store_lock import StoreClaim
from curate.storage.manifest import FOLDER

__all__ = ["FolderBusy", "Holder", "check_place", "held", "held_folders", "release_all", "running"]


class Claim(Protocol):
    """A lock that a job wants or holds; one class for disks, one for stores."""

    folder: Path
    holder: Holder

    def take(self, wait: Wait, *, take_over: bool) -> None:
        """Take the lock, or raise FolderBusy."""
        ...

    def beat(self) -> str:
        """Raise the counter. Return why the lock is lost; an empty text if it is not."""
        ...

    def release(self) -> None:
        """Give the lock back; another process may hold it at once."""
        ...


_held: dict[str, Claim] = {}  # the locks of this process, by the real path of their folders
_mutex = threading.Lock()


@contextmanager
def held(folder: Path, job: str, *, take_over: bool = False, progress: Progress = silent) -> Iterator[None]:
    """Hold a folder while the block runs, so that no other job writes there.

    Folders that exist only for the lock are removed at the end.

    Args:
        folder: the output folder of the job, on disk or in a store.
        job: the name of the job, for messages.
        take_over: take the folder from a job on another machine without waiting. A job that runs on this machine keeps
            it.
        progress: is told of a wait for another machine.

    Raises:
        FolderBusy: if another job holds the folder, in this process or another.
        SchemaError: if no job can write there, see `check_place`.
        CurateError: if the lock cannot be written.
    """
    check_place(folder)
    claim: Claim = StoreClaim(folder, this_process(job)) if s3.remote(folder) else FileClaim(folder, this_process(job))
    key = str(folder) if s3.remote(folder) else os.path.realpath(folder)
    with _mutex:
        if (other := _held.get(key)) is not None:
            raise busy(folder, other.holder)
        _held[key] = claim
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(claim, ended), daemon=True)
    try:
        scratch.sweep_temporary()
        thread.start()
        try:
            claim.take(Wait(progress), take_over=take_over)
            atomic.LOST.pop(folder, None)
            yield
        finally:
            ended.set()
            thread.join(lock_record.BEAT_SECONDS)
            claim.release()
    finally:
        with _mutex:
            _held.pop(key, None)


def check_place(out: Path) -> None:
    """Check that a path can be the output folder of a job.

    Raises:
        SchemaError: if it is a file, has a name that is not UTF-8, or its folder of records is a link.
    """
    if not is_text(str(out)):
        raise SchemaError(f"--out {printable(str(out))}: the name is not UTF-8. Give another folder")
    if s3.remote(out):
        return
    # One look at the path: between two, another job may make or remove the folder.
    try:
        problem = "" if stat.S_ISDIR(out.stat().st_mode) else "not a folder"
    except OSError:
        problem = "a link to a folder that does not exist" if out.is_symlink() else ""
    if problem:
        raise SchemaError(f"--out {out} is {problem}, and the job writes several files. Give another --out")
    records = out / FOLDER
    # Records behind a link would be those of another folder: two jobs would share them, and take each other's for done.
    # The lock is the first file that a job writes there.
    if records.is_symlink():
        raise SchemaError(
            f"{records} is a link to {os.path.realpath(records)}, and records must lie in the folder itself. "
            "Remove the link, or give another --out"
        )


def running(folder: Path) -> Holder | None:
    """Return the job that writes in a folder at this moment; None if there is none.

    Of a job on another machine it is not known whether it still runs; it is returned until its lock is taken over.
    """
    return store_lock.running(folder) if s3.remote(folder) else file_lock.running(folder)


def held_folders() -> list[Path]:
    """Return the folders that jobs of this process hold."""
    return [claim.folder for claim in list(_held.values())]


def release_all() -> None:
    """Release every lock of this process, which is about to end."""
    for claim in list(_held.values()):
        with suppress(Exception):  # a store that does not answer must not keep the process alive
            claim.release()


def _beat(claim: Claim, ended: threading.Event) -> None:
    while not ended.wait(lock_record.BEAT_SECONDS):
        try:
            message = claim.beat()
        except (OSError, CurateError):
            continue  # a full disk or a store that does not answer: the lock is ours until somebody takes it
        if message:
            # The job writes nothing from here on: `replacing` raises this message.
            atomic.LOST[claim.folder] = message
            return


def _forget_in_child() -> None:
    for claim in _held.values():
        if isinstance(claim, FileClaim):
            claim.forget()
    _held.clear()


# A forked child has the open file too. If it kept it, the lock would outlive the job.
os.register_at_fork(after_in_child=_forget_in_child)
