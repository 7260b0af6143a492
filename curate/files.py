"""Atomic files and content hashes: a reader never sees a half-written file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

CHUNK = 1 << 20  # bytes read at a time when hashing
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.tmp")  # what ``replacing`` writes to


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it over ``path``, on error remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path, ending: str = "") -> int:
    """Remove what killed processes left of ``replacing`` under ``folder``, for names with ``ending``; return how many.

    A file whose process is alive on this machine stays.
    """
    removed = 0
    for path in folder.rglob(".*.tmp"):
        found = TEMPORARY.fullmatch(path.name)
        if found and found["name"].endswith(ending) and not _alive(int(found["pid"])):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def content_hash(path: Path) -> str:
    """Return the xxh3-128 hex digest of a file's bytes; of a folder, of its files' names and bytes in sorted order.

    In a folder, names that start with "_" or "." are records about the content (the manifest, with its times) and
    temporary files, not content.
    """
    digest = xxhash.xxh3_128()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if _is_content(p, path)):
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _is_content(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(("_", ".")) for part in file.relative_to(folder).parts)


def text_hash(text: str) -> str:
    """Return the xxh3-128 hex digest of a string (UTF-8)."""
    return xxhash.xxh3_128_hexdigest(text.encode())
