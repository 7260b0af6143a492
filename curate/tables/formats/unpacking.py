"""Open files of text, packed with gzip or zstd or not, and find out how their lines are told apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import files

CODECS = {".gz": "gzip", ".zst": "zstd"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8; some editors and exports put it in front of a file
# The first bytes of files in other encodings. UTF-32 comes first: its mark begins with that of UTF-16.
OTHER_ENCODINGS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@contextmanager
def opened(path: Path) -> Iterator[pa.NativeFile]:
    """Open a file and unpack it while it is read."""
    codec = CODECS.get(path.suffix.lower())
    with files.opened(path) as file, pa.input_stream(file, compression=codec) as stream:
        yield stream


def check_encoding(path: Path, chunk: bytes) -> None:
    """Raise SchemaError if the first bytes of a file are those of UTF-16 or UTF-32."""
    for mark, name in OTHER_ENCODINGS.items():
        if chunk.startswith(mark):
            raise SchemaError(f"{path} is {name}, and text is read as UTF-8. Convert the file to UTF-8")
    # Without a mark, every second byte of English text in UTF-16 is zero. JSON and CSV have no zero bytes.
    if b"\0" in chunk[:4]:
        raise SchemaError(f"{path} begins with zero bytes, as UTF-16 does. Convert the file to UTF-8")
