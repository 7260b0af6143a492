"""List, read, hash and replace files, on disk and behind s3:// alike.

A reader never sees a half-written file. Everything that scores and prunes touches storage through these functions only;
`curate.storage.s3` does the part behind s3://.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, TypeVar

import xxhash

from curate.errors import SchemaError
from curate.storage import listing as listings
from curate.storage import s3
from curate.storage.atomic import replacing, sweep, together, write_text
from curate.storage.listing import Listing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ahead",
    "below",
    "buffer",
    "content_hash",
    "each",
    "exists",
    "glob_parts",
    "inside",
    "Listing",
    "listed",
    "listing",
    "mapped",
    "newer",
    "opened",
    "read_bytes",
    "read_text",
    "remove",
    "replacing",
    "size",
    "size_and_stamp",
    "stamp",
    "sweep",
    "text_hash",
    "together",
    "write_text",
]

T = TypeVar("T")
R = TypeVar("R")
# Requests in flight at once. A store answers in some 30 ms, so one at a time would take minutes for thousands of files.
THREADS = 32
CHUNK = 1 << 20  # bytes read at a time


def listing(item: str) -> Listing:
    """List the files that a file, folder or glob names, and what was passed over.

    Each file comes with its path relative to the folder. In a folder, names that start with "_" or "." are records and
    temporary files; they are left out, with everything below them. Links are followed, but no file is listed twice.

    Raises:
        SchemaError: if a folder cannot be read, or a glob leads out of its folder by "..".
    """
    path = Path(item)
    if s3.remote(path):
        return _visible(s3.listed(item))
    try:
        if path.is_dir():
            return listings.below(path)
        if path.exists():
            return Listing([(path, path.name)]) if path.is_file() else Listing(special=[path.name])
        root, wildcards = glob_parts(item)
        if wildcards and root.is_dir():
            return listings.matching(root, wildcards)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise SchemaError(f"{item!r} cannot be read: {reason}. Name another file or folder") from None
    return Listing(dangling=[path.name]) if path.is_symlink() else Listing()


def glob_parts(item: str) -> tuple[Path, tuple[str, ...]]:
    """Split an address in front of its first wildcard: a folder, and the parts of the glob.

    An address without wildcards is returned whole, with no parts of a glob.
    """
    path = Path(item)
    for i, part in enumerate(path.parts):
        if listings.MAGIC.search(part):
            root = Path(*path.parts[:i])
            # A part that exists as it is written is no wildcard, whatever its characters.
            if s3.remote(path) or not (root / part).exists():
                return root, path.parts[i:]
    return path, ()


def listed(item: str) -> list[tuple[Path, str]]:
    """Return the files of `listing`, without what was passed over."""
    return listing(item).files


def _visible(objects: Sequence[tuple[Path, str]]) -> Listing:
    """Return the objects without those whose names start with "_" or ".", or lie below such a name."""
    result, hidden = Listing(), set[str]()
    for path, name in objects:
        parts = name.split("/")
        first = next((i for i, part in enumerate(parts) if part.startswith(("_", "."))), None)
        if first is None:
            result.files.append((path, name))
        elif parts[first].startswith("_"):
            hidden.add("/".join(parts[: first + 1]))
    result.hidden = sorted(hidden)
    return result


def below(folder: Path, ending: str) -> list[Path]:
    """Return every file under a folder whose name has this ending, sorted.

    Raises:
        SchemaError: if a folder cannot be read.
    """
    paths = s3.below(folder) if s3.remote(folder) else listings.everything(folder)
    return [path for path in paths if path.name.endswith(ending)]


def inside(folder: Path, relative: str) -> Path:
    """Return ``folder/relative``, after checking that it lies in the folder.

    Raises:
        SchemaError: if the name, or a link in the folder, leads out of it.
    """
    path = folder / relative
    if s3.remote(folder):
        return s3.inside(folder, relative)
    *above, name = relative.split("/")
    if name and "\0" not in relative and "" not in above and not {".", ".."} & {*above, name}:
        # Only a link among the folders below can lead out.
        inner = accumulate(above, os.path.join, initial=str(folder))
        if not any(os.path.islink(part) for part in islice(inner, 1, None)):
            return path
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
    return s3.identity(path) if s3.remote(path) else size_and_stamp(path)[1]


def size_and_stamp(path: Path) -> tuple[int, str]:
    """Return the size of a file in bytes, and its `stamp`. The file is looked at once."""
    if s3.remote(path):
        return s3.size(path), s3.identity(path)
    status = os.stat(path)
    return status.st_size, f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def newer(path: Path, than: Path) -> bool:
    """Return whether ``path`` was written at the same time as ``than`` or later.

    The answer is False for an object in a store. It is True for a file that is compared with an object, since two
    clocks cannot be compared.
    """
    # The stamp of an object holds its entity tag, which proves its content, so its time does not matter.
    if s3.remote(path) or s3.remote(than):
        return not s3.remote(path)
    status = os.stat(path)
    return max(status.st_mtime_ns, status.st_ctime_ns) >= os.stat(than).st_mtime_ns


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
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        # Systems differ in the error for a folder.
        if not path.is_dir() or path.is_symlink():
            raise
        rmtree(path, ignore_errors=True)


def content_hash(path: Path) -> str:
    """Return the xxh3-128 hex digest of a file or folder.

    A file is hashed by its bytes. A folder is hashed by the names and bytes of its files in sorted order, without names
    that start with "_" or "." (records and temporary files). Objects are hashed by their entity tags and sizes, so that
    nothing is downloaded.
    """
    digest = xxhash.xxh3_128()
    if s3.remote(path):
        for file, name in _visible([(path, "")] if s3.exists(path) else s3.listed(f"{path}/")).files:
            digest.update(f"{name}\0{s3.identity(file)}\0".encode())
        return digest.hexdigest()
    for file, name in [(path, "")] if path.is_file() else sorted(listings.below(path).files):
        digest.update(os.fsencode(name))
        with file.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def text_hash(text: str) -> str:
    """Return the xxh3-128 hex digest of a text in UTF-8."""
    return xxhash.xxh3_128_hexdigest(text.encode())
