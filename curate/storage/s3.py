"""Objects behind ``s3://bucket/key`` as files: listed, stamped, read by ranges, put whole.

``Path("s3://bucket/key")`` is the path ``s3:/bucket/key``; `remote` knows it, and `curate.storage.files` brings it
here. AWS, MinIO, R2, GCS and their like: the endpoint, the region and the credentials come from the environment
(``AWS_*``), and credentials are never read here. An object appears when its upload is complete, never before.
"""

import fnmatch
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from curate.errors import CurateError, SchemaError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileInfo, S3FileSystem

ATTEMPTS = "8"  # of one request, with the growing waits of the AWS SDK: some 40 s; AWS_MAX_ATTEMPTS changes it
CONNECT_SECONDS = 10.0
SCHEME = "s3:"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
MAGIC = re.compile(r"[*?\[]")


class Unreachable(CurateError):
    """Storage does not answer, or refuses; what is finished is kept."""


def remote(path: Path) -> bool:
    """Say whether a path is an object."""
    return path.parts[:1] == (SCHEME,)


def spelled(text: str) -> str:
    """Return a text with the paths of objects in it as a user writes them."""
    return re.sub(r"\bs3:/(?=[^/])", "s3://", text)


def shown(path: Path) -> str:
    """Return a path as a user writes it."""
    return spelled(str(path))


def listed(item: str) -> list[tuple[Path, str]]:
    """Return the objects that ``item`` (an object, a prefix or a glob) names, each with its path relative to it."""
    wanted = Path(item)
    parts = wanted.parts
    if len(parts) < 2 or "@" in parts[1] or any(MAGIC.search(parts[1]) or p == ".." for p in parts):
        raise SchemaError("an address must be s3://bucket/key, without '..', wildcards in the bucket or credentials")
    magic = next((i for i, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    root = Path(*parts[:magic])
    with _said(root):
        if magic == len(parts) > 2 and not item.endswith("/") and exists(root):
            return [(root, root.name)]
        found = [(f"s3://{info.path}", info.path.removeprefix(_key(root) + "/")) for info in _below(root)]
    pattern = _pattern("/".join(parts[magic:])) if magic < len(parts) else re.compile(".*", re.DOTALL)
    found = [(key, name) for key, name in found if pattern.fullmatch(name)]
    for key, name in found:
        if not set(name.split("/")).isdisjoint(("", ".", "..")) or "\0" in name:
            raise SchemaError(f"{key!r} has an empty part, '.' or '..' in its name: rename the object")
    return [(Path(key), name) for key, name in found]


def inside(folder: Path, relative: str) -> Path:
    """Return ``folder/relative``; a name that leads out of the prefix is refused."""
    if not set(relative.split("/")).isdisjoint(("", ".", "..")) or "\0" in relative:
        raise SchemaError(f"{relative!r} leads out of {shown(folder)}: rename the input")
    return folder / relative


def exists(path: Path) -> bool:
    """Say whether there is an object."""
    try:
        return bool(_head(path))
    except FileNotFoundError:
        return False


def below(folder: Path) -> list[Path]:
    """Return every object under a prefix, sorted."""
    with _said(folder):
        return sorted(Path(f"s3://{info.path}") for info in _below(folder))


def size(path: Path) -> int:
    """Return the bytes of an object."""
    return int(_head(path)["content-length"])


def modified(path: Path) -> int:
    """Return the time of an object by the clock of the store, in ns (a whole number of seconds)."""
    return int(parsedate_to_datetime(_head(path)["last-modified"]).timestamp()) * 10**9


def identity(path: Path) -> str:
    """Return the entity tag and the size, which change when the content does; no byte of it is read."""
    known = _head(path)
    return f"{known.get('etag', known['last-modified'])}:{known['content-length']}"


def opened(path: Path) -> "pa.NativeFile":
    """Open an object for reading, at any offset."""
    with _said(path):
        return _store().open_input_file(_key(path))


def read(path: Path) -> bytes:
    """Return all bytes of an object."""
    with _said(path), _store().open_input_file(_key(path)) as file:
        return bytes(file.read(file.size()))


def remove(path: Path) -> None:
    """Remove an object, or all under a prefix, if there is any."""
    with _said(path):
        if exists(path):
            _store().delete_file(_key(path))
        elif _below(path):
            _store().delete_dir(_key(path))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a local temporary path; on success upload it as the object, whole or not at all."""
    with TemporaryDirectory(prefix="curate-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        put(temporary, path)


def put(source: Path, path: Path) -> None:
    """Upload a local file as an object: small ones in one request, larger ones in parts that are then put together.

    The file goes in as one write: nothing can stop between two writes, and complete a part of it by closing.
    """
    with _said(path), source.open("rb") as handle:
        sink = _store().open_output_stream(_key(path))
        if source.stat().st_size:
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                sink.write(mapped)
        sink.close()


def trouble(error: Exception, path: Path) -> CurateError | None:
    """Return what to tell of an error that came from the store, not from the content of a file; None: it did not."""
    if isinstance(error, Unreachable):
        return error
    if not remote(path) or "AWS Error" not in str(error):
        return None
    said = " ".join(str(error).split())
    for name in SECRETS:
        if len(os.environ.get(name, "")) > 3:
            said = said.replace(os.environ[name], f"${name}")
    said = re.sub(r"//[^/\s@]+@", "//...@", said)  # an endpoint may be written with a password in it
    return Unreachable(
        f"{shown(path)}: the store failed: {said[:400]}. Check the endpoint, the bucket and the credentials "
        "(AWS_ENDPOINT_URL, AWS_PROFILE, ...); what is finished is kept and the same command continues"
    )


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn what the store raises into one line that names the object."""
    try:
        yield
    except OSError as error:
        if (found := trouble(error, path)) is not None:
            raise found from None
        raise


def _key(path: Path) -> str:
    return "/".join(path.parts[1:])


def _head(path: Path) -> dict[str, str]:
    """Return what the store says of an object, names in small letters: one request."""
    with _said(path), _store().open_input_stream(_key(path)) as stream:
        return {str(k).lower(): v.decode().strip('"') for k, v in (stream.metadata() or {}).items()}


def _below(folder: Path) -> "list[FileInfo]":
    from pyarrow.fs import FileSelector

    selector = FileSelector(_key(folder), recursive=True, allow_not_found=True)
    return [info for info in _store().get_file_info(selector) if info.is_file]


def _pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as a pattern: ``**/`` is any folders, ``*`` and ``?`` stay within a name."""
    known = {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    result = ""
    for position, token in enumerate(re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", glob)):
        if position % 2 == 0:
            result += re.escape(token)
        else:
            result += known.get(token) or fnmatch.translate(token)[len("(?s:") : -len(r")\Z")]
    return re.compile(result)


def _store() -> "S3FileSystem":
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))
    return _connected(endpoint, region, attempts, os.environ.get("AWS_ACCESS_KEY_ID", ""))


@lru_cache(maxsize=4)
def _connected(endpoint: str, region: str, attempts: int, _user: str) -> "S3FileSystem":
    """Return a connection; it finds its credentials itself."""
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
