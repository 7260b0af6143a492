"""The lock of a folder in a store.

In: a prefix and a job. Out: the job holds the prefix, or an error says who does.

Our S3 library cannot write an object on the condition that it does not exist. So every job that wants a folder writes
an object of its own below ``OUT/_curate/.lock/``, its claim, and then lists them. The folder is its own when a listing
that began after the write shows no other claim. Two jobs cannot both see that: the one that wrote later lists later
still, and finds the claim of the other. This needs a store in which a listing shows every finished write, as AWS S3
(since December 2020), MinIO, R2, Ceph and GCS promise.

If two jobs see each other, the one with the smaller name waits and the other withdraws. A claim holds a counter that
its job raises. Who waits removes a claim whose process is dead on this machine, or whose counter stood still for two
intervals.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock

from curate.errors import CurateError
from curate.storage import s3
from curate.storage.locks import lock_record
from curate.storage.locks.lock_record import NAME, Holder, Wait, busy, lost, read_holder, record
from curate.storage.manifest import FOLDER


class StoreClaim:
    """The lock of a folder in a store."""

    def __init__(self, folder: Path, holder: Holder) -> None:
        """Want the folder for a job, and take nothing yet."""
        self.folder, self.holder = folder, replace(holder, settled=False)
        self.path = _prefix(folder) / f"{holder.token}.json"
        self.written = False
        self.mutex = Lock()  # the counter is raised by another thread than the one that takes and releases

    def take(self, wait: Wait, *, take_over: bool) -> None:
        """Take the lock.

        Raises:
            FolderBusy: if another job holds it.
        """
        with self.mutex:
            self._put()
        while self._others_remain(wait, take_over=take_over):
            time.sleep(lock_record.LOOK_SECONDS)
        with self.mutex:
            self.holder = replace(self.holder, settled=True)
            self._put()

    def _others_remain(self, wait: Wait, *, take_over: bool) -> bool:
        """Look once at the claims; return whether there are others to wait for."""
        claims = dict(_claims(self.folder))
        if self.path not in claims:
            raise busy(self.folder, next((other for other in map(read_holder, claims.values()) if other), None))
        del claims[self.path]
        for path, content in claims.items():
            other = read_holder(content)
            alive = other is not None and other.is_local and other.is_alive
            # A process of this machine is known to be dead or alive. Of another machine only the counter tells.
            dead = other is not None and other.is_local and not alive
            if dead or (not alive and (take_over or wait.stands_still(path.name, content))):
                s3.remove(path)
                continue
            beats = other is not None and (alive or wait.changes(path.name, content))
            if beats and other is not None and (other.settled or path.name < self.path.name):
                raise busy(self.folder, other)
        return bool(claims)

    def beat(self) -> str:
        """Raise the counter, unless another job removed the claim or holds the folder by now."""
        with self.mutex:
            if not self.written:
                return ""
            claims = dict(_claims(self.folder))
            others = [
                other for path, content in claims.items() if path != self.path and (other := read_holder(content))
            ]
            winner = next((other for other in others if other.settled), None)
            if self.path not in claims or (self.holder.settled and winner is not None):
                return lost(self.folder, winner)
            self.holder = replace(self.holder, beat=self.holder.beat + 1)
            self._put()
            return ""

    def release(self) -> None:
        """Remove the claim."""
        with self.mutex:
            if self.written:
                self.written = False
                # A store that fails now leaves the claim, which the next job removes.
                with suppress(OSError, CurateError):
                    s3.remove(self.path)

    def _put(self) -> None:
        self.written = True  # also if the request fails: the store may have done it all the same
        s3.write(record(self.holder), self.path)


def running(folder: Path) -> Holder | None:
    """Return the job that holds a folder in a store; None if there is none, or its process is dead."""
    holders = [holder for _, content in _claims(folder) if (holder := read_holder(content)) and holder.settled]
    return next((holder for holder in holders if not holder.is_local or holder.is_alive), None)


def _prefix(folder: Path) -> Path:
    return folder / FOLDER / NAME


def _claims(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in s3.below(_prefix(folder)):
        try:
            content = s3.read(path)
        except (FileNotFoundError, s3.Unreachable):
            if s3.exists(path):
                raise
            continue  # removed since the listing
        yield path, content
