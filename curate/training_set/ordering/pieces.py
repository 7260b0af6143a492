"""Keep records by key in one file, so that a later task reads the records of its key from many files.

In: runs of records, each with the key of every record. Out: a file; and the records of one key, in the order written.
A run is sorted by key in memory and appended. A table at the end says where the records of each key lie in each run.
Arrow and Parquet files can be cut like this too, but they need some hundred bytes for each piece, and most pieces hold
few records.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from curate.storage import disk_arrays
from curate.storage.files import replacing

RUN_ROWS = 1 << 16  # records in a run, about 24 bytes each
LENGTH = np.dtype("<u8")  # of the number at the very end of the file: the bytes of the JSON in front of it
Run = tuple[np.ndarray, np.ndarray]  # keys (m,) from 0, and records (m,)


@dataclass(frozen=True)
class KeyedFile:
    """What the end of a file of pieces says: its runs, where its table begins, and the ``fields`` of its writer."""

    path: Path
    kind: np.dtype
    keys: int
    runs: int
    table: int
    fields: Mapping[str, object]


def write(path: Path, runs: Iterable[Run], keys: int, fields: Mapping[str, object] | None = None) -> None:
    """Write runs of records whose keys lie in [0, ``keys``). The file appears when it is whole.

    The records of all runs have one type. Short runs are joined, because the table at the end has a number for each key
    of each run, and many passes over few rows are many keys in many runs. ``fields`` are plain values that are stored
    with the records. The iterator of the runs may fill them.
    """
    ends, rows = list[np.ndarray](), 0
    names: Sequence[object] = ()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for key, records in _joined(runs):
            names = records.dtype.descr
            order = np.argsort(key, kind="stable")
            disk_arrays.append(file, records[order])
            ends.append(rows + np.searchsorted(key[order], np.arange(keys + 1)))
            rows += len(key)
        table = file.tell()
        # One line for each key, so that one read finds the records of a key in all runs.
        disk_arrays.append(file, np.array(ends, dtype=np.int64).reshape(len(ends), keys + 1).T)
        end = {"kind": list(names), "keys": keys, "runs": len(ends), "table": table, "fields": dict(fields or {})}
        text = json.dumps(end).encode()
        file.write(text)
        disk_arrays.append(file, np.array([len(text)], dtype=LENGTH))


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the records of runs in order, in runs of at least ``RUN_ROWS`` records; the last may have fewer."""
    keys, records, rows = list[np.ndarray](), list[np.ndarray](), 0
    for key, part in runs:
        keys.append(key)
        records.append(part)
        rows += len(key)
        if rows >= RUN_ROWS:
            yield _together(keys), _together(records)
            keys, records, rows = [], [], 0
    if keys:
        yield _together(keys), _together(records)


def _together(arrays: Sequence[np.ndarray]) -> np.ndarray:
    # A single array may be large, and is not copied.
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def opened(path: Path) -> KeyedFile:
    """Return what the end of a file of pieces says."""
    with path.open("rb") as file:
        file.seek(-LENGTH.itemsize, os.SEEK_END)
        (length,) = np.frombuffer(file.read(), dtype=LENGTH).tolist()
        file.seek(-LENGTH.itemsize - length, os.SEEK_END)
        end = json.loads(file.read(length))
    kind = np.dtype([(str(name), str(letter)) for name, letter in end["kind"]])
    return KeyedFile(path, kind, end["keys"], end["runs"], end["table"], cast(Mapping[str, object], end["fields"]))


def count(pieces: KeyedFile, first: int, last: int) -> int:
    """Return how many records have a key in [``first``, ``last``)."""
    with pieces.path.open("rb") as file:
        return int((_ends(file, pieces, last) - _ends(file, pieces, first)).sum())


def read(pieces: KeyedFile, key: int) -> list[np.ndarray]:
    """Return the records of one key, an array for each run that has any."""
    with pieces.path.open("rb") as file:
        starts, ends = _ends(file, pieces, key), _ends(file, pieces, key + 1)
        result = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end > start:
                file.seek(start * pieces.kind.itemsize)
                result.append(np.frombuffer(file.read((end - start) * pieces.kind.itemsize), dtype=pieces.kind))
    return result


def _ends(file: BinaryIO, pieces: KeyedFile, key: int) -> np.ndarray:
    """Return for each run, (runs,), how many records of the file come before those of a key in that run."""
    file.seek(pieces.table + 8 * pieces.runs * key)
    return np.frombuffer(file.read(8 * pieces.runs), dtype=np.int64)
