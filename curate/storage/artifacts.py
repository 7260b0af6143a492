"""Results as JSON files that say what made them: arguments, content hashes of the inputs, version, seed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from curate import __version__
from curate.errors import SchemaError
from curate.storage.files import content_hash, read_text, write_text
from curate.storage.s3 import spelled


def made_by(arguments: Mapping[str, object], inputs: Sequence[Path], seed: int) -> dict[str, object]:
    """Return the provenance record of an artefact. No clock and no host name: same inputs, same bytes.

    ``inputs`` are named as they were given, so that a/x and b/x are two.
    """
    return {
        "version": __version__,
        "seed": seed,
        "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in sorted(arguments.items())},
        "inputs": {p.as_posix(): content_hash(p) for p in inputs},
    }


def save(path: Path, record: Mapping[str, object]) -> None:
    """Write ``record`` to ``path`` atomically as JSON with sorted keys; NaN and infinity are refused."""
    write_text(path, spelled(json.dumps(record, indent=1, sort_keys=True, allow_nan=False)) + "\n")


def load(path: Path, *keys: str) -> dict[str, object]:
    """Read an artefact and check that it has the field that its kind must have: one of ``keys``."""
    try:
        record = json.loads(read_text(path))
    except FileNotFoundError:
        raise SchemaError(f"no such file: {path}") from None
    except ValueError as error:
        raise SchemaError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or not any(key in record for key in keys):
        raise SchemaError(f"{path} has no field {' or '.join(map(repr, keys))}: is it the right kind of file?")
    return record
