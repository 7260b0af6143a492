"""What a lock says of its holder, and how another machine's lock is watched."""

import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from platform import node

import msgspec

from curate import processes
from curate.errors import CurateError
from curate.progress import Progress
from curate.storage import s3

NAME = ".lock"  # in the folder of records; names with a dot are never inputs, nor part of a folder's content
# A holder raises its counter this often. Twice as long without a change, and another machine takes over: so a job may
# hang for 10 s, as in a slow answer of a store, without losing its folder.
BEAT_SECONDS = 10.0
RECORD_BYTES = 1024  # host names have at most 255 letters; the rest needs some 250 bytes
LOOK_SECONDS = 0.5  # between two looks at the counter of another machine


class FolderBusy(CurateError):
    """Another job writes in the folder."""


@dataclass(frozen=True)
class Holder:
    """The job that holds a folder: its name, process and machine, and since when.

    ``machine`` is the space in which ``process`` is unique (`curate.processes.host`), and ``birth`` tells the process
    from later ones with its id. ``beat`` is the counter. ``settled`` is False for a job that does not hold the folder
    yet.
    """

    job: str
    process: int
    host: str
    machine: str
    birth: str
    since: str
    token: str
    beat: int = 0
    settled: bool = True

    def __str__(self) -> str:
        """Return what messages say of the holder."""
        return f"{self.job}, process {self.process} on host {self.host}, since {self.since}"

    @property
    def is_local(self) -> bool:
        """Whether it ran on this machine, in this container, since the last start."""
        return self.machine == processes.host()

    @property
    def is_alive(self) -> bool:
        """Whether its process is alive; only known of a process of this machine."""
        return processes.is_alive(self.process) and processes.birth(self.process) == self.birth


def this_process(job: str) -> Holder:
    """Return the holder that a job of this process is."""
    pid = os.getpid()
    # The time and the token serve the lock only; no artefact holds them.
    since, token = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), os.urandom(8).hex()
    return Holder(job, pid, node(), processes.host(), processes.birth(pid), since, token)


def read_holder(text: str | bytes) -> Holder | None:
    """Return the holder that a lock names; None if its record is empty, damaged or not yet written."""
    try:
        return msgspec.json.decode(text, type=Holder)
    except msgspec.DecodeError:
        return None


def record(holder: Holder) -> bytes:
    """Return the record of a holder, which `read_holder` reads."""
    # Always of one size: raising the counter then needs no space on a full disk, and who reads an object of a store
    # while it is replaced does not get a part of it.
    return json.dumps(asdict(holder), sort_keys=True).encode().ljust(RECORD_BYTES)


class Wait:
    """Watch the locks of other machines, and tell which stand still."""

    def __init__(self, progress: Progress) -> None:
        """Watch nothing yet; ``progress`` is told how long the wait lasts."""
        self.progress = progress
        self.seen: dict[str, tuple[bytes, float]] = {}

    def stands_still(self, name: str, content: bytes) -> bool:
        """Return whether a lock did not change for two intervals, since this was first called for it."""
        before, since = self.seen.setdefault(name, (content, time.monotonic()))
        self.progress("seconds waited for another machine's lock", int(time.monotonic() - since), int(2 * BEAT_SECONDS))
        return before == content and time.monotonic() - since > 2 * BEAT_SECONDS

    def changes(self, name: str, content: bytes) -> bool:
        """Return whether a lock changed since `stands_still` was first called for it."""
        return name in self.seen and self.seen[name][0] != content


def busy(folder: Path, holder: Holder | None) -> FolderBusy:
    """Return the error for a folder that another job holds."""
    who = f": {holder}" if holder is not None else ""
    advice = "Wait until it ends, or give another --out"
    if holder is not None and not holder.is_local:
        advice += ". If it no longer runs, take the folder over with --take-over"
    return FolderBusy(f"another job writes in {s3.shown(folder)}{who}. {advice}")


def lost(folder: Path, holder: Holder | None) -> str:
    """Return the message of a job whose folder another one took."""
    who = f"{holder} has taken over {s3.shown(folder)}" if holder else f"the lock of {s3.shown(folder)} was removed"
    return f"{who}, so this job stops. What is finished is kept. Run it again when no other job writes there"
