"""Keep intermediate results only for a job that would compute the same ones.

A job that was killed leaves intermediate results. The next job in the same folder may have other options. In: a folder
of results, and a hash of all that decides them. Out: the folder, empty if it was made from something else.
"""

from pathlib import Path

from curate.storage import files
from curate.storage.files import write_text

NAME = "origin.txt"


def keep_if_from(folder: Path, key: str) -> None:
    """Remove a folder unless its results come from what ``key`` is the hash of; record the key in it."""
    if not is_from(folder / NAME, key):
        files.remove(folder)
        record(folder / NAME, key)


def is_from(path: Path, key: str) -> bool:
    """Return whether this key is recorded in a file."""
    return files.exists(path) and files.read_text(path) == key


def record(path: Path, key: str) -> None:
    """Write a key into a file."""
    write_text(path, key)
