"""The lock of a folder on disk: a file that the operating system locks, and that names its holder.

In: a folder and a job. Out: the job holds the folder, or an error says who does.
"""

import fcntl
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from errno import EACCES, EAGAIN, EINVAL, ENOENT, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path

from curate.errors import CurateError
from curate.storage.locks import lock_record
from curate.storage.locks.lock_record import NAME, RECORD_BYTES, Holder, Wait, busy, lost, read_holder, record
from curate.storage.manifest import FOLDER

# Other jobs that begin and end may remove the folder between two steps of ours; not for so long.
RACE_SECONDS = 5.0
# `running` locks the file for an instant to see whether it is locked, so a job tries for a little while.
TRIES, TRY_SECONDS = 5, 0.05
NO_LOCKS = (EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP)  # what file systems without locks answer


class FileClaim:
    """The lock of a folder on disk."""

    def __init__(self, folder: Path, holder: Holder) -> None:
        """Want the folder for a job, and take nothing yet."""
        self.folder, self.holder = folder, holder
        self.path = folder / FOLDER / NAME
        self.descriptor = -1
        self.new_folders: list[Path] = []  # folders that exist only because of the lock
        self.mutex = threading.Lock()  # the counter is raised by another thread than the one that releases

    def take(self, wait: Wait, *, take_over: bool) -> None:
        """Take the lock.

        Raises:
            FolderBusy: if another job holds it.
        """
        try:
            limit = time.monotonic() + RACE_SECONDS
            while not self._try(wait, take_over=take_over):
                if time.monotonic() > limit:
                    raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
        except OSError as error:
            self._remove_folders()
            reason = error.strerror or str(error)
            raise CurateError(f"cannot write {self.path}: {reason}. Repair the folder, or give another --out") from None

    def _try(self, wait: Wait, *, take_over: bool) -> bool:
        """Take the lock if the file is still the one that was opened; return whether it was."""
        self._make_folders()
        try:
            descriptor, created = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), True
        except FileExistsError:
            try:
                descriptor, created = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW), False
            except FileNotFoundError:
                return False  # its holder has just ended
        except FileNotFoundError:
            return False  # somebody has just removed the folder
        keep = False
        try:
            keep = self._lock(descriptor, wait, created=created, take_over=take_over)
        finally:
            if not keep:
                os.close(descriptor)
        self.descriptor = descriptor if keep else -1
        return keep

    def _lock(self, descriptor: int, wait: Wait, *, created: bool, take_over: bool) -> bool:
        for _ in range(TRIES):
            if (locked := _flock(descriptor, fcntl.LOCK_EX)) is not False:
                break
            time.sleep(TRY_SECONDS)
        if not _is(descriptor, self.path):
            return False  # the holder released it between our opening and locking
        before = read_holder(os.pread(descriptor, RECORD_BYTES, 0))
        if locked is False:
            # The system of another machine still holds it. A new file has a new lock; that job notices it and stops.
            if take_over and before is not None and not before.is_local:
                self.path.unlink(missing_ok=True)
                return False
            raise busy(self.folder, before)
        # A file system may say yes to every lock, or have none. In this process, `_held` decides.
        alive = before is not None and before.is_local and before.birth and before.is_alive
        if alive and before is not None and before.process != os.getpid():
            raise busy(self.folder, before)
        # Without locks of the system, an empty file may be that of a job which is about to write its name.
        unknown = locked is None if before is None else not before.is_local
        if unknown and not created and not take_over:
            self._watch(descriptor, wait)
        self._write(descriptor)
        if not created and (unknown or locked is None):
            # Two machines may take over at once where the system does not lock between them: the last to write wins.
            time.sleep(lock_record.LOOK_SECONDS)
            if (after := read_holder(self._read(descriptor))) is None or after.token != self.holder.token:
                raise busy(self.folder, after)
        return True

    def _watch(self, descriptor: int, wait: Wait) -> None:
        """Return when the counter of another machine stood still for two intervals."""
        name = str(self.path)
        while not wait.stands_still(name, content := self._read(descriptor)):
            if wait.changes(name, content):
                raise busy(self.folder, read_holder(content))
            time.sleep(lock_record.LOOK_SECONDS)

    def _read(self, descriptor: int) -> bytes:
        # Opened anew: a network file system looks at its server only when a file is opened.
        with suppress(FileNotFoundError):
            return self.path.read_bytes()
        return os.pread(descriptor, RECORD_BYTES, 0)

    def _write(self, descriptor: int) -> None:
        os.pwrite(descriptor, record(self.holder), 0)

    def beat(self) -> str:
        """Raise the counter, unless the lock is another's by now."""
        with self.mutex:
            if self.descriptor < 0:
                return ""
            if not _is(self.descriptor, self.path):
                with suppress(OSError):
                    return lost(self.folder, read_holder(self.path.read_bytes()))
                return lost(self.folder, None)
            current = read_holder(os.pread(self.descriptor, RECORD_BYTES, 0))
            if current is not None and current.token != self.holder.token:
                return lost(self.folder, current)
            self.holder = replace(self.holder, beat=self.holder.beat + 1)
            self._write(self.descriptor)
            return ""

    def release(self) -> None:
        """Remove the file, then unlock it: whoever waits for it sees that it is gone."""
        with self.mutex:
            descriptor, self.descriptor = self.descriptor, -1
            if descriptor < 0:
                return
            current = read_holder(os.pread(descriptor, RECORD_BYTES, 0))
            if _is(descriptor, self.path) and (current is None or current.token == self.holder.token):
                with suppress(OSError):
                    self.path.unlink()
            os.close(descriptor)
        self._remove_folders()

    def _make_folders(self) -> None:
        missing = [self.path.parent, *self.path.parent.parents]
        for folder in reversed([folder for folder in missing if not folder.exists()]):
            # Another job may make the folders at the same time, or remove them at its end.
            with suppress(FileExistsError, FileNotFoundError):
                folder.mkdir()
                self.new_folders.append(folder)

    def _remove_folders(self) -> None:
        """Remove the folders that were made for the lock and stayed empty."""
        for folder in reversed(self.new_folders):
            with suppress(OSError):
                folder.rmdir()
        self.new_folders = []

    def forget(self) -> None:
        """Close the file without unlocking it: in a child process, which must not keep the lock of its parent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _is(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to the file that was opened."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def running(folder: Path) -> Holder | None:
    """Return the job that holds a folder on disk; None if there is none, or its process is dead."""
    try:
        descriptor = os.open(folder / FOLDER / NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        locked, holder = _flock(descriptor, fcntl.LOCK_SH), read_holder(os.pread(descriptor, RECORD_BYTES, 0))
    finally:
        os.close(descriptor)
    if holder is None or locked is False:
        return holder
    return holder if not holder.is_local or (locked is None and holder.is_alive) else None


def _flock(descriptor: int, kind: int) -> bool | None:
    """Lock an open file; return whether that worked, or None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (EACCES, EAGAIN):
            return False
        raise
    return True
