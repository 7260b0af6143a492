"""Check an output folder before a job writes into it: outputs must not be taken for inputs of the next call."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from curate.errors import SchemaError
from curate.storage import files, listing, s3
from curate.storage.locks.lock import check_place
from curate.tables.shards import ending


def check(out: Path, data: Sequence[str], outputs: Iterable[str]) -> None:
    """Check that no output of a job would be listed as an input of the next call.

    ``data`` are the files, folders and globs that the job reads, and ``outputs`` the names of files below ``out``.

    Raises:
        SchemaError: if an output would be listed, or see `curate.storage.locks.lock.check_place`.
    """
    check_place(out)
    place = _real(out)
    names = [name for name in outputs if ending(name)]
    for item in data:
        root, wildcards = files.glob_parts(item)
        top = _real(root)
        if not (_within(place, top) or _within(top, place)) or (not wildcards and _is_file(root)):
            continue
        pattern = listing.pattern("/".join(wildcards)) if wildcards else None
        for name in names:
            path = f"{place}/{name}"
            inner = path.removeprefix(top).lstrip("/")
            hidden = any(part.startswith(("_", ".")) for part in inner.split("/"))
            if _within(path, top) and not hidden and (pattern is None or pattern.fullmatch(inner)):
                where = "is" if place == top else "lies in" if _within(place, top) else "has outputs in"
                raise SchemaError(
                    f"--out {s3.shown(out)} {where} the input {item}: outputs would be read as inputs the next time. "
                    "Give a folder outside of it, or one whose name starts with _"
                )


def _real(path: Path) -> str:
    return str(path) if s3.remote(path) else os.path.realpath(path)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_file(path: Path) -> bool:
    return not s3.remote(path) and path.is_file()
