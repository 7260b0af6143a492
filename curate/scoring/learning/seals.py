"""Seal the records that later scores depend on, so that any change to them is seen.

In: the fields of a record. Out: the fields with a hash of them all, or an error if the hash does not fit.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from curate.errors import Interrupted
from curate.storage import s3
from curate.storage.files import text_hash

REMEDY = "Put it back as it was, or give --restart to learn and score all files again"
SEAL = "seal"


def sealed(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record with a hash of its content, which shows later whether it was changed."""
    return {**record, SEAL: _hash(record)}


def check(path: Path, record: Mapping[str, object]) -> None:
    """Check that a record is as it was written. Records of earlier versions have no seal.

    Raises:
        Interrupted: if it was changed.
    """
    if SEAL in record and record[SEAL] != _hash(record):
        raise Interrupted(f"{s3.shown(path)} was changed after it was written, or is damaged. {REMEDY}")


def _hash(record: Mapping[str, object]) -> str:
    plain = {name: value for name, value in record.items() if name not in (SEAL, "format")}
    # Files have the addresses of objects in this spelling.
    return text_hash(s3.spelled(json.dumps(plain, sort_keys=True)))
