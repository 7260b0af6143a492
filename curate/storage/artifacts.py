"""Write and read results as JSON files that record how they were made.

The record holds the arguments, content hashes of the inputs, the version and the seed. Every file has a kind and
carries the number of its format. A reader accepts the present format and the previous one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curate import __version__
from curate.errors import SchemaError
from curate.storage.files import content_hash, read_text, write_text
from curate.storage.s3 import spelled


@dataclass(frozen=True)
class Kind:
    """A kind of artefact: its present format number, and fields of which every such file has at least one."""

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
    "job": Kind(2, ("arguments", "asked")),  # `asked` was the name in format 1
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
    """Return the record of how an artefact was made.

    The record holds no time and no host name, so that the same inputs give the same bytes.

    Args:
        arguments: arguments of the job, by name.
        inputs: input files, whose content is hashed. They keep the paths that the user wrote, so that a/x and b/x
            differ.
        seed: seed of every random choice in the job.
        tables: content hashes of tables in memory, by the name of their argument.
    """
    return {
        "version": __version__,
        "seed": seed,
        "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in sorted(arguments.items())},
        "inputs": {p.as_posix(): content_hash(p) for p in inputs} | dict(tables or {}),
    }


@dataclass(frozen=True)
class Provenance:
    """What a result was made from: the arguments of the job, its input files, and its random seed.

    ``tables`` has the content hash of each input that was in memory, by the name of its argument.
    """

    arguments: Mapping[str, object]
    inputs: tuple[Path, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def made_by(self) -> dict[str, object]:
        """Return the record for the field ``made_by``, with the content hashes of the inputs."""
        return made_by(self.arguments, self.inputs, self.seed, self.tables)


def save(path: Path, kind: str, record: Mapping[str, object]) -> None:
    """Write a record to a JSON file, with sorted keys and the format number of ``kind``.

    The write is atomic: a job that stops leaves no partial file.

    Raises:
        ValueError: if the record holds NaN or infinity, which JSON does not have.
    """
    numbered = {**record, "format": KINDS[kind].format}
    write_text(path, spelled(json.dumps(numbered, indent=1, sort_keys=True, allow_nan=False)) + "\n")


def load(path: Path, *kinds: str) -> dict[str, object]:
    """Read an artefact of one of these kinds.

    Raises:
        SchemaError: if there is no such file, it is not JSON, it is another kind of file, or this version does not
            read its format.
    """
    try:
        record = json.loads(read_text(path))
    except FileNotFoundError:
        raise SchemaError(f"no such file: {path}") from None
    except ValueError as error:
        raise SchemaError(f"{path} is not a JSON file ({error}). Make it again, or give another file") from None
    fields = [field for kind in kinds for field in KINDS[kind].fields]
    if not isinstance(record, dict) or not any(field in record for field in fields):
        raise SchemaError(f"{path} has no field {' or '.join(map(repr, fields))}: is it the right file?")
    kind = next(kind for kind in kinds if any(field in record for field in KINDS[kind].fields))
    check_format(path, record.get("format", 1), KINDS[kind].format)
    return record


def check_format(path: Path, number: object, present: int) -> None:
    """Raise SchemaError unless a file has the present format or the one before it."""
    if type(number) is not int or not present - 1 <= number <= present:
        raise SchemaError(
            f"{path} has format {number!r}; this version of curate ({__version__}) reads {present - 1} and {present}. "
            + ("Install a newer curate" if type(number) is int and number > present else "Make the file again")
        )
