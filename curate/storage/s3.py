"""List, read and replace the objects behind ``s3://bucket/key``.

``Path("s3://bucket/key")`` is the path ``s3:/bucket/key``; `remote` recognises it, and `curate.storage.files` calls the
functions here. AWS, MinIO, R2, GCS and similar stores work. The endpoint, the region and the credentials come from the
environment (``AWS_*``); pyarrow reads the credentials, this module does not. An object appears only when its upload is
complete.
"""

import fnmatch
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import CurateError, SchemaError
from curate.storage.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, S3FileSystem

# Attempts for one request. With the growing waits of the AWS SDK they take some 40 s. AWS_MAX_ATTEMPTS overrides it.
ATTEMPTS = "8"
CONNECT_SECONDS = 10.0  # a store that is reachable at all connects within a second or two
SCHEME = "s3:"
# Variables whose values are blanked out in error messages.
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
MAGIC = re.compile(r"[*?\[]")


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
    if len(parts) < 2 or "@" in parts[1] or any(MAGIC.search(parts[1]) or p == ".." for p in parts):
        raise SchemaError("an address must be s3://bucket/key, without '..', wildcards in the bucket or credentials")
    magic = next((i for i, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    root = Path(*parts[:magic])
    with _named(root):
        if magic == len(parts) > 2 and not item.endswith("/") and exists(root):
            return [(root, root.name)]
        objects = [(f"s3://{info.path}", info.path.removeprefix(_key(root) + "/")) for info in _below(root)]
    pattern = _pattern("/".join(parts[magic:])) if magic < len(parts) else re.compile(".*", re.DOTALL)
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
    """Open an object for reading, at any offset."""
    with _named(path):
        return _store().open_input_file(_key(path))


def read(path: Path) -> bytes:
    """Return all bytes of an object."""
    with _named(path), _store().open_input_file(_key(path)) as file:
        return bytes(file.read(file.size()))


def remove(path: Path) -> None:
    """Remove an object, or everything under a prefix, if it exists."""
    with _named(path):
        if exists(path):
            _store().delete_file(_key(path))
        elif _below(path):
            _store().delete_dir(_key(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a local temporary path, and upload it when the block ends without an error."""
    with scratch_folder() as folder:
        temporary = folder / path.name
        yield temporary
        put(temporary, path)


def put(source: Path, path: Path) -> None:
    """Upload a local file as an object.

    A small file takes one request; a larger one is sent in parts, which the store then joins.
    """
    with _named(path), source.open("rb") as handle:
        sink = _store().open_output_stream(_key(path))
        if source.stat().st_size:
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
    with _named(path), _store().open_input_stream(_key(path)) as stream:
        return {str(k).lower(): v.decode().strip('"') for k, v in (stream.metadata() or {}).items()}


def _below(folder: Path) -> "list[FileInfo]":
    from pyarrow.fs import FileSelector

    selector = FileSelector(_key(folder), recursive=True, allow_not_found=True)
    return [info for info in _store().get_file_info(selector) if info.is_file]


def _pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as a pattern: ``**/`` matches any folders, ``*`` and ``?`` stay within a name."""
    wildcards = {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    result = ""
    for position, token in enumerate(re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", glob)):
        if position % 2 == 0:
            result += re.escape(token)
        else:
            result += wildcards.get(token) or fnmatch.translate(token)[len("(?s:") : -len(r")\Z")]
    return re.compile(result)


def _store() -> "S3FileSystem":
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))
    return _connected(endpoint, region, attempts, os.environ.get("AWS_ACCESS_KEY_ID", ""))


@lru_cache(maxsize=4)
def _connected(endpoint: str, region: str, attempts: int, _user: str) -> "S3FileSystem":
    """Return a connection, which finds its credentials itself. The user name only tells connections apart."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    scheme, separator, host = endpoint.rpartition("://")
    return S3FileSystem(
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme if separator else "https",
        region=region or None,
        connect_timeout=CONNECT_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=attempts),
        background_writes=False,
        allow_delayed_open=True,
    )
