"""List, read and replace the objects behind ``s3://bucket/key``.

``Path("s3://bucket/key")`` is the path ``s3:/bucket/key``; `remote` recognises it, and `curate.storage.files` calls the
functions here. AWS, MinIO, R2, GCS and similar stores work. The endpoint, the region and the credentials come from the
environment (``AWS_*``); pyarrow reads the credentials, this module does not. An object appears only when its upload is
complete.
"""

import io
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import CurateError, SchemaError
from curate.storage import disk_errors, listing
from curate.storage.retries import ShortAnswer, again, attempts
from curate.storage.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, S3FileSystem

CONNECT_SECONDS = 10.0  # a store that is reachable at all connects within a second or two
SCHEME = "s3:"
MARK_BYTES = 16  # random bytes by which a short answer is recognised
SMALL_BYTES = 5 << 20  # an object up to this size is sent in one request
# Variables whose values are blanked out in error messages.
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")


class Unreachable(CurateError):
    """A store that does not answer or refuses. Finished files are kept."""


def remote(path: Path) -> bool:
    """Return whether a path is an object in a store."""
    return path.parts[:1] == (SCHEME,)


def spelled(text: str) -> str:
    """Return a text in which paths of objects are written as s3://bucket/key."""
    return re.sub(r"\bs3:/(?=[^/])", "s3://", text)


def shown(path: Path) -> str:
    """Return a path as the user wrote it: s3://bucket/key for an object."""
    return spelled(str(path))


def listed(item: str) -> list[tuple[Path, str]]:
    """List the objects that an address names, each with its path relative to the address.

    ``item`` is an object, a prefix or a glob.

    Raises:
        SchemaError: if the address is malformed, or an object has a name that no file can have.
    """
    wanted = Path(item)
    parts = wanted.parts
    if len(parts) < 2 or "@" in parts[1] or any(listing.MAGIC.search(parts[1]) or p == ".." for p in parts):
        raise SchemaError("an address must be s3://bucket/key, without '..', wildcards in the bucket or credentials")
    magic = next((i for i, part in enumerate(parts) if listing.MAGIC.search(part)), len(parts))
    root = Path(*parts[:magic])
    with _named(root):
        if magic == len(parts) > 2 and not item.endswith("/") and exists(root):
            return [(root, root.name)]
        objects = [(f"s3://{info.path}", info.path.removeprefix(_key(root) + "/")) for info in _below(root)]
    pattern = listing.pattern("/".join(parts[magic:])) if magic < len(parts) else re.compile(".*", re.DOTALL)
    objects = [(key, name) for key, name in objects if pattern.fullmatch(name)]
    for key, name in objects:
        if not set(name.split("/")).isdisjoint(("", ".", "..")) or "\0" in name:
            raise SchemaError(f"{key!r} has an empty part, '.' or '..' in its name. Rename the object")
    return [(Path(key), name) for key, name in objects]


def inside(folder: Path, relative: str) -> Path:
    """Return ``folder/relative``; raise SchemaError if the name leads out of the prefix."""
    if not set(relative.split("/")).isdisjoint(("", ".", "..")) or "\0" in relative:
        raise SchemaError(f"{relative!r} leads out of {shown(folder)}. Rename the input")
    return folder / relative


def exists(path: Path) -> bool:
    """Return whether there is such an object."""
    try:
        return bool(_head(path))
    except FileNotFoundError:
        return False


def below(folder: Path) -> list[Path]:
    """Return every object under a prefix, sorted."""
    with _named(folder):
        return sorted(Path(f"s3://{info.path}") for info in _below(folder))


def size(path: Path) -> int:
    """Return the size of an object in bytes."""
    return int(_head(path)["content-length"])


def identity(path: Path) -> str:
    """Return the entity tag and size of an object, which change when its content does.

    None of its content is read.
    """
    headers = _head(path)
    return f"{headers.get('etag', headers['last-modified'])}:{headers['content-length']}"


def opened(path: Path) -> "pa.NativeFile":
    """Open an object for reading, at any offset. Reads that fail for the moment are repeated."""
    import pyarrow as pa

    return pa.PythonFile(ObjectReader(path), mode="r")


def read(path: Path) -> bytes:
    """Return all bytes of an object."""
    with ObjectReader(path) as file:
        return file.read()


