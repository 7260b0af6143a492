"""Files as curate sees them: listed, stamped, opened by ranges, replaced whole.

A reader never sees a half-written file. Everything that scores and prunes touches storage through these functions only;
what lies behind s3:// is in `curate.storage.s3`.
"""

import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from glob import glob
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, TypeVar

import xxhash

from curate.errors import CurateError, SchemaError
from curate.storage import s3

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
R = TypeVar("R")
THREADS = 32  # that wait for a store
CHUNK = 1 << 20  # bytes read at a time
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>\d+)\.tmp")  # what ``replacing`` writes to


def listed(item: str) -> list[tuple[Path, str]]:
    """Return the files that a file, a folder or a glob names, each with its path relative to the folder it names.

    In a folder, names that start with "_" or "." are records and temporary files: left out, with what is below them.
    """
    path = Path(item)
    if s3.remote(path):
        return _visible(s3.listed(item))
    if path.is_file():
        return [(path, path.name)]
    if path.is_dir():
        root, files = path, [p for p in path.rglob("*") if p.is_file()]
    else:
        parts = path.parts
        magic = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        root, files = Path(*parts[:magic]), [Path(p) for p in glob(item, recursive=True) if os.path.isfile(p)]
    found = [(p, p.relative_to(root).as_posix()) for p in files]
    if astray := [p for p, name in found if ".." in name.split("/")]:
        raise SchemaError(f"{astray[0]} leaves {root}: name its folder itself, not by '..' after a wildcard")
    return _visible(found)


def _visible(found: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    return [(p, name) for p, name in found if not any(part.startswith(("_", ".")) for part in name.split("/"))]


def below(folder: Path, ending: str) -> list[Path]:
    """Return every file under a folder whose name has the ending, sorted."""
    found = s3.below(folder) if s3.remote(folder) else sorted(p for p in folder.rglob("*") if p.is_file())
    return [path for path in found if path.name.endswith(ending)]


def inside(folder: Path, relative: str) -> Path:
    """Return ``folder/relative``, where a file may be written; a name or link that leads out is refused."""
    path = folder / relative
    if s3.remote(folder):
        return s3.inside(folder, relative)
    if not path.parent.resolve().is_relative_to(folder.resolve()) or path.name in ("", "..") or "\0" in relative:
        raise SchemaError(f"{relative!r} leads out of {folder}: rename the input, or remove the link in {folder}")
    return path


def each(function: Callable[[T], R], items: Sequence[T], where: Path) -> list[R]:
    """Return the result for every item, in order; many at a time if ``where`` is in a store, which answers slowly."""
    if not s3.remote(where):
        return [function(item) for item in items]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


def exists(path: Path) -> bool:
    """Say whether there is a file."""
    return s3.exists(path) if s3.remote(path) else path.is_file()


def read_text(path: Path) -> str:
    """Return the text (UTF-8) of a file."""
    return s3.read(path).decode() if s3.remote(path) else path.read_text(encoding="utf-8")


def size(path: Path) -> int:
    """Return the bytes of a file."""
    return s3.size(path) if s3.remote(path) else path.stat().st_size


def stamp(path: Path) -> str:
    """Return a short text that changes when a file is written; the same text does not prove that nothing changed."""
    if s3.remote(path):
        return s3.identity(path)
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def newer(path: Path, than: Path) -> bool:
    """Say whether a file's time is not before another's, by the clock of the file system they lie on.

    An object's stamp is the truth about its content, so its time does not matter; two clocks cannot be compared.
    """
    if s3.remote(path) or s3.remote(than):
        return not s3.remote(path)
    return max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) >= than.stat().st_mtime_ns


def buffer(path: Path) -> int:
    """Return how many bytes to read at a time: a store takes as long to begin an answer as to send a megabyte."""
    return 8 * CHUNK if s3.remote(path) else CHUNK


def ahead(path: Path) -> int:
    """Return how many bytes to fetch for the sake of a few: of a store as many as come while it begins to answer."""
    return CHUNK if s3.remote(path) else 0


def opened(path: Path) -> "pa.NativeFile":
    """Open a file for reading, at any offset."""
    if s3.remote(path):
        return s3.opened(path)
    import pyarrow as pa

    return pa.OSFile(str(path), "rb")


def mapped(path: Path) -> "pa.NativeFile":
    """Open a file for reading without copies, where it can be mapped into memory."""
    if s3.remote(path):
        return s3.opened(path)
    import pyarrow as pa

    return pa.memory_map(str(path))


def remove(path: Path) -> None:
    """Remove a file, or a folder and all that is in it, if it is there."""
    if s3.remote(path):
        s3.remove(path)
    elif path.is_dir() and not path.is_symlink():
        rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it over ``path``, on error remove it.

    No space, no permission and their like are a ``CurateError`` that says so. Of an object the temporary path is local,
    and it is uploaded on success.
    """
    if s3.remote(path):
        with s3.replacing(path) as temporary:
            yield temporary
        return
    temporary = path.with_name(f".{path.name}.{host()}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)
    except OSError as error:
        said = error.strerror or str(error).splitlines()[0]
        raise CurateError(
            f"cannot write {path}: {said}. Free the space or mend the folder; the same command continues"
        ) from error
    finally:
        _discard(temporary)


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # a folder that cannot be written to holds no temporary file of ours
        return


@lru_cache(maxsize=1)
def host() -> str:
    """Return a short name of the space in which process ids are unique: this machine since it started, this container.

    The host name alone would not do: two machines or containers of one name would remove each other's live files.
    """
    found = [platform.node()]
    if os.path.lexists("/proc/self/ns/pid"):  # Linux; elsewhere the name must do
        found += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return xxhash.xxh3_64_hexdigest("\0".join(found).encode())[:8]


def sweep(folder: Path, ending: str = "") -> int:
    """Remove what killed processes left of ``replacing`` under ``folder``, for names with ``ending``; return how many.

    A file whose process is alive on this machine stays, and so does a file of another machine, or of this one before
    it was started again: whether its process lives cannot be known from here.
    """
    removed = 0
    for path in () if s3.remote(folder) else folder.rglob(".*.tmp"):
        found = TEMPORARY.fullmatch(path.name)
        ours = found and found["name"].endswith(ending) and found["host"] in (None, host())
        if found and ours and not _alive(int(found["pid"])):
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
    temporary files, not content. Of objects it is that of their entity tags and sizes: nothing is downloaded.
    """
    digest = xxhash.xxh3_128()
    if s3.remote(path):
        for file, name in _visible([(path, "")] if s3.exists(path) else s3.listed(f"{path}/")):
            digest.update(f"{name}\0{s3.identity(file)}\0".encode())
        return digest.hexdigest()
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
