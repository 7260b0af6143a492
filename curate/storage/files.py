"""List, read, hash and replace files, on disk and behind s3:// alike.

A reader never sees a half-written file. Everything that scores and prunes touches storage through these functions only;
`curate.storage.s3` does the part behind s3://.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, TypeVar

import xxhash

from curate.errors import SchemaError
from curate.storage import s3
from curate.storage.atomic import replacing, sweep, write_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ahead",
    "below",
    "buffer",
    "content_hash",
    "each",
    "exists",
    "inside",
    "listed",
    "mapped",
    "newer",
    "opened",
    "read_bytes",
    "read_text",
    "remove",
    "replacing",
    "size",
    "stamp",
    "sweep",
    "text_hash",
    "write_text",
]

T = TypeVar("T")
R = TypeVar("R")
# Requests in flight at once. A store answers in some 30 ms, so one at a time would take minutes for thousands of files.
THREADS = 32
CHUNK = 1 << 20  # bytes read at a time


def listed(item: str) -> list[tuple[Path, str]]:
    """List the files that a file, folder or glob names.

    Each comes with its path relative to the folder. In a folder, names that start with "_" or "." are records and
    temporary files; they are left out, with everything below them.

    Raises:
        SchemaError: if a glob leads out of its folder by "..".
    """
    path = Path(item)
    if s3.remote(path):
        return _visible(s3.listed(item))
    if path.is_file():
        return [(path, path.name)]
    if path.is_dir():
        root, paths = path, [p for p in path.rglob("*") if p.is_file()]
    else:
        parts = path.parts
        magic = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        # A glob is named by the folder in front of its first wildcard.
        root, paths = Path(*parts[:magic]), [Path(p) for p in glob(item, recursive=True) if os.path.isfile(p)]
    files = [(p, p.relative_to(root).as_posix()) for p in paths]
    if astray := [p for p, name in files if ".." in name.split("/")]:
        raise SchemaError(f"{astray[0]} leaves {root}. Name its folder itself, not by '..' after a wildcard")
    return _visible(files)


def _visible(files: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    return [(p, name) for p, name in files if not any(part.startswith(("_", ".")) for part in name.split("/"))]


def below(folder: Path, ending: str) -> list[Path]:
    """Return every file under a folder whose name has this ending, sorted."""
    paths = s3.below(folder) if s3.remote(folder) else sorted(p for p in folder.rglob("*") if p.is_file())
    return [path for path in paths if path.name.endswith(ending)]


def inside(folder: Path, relative: str) -> Path:
    """Return ``folder/relative``, after checking that it lies in the folder.

    Raises:
        SchemaError: if the name, or a link in the folder, leads out of it.
    """
    path = folder / relative
    if s3.remote(folder):
        return s3.inside(folder, relative)
    if not path.parent.resolve().is_relative_to(folder.resolve()) or path.name in ("", "..") or "\0" in relative:
        raise SchemaError(f"{relative!r} leads out of {folder}. Rename the input, or remove the link in {folder}")
    return path


def each(function: Callable[[T], R], items: Sequence[T], where: Path) -> list[R]:
    """Return ``function(item)`` for every item, in order.

    Where ``where`` is in a store, which answers slowly, many are run at a time.
    """
    if not s3.remote(where):
        return [function(item) for item in items]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def exists(path: Path) -> bool:
    """Return whether there is such a file."""
    return s3.exists(path) if s3.remote(path) else path.is_file()


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file."""
    return read_bytes(path).decode()


def read_bytes(path: Path) -> bytes:
    """Return the content of a file."""
    return s3.read(path) if s3.remote(path) else path.read_bytes()


def size(path: Path) -> int:
    """Return the size of a file in bytes."""
    return s3.size(path) if s3.remote(path) else path.stat().st_size


def stamp(path: Path) -> str:
    """Return a short text that changes when a file is written.

    An equal stamp does not prove equal content: compare content hashes where that matters.
    """
    if s3.remote(path):
        return s3.identity(path)
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def newer(path: Path, than: Path) -> bool:
    """Return whether ``path`` was written at the same time as ``than`` or later.

    The answer is False for an object in a store. It is True for a file that is compared with an object, since two
    clocks cannot be compared.
    """
    # The stamp of an object holds its entity tag, which proves its content, so its time does not matter.
    if s3.remote(path) or s3.remote(than):
        return not s3.remote(path)
    return max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) >= than.stat().st_mtime_ns


def buffer(path: Path) -> int:
    """Return how many bytes to read at a time."""
    # A store takes as long to begin an answer as to send a megabyte.
    return 8 * CHUNK if s3.remote(path) else CHUNK


def ahead(path: Path) -> int:
    """Return how many bytes to fetch where only a few are needed now, and more will be."""
    return CHUNK if s3.remote(path) else 0


def opened(path: Path) -> "pa.NativeFile":
    """Open a file for reading, at any offset."""
    if s3.remote(path):
        return s3.opened(path)
    import pyarrow as pa

    return pa.OSFile(str(path), "rb")


def mapped(path: Path) -> "pa.NativeFile":
    """Open a file for reading without copies: mapped into memory if it is on disk."""
    if s3.remote(path):
        return s3.opened(path)
    import pyarrow as pa

    return pa.memory_map(str(path))


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it, if it exists."""
    if s3.remote(path):
        s3.remove(path)
    elif path.is_dir() and not path.is_symlink():
        rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def content_hash(path: Path) -> str:
    """Return the xxh3-128 hex digest of a file or folder.

    A file is hashed by its bytes. A folder is hashed by the names and bytes of its files in sorted order, without names
    that start with "_" or "." (records and temporary files). Objects are hashed by their entity tags and sizes, so that
    nothing is downloaded.
    """
    digest = xxhash.xxh3_128()
    if s3.remote(path):
        for file, name in _visible([(path, "")] if s3.exists(path) else s3.listed(f"{path}/")):
            digest.update(f"{name}\0{s3.identity(file)}\0".encode())
        return digest.hexdigest()
    inner = [(p, p.relative_to(path).as_posix()) for p in path.rglob("*") if p.is_file()]
    for file, name in [(path, "")] if path.is_file() else sorted(_visible(inner)):
        digest.update(name.encode())
        with file.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def text_hash(text: str) -> str:
    """Return the xxh3-128 hex digest of a text in UTF-8."""
    return xxhash.xxh3_128_hexdigest(text.encode())
