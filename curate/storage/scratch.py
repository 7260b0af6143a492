"""Folders for work files, which are gone when the job has ended, however it ended.

In: a place with room, or none for the system's temporary folder (TMPDIR). Out: a new folder that names its process.

A killed process cannot remove its folder. The next one that makes a folder in the same place does: it removes those
whose process is dead on this machine. Folders of other users, machines and containers are left alone.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.processes import host, is_alive

NAME = re.compile(r"curate-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-\w+")
_folders: set[Path] = set()  # those of this process
_swept: set[Path] = set()  # places that this process has swept, which it does once


@contextmanager
def scratch_folder(place: str | Path = "") -> Iterator[Path]:
    """Make a folder for work files, and remove it with all that it holds when the block ends.

    Args:
        place: an existing folder on a disk with room; empty is the system's temporary folder.
    """
    parent = Path(place or tempfile.gettempdir())
    _sweep_once(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"curate-{host()}-{os.getpid()}-", dir=parent))
    _folders.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folders.discard(folder)


def sweep_temporary() -> None:
    """Remove what killed processes left in the system's temporary folder. Every job that writes a folder does it."""
    _sweep_once(Path(tempfile.gettempdir()))


def _sweep_once(place: Path) -> None:
    if place not in _swept:
        sweep(place)
        _swept.add(place)


def sweep(place: Path, *, ended: Collection[int] = ()) -> int:
    """Remove the folders that killed processes left in a place; return how many.

    ``ended`` are processes that no longer use their folders, though they may still be in the table of processes.
    """
    removed = 0
    for path in place.glob("curate-*"):
        match = NAME.fullmatch(path.name)
        if match is None or match["host"] != host() or not _is_own_folder(path):
            continue
        if int(match["pid"]) in ended or not is_alive(int(match["pid"])):
            shutil.rmtree(path, ignore_errors=True)
            removed += not path.exists()
    return removed


def remove_all(ended: Collection[int]) -> None:
    """Remove the scratch folders of this process and of the workers that have ``ended``; this process ends now."""
    places = {Path(tempfile.gettempdir())} | {folder.parent for folder in list(_folders)} | set(_swept)
    for place in places:
        sweep(place, ended={*ended, os.getpid()})


def _is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder of this user, and no link: in a shared place anybody may make such a name."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
