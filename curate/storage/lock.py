"""Let one job write in a folder at a time.

In: an output folder and the name of a job. Out: the job holds the folder, or an error says who does.

On disk the lock is the file ``OUT/_curate/.lock``, locked by the operating system (flock). The system releases it when
the process ends, however it ends, so that the next job takes over at once. That is sound on local disks, and on network
disks that pass locks on to their server. Not all do. So the file also names its holder, and holds a counter that the
holder raises every few seconds. A lock of a dead process of this machine is taken over at once. A lock of another
machine is taken over after its counter stood still for two intervals. Clocks are never compared.

In a store there are no locks; `curate.storage.store_lock` uses objects and the same counter.
"""

import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar, cast

from curate.errors import CurateError
from curate.progress import Progress, silent
from curate.storage import atomic, file_lock, lock_record, s3, scratch, store_lock
from curate.storage.file_lock import FileClaim
from curate.storage.lock_record import FolderBusy, Holder, Wait, busy, this_process
from curate.storage.store_lock import StoreClaim

__all__ = ["FolderBusy", "Holder", "held", "held_folders", "one_job", "release_all", "running"]

P = ParamSpec("P")
R = TypeVar("R")


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
        CurateError: if the lock cannot be written.
    """
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


def one_job(job: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Run a function while it holds the folder that its argument ``out`` names.

    Its arguments ``take_over`` and ``progress`` are those of `held`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def locked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            out, take_over = Path(bound.arguments["out"]), cast(bool, bound.arguments["take_over"])
            with held(out, job, take_over=take_over, progress=cast(Progress, bound.arguments["progress"])):
                return function(*args, **kwargs)

        return locked

    return decorate


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
