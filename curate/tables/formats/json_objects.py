"""Tell a ``.json`` file that is one object, as metadata are, from one that holds rows.

Folders of data hold files such as ``config.json`` and ``dataset_infos.json``. These have the ending
of data, and no rows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate.storage import files
from curate.tables.formats import unpacking
from curate.tables.formats.unpacking import BYTE_ORDER_MARK

FIRST_BYTES = 1 << 16  # enough for the first line of nearly all files
# Bytes of the largest file that is taken for metadata: the largest ones beside models are about as large. A larger file
# counts as data, so that a job says that it cannot be read.
MOST_BYTES = 1 << 24


@dataclass(frozen=True)
class _JsonStart:
    """How a file begins: the keys of its first object, and whether the file is that object alone, on how many lines."""

    keys: frozenset[str] = frozenset()
    is_one_object: bool = False
    has_lines: bool = False


def without_rows(paths: Sequence[Path], *, beside_others: bool) -> set[Path]:
    """Return which of the JSON files of a folder are metadata: one object each, and no rows.

    An object over several lines is no row, since a row has one line. An object on one line may be a row, such as the
    only one of a part that Spark wrote. It counts as a row if it has a key of the rows in another JSON file, or if
    there is no other file of rows. ``beside_others`` says that the folder has rows in other kinds of files.
    """
    starts = dict(zip(paths, files.each(_start, paths, paths[0]), strict=True)) if paths else {}
    # A file that is empty or damaged tells nothing about the rows.
    rows = [start for start in starts.values() if start.keys and not start.is_one_object]
    keys = frozenset[str]().union(*(start.keys for start in rows))
    return {
        path
        for path, start in starts.items()
        if start.is_one_object and (start.has_lines or ((rows or beside_others) and not start.keys & keys))
    }


def is_one_object(path: Path) -> bool:
    """Return whether a file is one object over several lines."""
    start = _start(path)
    return start.is_one_object and start.has_lines


def _start(path: Path) -> _JsonStart:
    try:
        with unpacking.opened(path) as stream:
            data = bytes(stream.read(FIRST_BYTES)).removeprefix(BYTE_ORDER_MARK).lstrip()
            if not data.startswith(b"{"):
                return _JsonStart(_first_keys(data))
            if (row := _first_row(data)) is not None:
                return _JsonStart(frozenset(row))
            data += bytes(stream.read(MOST_BYTES - FIRST_BYTES))
            is_whole = not stream.read(1)
    except (OSError, pa.ArrowException):
        return _JsonStart()  # the job that reads the file says what is wrong
    if (row := _first_row(data)) is not None:
        return _JsonStart(frozenset(row))
    record = _object(data) if is_whole else None
    if record is None:
        return _JsonStart()
    return _JsonStart(frozenset(record), is_one_object=True, has_lines=b"\n" in data.strip())


def _first_row(data: bytes) -> dict[str, object] | None:
    """Return the object on the first line of several; None if there is only one line, or the line is no object."""
    line, _, others = data.partition(b"\n")
    return _object(line) if others.strip() else None


def _object(data: bytes) -> dict[str, object] | None:
    """Return the object that some text is; None if it is something else."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _first_keys(data: bytes) -> frozenset[str]:
    """Return the keys of the first element of an array."""
    try:
        record, _ = json.JSONDecoder().raw_decode(data.decode(errors="ignore").lstrip("[ \t\r\n"))
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(record) if isinstance(record, dict) else frozenset()