class ObjectReader(io.RawIOBase):
    """An object as a file that is read at any offset; every read is one request, repeated where it fails."""

    def __init__(self, path: Path) -> None:
        """Ask for the size of the object.

        Raises:
            FileNotFoundError: if there is no such object.
        """
        self._path, self._position = path, 0
        with _named(path):
            self._file = again(lambda: _store().open_input_file(_key(path)))
        self._size = self._file.size()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the start, the present position or the end; return the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or all that follow."""
        remaining = max(0, self._size - self._position)
        count = remaining if size is None or size < 0 else min(size, remaining)

        def request() -> bytes:
            # pyarrow does not tell a short answer from a whole one: it returns zeros for what is missing. So the end of
            # the buffer is marked with random bytes, and an answer that leaves the mark in place was short. A whole
            # answer has the same bytes by chance once in 2^128; a single byte is taken for short once in 256, and read
            # again.
            buffer, mark = bytearray(count), os.urandom(min(count, MARK_BYTES))
            buffer[-len(mark) :] = mark
            self._file.seek(self._position)
            self._file.readinto(buffer)
            if buffer.endswith(mark):
                raise ShortAnswer(f"AWS Error: fewer than {count} bytes were sent")
            return bytes(buffer)

        with _named(self._path):
            answer = again(request) if count else b""
        self._position += len(answer)
        return answer

    def close(self) -> None:
        """Close the object."""
        if not self.closed:
            self._file.close()
        super().close()


def remove(path: Path) -> None:
    """Remove an object, or everything under a prefix, if it exists."""
    with _named(path):
        # A request whose answer was lost has removed the object: then it is gone at the second attempt.
        if exists(path):
            with suppress(FileNotFoundError):
                again(lambda: _store().delete_file(_key(path)))
        elif _below(path):
            with suppress(FileNotFoundError):
                again(lambda: _store().delete_dir(_key(path)))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a local temporary path, and upload it when the block ends without an error."""
    with scratch_folder() as folder:
        temporary = folder / path.name
        with disk_errors.scratch_errors(temporary):
            yield temporary
        put(temporary, path)


def put(source: Path, path: Path) -> None:
    """Upload a local file as an object.

    A small file takes one request; a larger one is sent in parts, which the store then joins. An upload that fails for
    the moment is begun again: nothing is seen of it before it is complete.
    """
    with _named(path):
        again(lambda: _upload(source, path))


def _upload(source: Path, path: Path) -> None:
    with source.open("rb") as handle:
        size = source.stat().st_size
        # A stream that may still become one request writes what it has when it is dropped after an error: an empty
        # object in the place of a large one. A stream of parts is only joined when it is complete.
        sink = _store(one_request=size <= SMALL_BYTES).open_output_stream(_key(path))
        if size:
            # One write for the whole file: an error between two writes would close the stream, and closing
            # would complete an object that holds only a part.
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                sink.write(mapped)
        sink.close()


def write(content: bytes, path: Path) -> None:
    """Write a few bytes as an object, in one request."""
    with _named(path), _store().open_output_stream(_key(path)) as sink:
        sink.write(content)


def trouble(error: Exception, path: Path) -> CurateError | None:
    """Return the error to show for an error that came from the store.

    Return None if it came from the content of the file.
    """
    if isinstance(error, Unreachable):
        return error
    if not remote(path) or "AWS Error" not in str(error):
        return None
    message = " ".join(str(error).split())
    for name in SECRETS:
        if len(os.environ.get(name, "")) > 3:
            message = message.replace(os.environ[name], f"${name}")
    message = re.sub(r"//[^/\s@]+@", "//...@", message)  # an endpoint may be written with a password in it
    return Unreachable(
        f"{shown(path)}: the store failed: {message[:400]}. Check the endpoint, the bucket and the credentials "
        "(AWS_ENDPOINT_URL, AWS_PROFILE, ...); finished files are kept, and the same command continues"
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an error of the store into one line that names the object."""
    try:
        yield
    except OSError as error:
        if (failure := trouble(error, path)) is not None:
            raise failure from None
        raise


def _key(path: Path) -> str:
    return "/".join(path.parts[1:])


def _head(path: Path) -> dict[str, str]:
    """Return the headers of an object, names in small letters. This takes one request."""

    def headers() -> dict[str, str]:
        with _store().open_input_stream(_key(path)) as stream:
            return {str(k).lower(): v.decode().strip('"') for k, v in (stream.metadata() or {}).items()}

    with _named(path):
        return again(headers)


def _below(folder: Path) -> "list[FileInfo]":
    from pyarrow.fs import FileSelector

    selector = FileSelector(_key(folder), recursive=True, allow_not_found=True)
    return [info for info in again(lambda: _store().get_file_info(selector)) if info.is_file]


def _store(*, one_request: bool = True) -> "S3FileSystem":
    """Return the connection. With ``one_request``, a small object is written in one request, else always in parts."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    return _connected(endpoint, region, attempts(), one_request, os.environ.get("AWS_ACCESS_KEY_ID", ""))


@lru_cache(maxsize=4)
def _connected(endpoint: str, region: str, max_attempts: int, one_request: bool, _user: str) -> "S3FileSystem":
    """Return a connection, which finds its credentials itself. The user name only tells connections apart."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    scheme, separator, host = endpoint.rpartition("://")
    return S3FileSystem(
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme if separator else "https",
        region=region or None,
        connect_timeout=CONNECT_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=max_attempts),
        background_writes=False,
        allow_delayed_open=one_request,
    )
