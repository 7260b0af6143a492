"""Results as JSON files that say what made them: arguments, content hashes of the inputs, version, seed.

Every file has a kind and carries the number of its format. A reader accepts the present format and the previous one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate import __version__
from curate.errors import SchemaError
from curate.storage.files import content_hash, read_text, write_text
from curate.storage.s3 import spelled


@dataclass(frozen=True)
class Kind:
    """A kind of artefact: the number of its present format, and a field of which every such file has one or more."""

    format: int
    fields: tuple[str, ...]


# Files without a number are of format 1. Raise a number when a reader of the old files would misread the new ones,
# and teach the reader both.
KINDS: Mapping[str, Kind] = {
    "check": Kind(2, ("mixtures", "rows")),
    "cmr": Kind(2, ("ratios",)),
    "demo_text": Kind(2, ("bytes",)),
    "description": Kind(2, ("rows",)),
    "drawn_rows": Kind(2, ("draws",)),
    "fit": Kind(2, ("laws", "theta", "fits")),
    "job": Kind(2, ("asked",)),
    "learned": Kind(2, ("inputs",)),
    "plan": Kind(2, ("plans",)),
    "pools": Kind(2, ("pools",)),
    "schedule": Kind(2, ("phases",)),
    "score_job": Kind(2, ("data",)),
    "training_set": Kind(2, ("shards",)),
}


def made_by(
    arguments: Mapping[str, object], inputs: Sequence[Path], seed: int, tables: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Return the provenance record of an artefact. No clock and no host name: same inputs, same bytes.

    ``inputs`` are named as they were given, so that a/x and b/x are two. ``tables`` are the content hashes of tables
    in memory, by the name of the argument that they were given for.
    """
    return {
        "version": __version__,
        "seed": seed,
        "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in sorted(arguments.items())},
        "inputs": {p.as_posix(): content_hash(p) for p in inputs} | dict(tables or {}),
    }


def save(path: Path, kind: str, record: Mapping[str, object]) -> None:
    """Write ``record`` to ``path`` as JSON with sorted keys and the format number of its kind, whole or not at all.

    NaN and infinity are refused.
    """
    numbered = {**record, "format": KINDS[kind].format}
    write_text(path, spelled(json.dumps(numbered, indent=1, sort_keys=True, allow_nan=False)) + "\n")


def load(path: Path, *kinds: str) -> dict[str, object]:
    """Read an artefact of one of these kinds.

    Raises:
        SchemaError: no such file, no JSON, another kind of file, or a format that this version does not read.
    """
    try:
        record = json.loads(read_text(path))
    except FileNotFoundError:
        raise SchemaError(f"no such file: {path}") from None
    except ValueError as error:
        raise SchemaError(f"{path} is not JSON: {error}") from None
    fields = [field for kind in kinds for field in KINDS[kind].fields]
    if not isinstance(record, dict) or not any(field in record for field in fields):
        raise SchemaError(f"{path} has no field {' or '.join(map(repr, fields))}: is it the right kind of file?")
    kind = next(kind for kind in kinds if any(field in record for field in KINDS[kind].fields))
    check_format(path, record.get("format", 1), KINDS[kind].format)
    return record


def check_format(path: Path, number: object, present: int) -> None:
    """Refuse a file whose format is neither the present one nor the one before it."""
    if type(number) is not int or not present - 1 <= number <= present:
        raise SchemaError(
            f"{path} has format {number!r}; this version of curate ({__version__}) reads {present - 1} and {present}. "
            + ("Install a newer curate" if type(number) is int and number > present else "Make the file again")
        )
