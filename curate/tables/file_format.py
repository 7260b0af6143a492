"""The format number of the Parquet files that curate writes, in their metadata.

The key ``curate`` holds a JSON object with ``format``; later formats may add other keys to it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.storage import files

KEY = "curate"
FORMAT = 1  # raise it when a reader of the old files would misread the new ones, and teach the reader both


def metadata(extra: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return the Parquet metadata of a file: its format, and the JSON fields in ``extra``."""
    return {KEY: json.dumps({**(extra or {}), "format": FORMAT}, sort_keys=True)}


def fields(metadata: Mapping[bytes, bytes] | None) -> dict[str, object]:
    """Return the JSON fields of a file's metadata; none if another program wrote the file."""
    try:
        record = json.loads((metadata or {}).get(KEY.encode(), b"{}"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def check(path: Path, metadata: Mapping[bytes, bytes] | None) -> None:
    """Check that this version can read a file; files without a number are of any program.

    Raises:
        SchemaError: if the format is higher than the present one.
    """
    number = fields(metadata).get("format", FORMAT)
    if isinstance(number, int) and number > FORMAT:
        raise SchemaError(f"{path} has format {number}; this curate reads up to {FORMAT}. Install a newer curate")


def is_own(path: Path) -> bool:
    """Return whether a file is a Parquet file that curate wrote."""
    try:
        with files.opened(path) as source, pq.ParquetFile(source) as file:
            return "format" in fields(file.metadata.metadata)
    except pa.ArrowInvalid:
        return False


def check_file(path: Path) -> None:
    """Check the format of a Parquet file that is read by other means than this room.

    Raises:
        SchemaError: if the format is higher than the present one.
    """
    with files.opened(path) as source, pq.ParquetFile(source) as file:
        check(path, file.metadata.metadata)
