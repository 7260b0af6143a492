"""Write and read results as JSON files that record how they were made.

The record holds the arguments, content hashes of the inputs, the version and the seed. Every file has a kind and
carries the number of its format. A reader accepts the present format and the previous one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from curate import __version__
from curate.errors import SchemaError
from curate.shown import shortened
from curate.storage import s3, schema
from curate.storage.files import content_hash, write_text
from curate.storage.forms import fits, jobs, plans, pools
from curate.storage.s3 import spelled


@dataclass(frozen=True)
class Kind:
    """A kind of artefact.

    ``format`` is its present format number, and every such file has at least one of the ``fields``. ``form`` says which
    fields it may have, of which types and in which ranges. ``remedy`` ends the message about a broken file.
    """

    format: int
    fields: tuple[str, ...]
    form: type
    remedy: str


AGAIN = "run the job again with --restart"
# Files without a number are of format 1. Raise a number when a reader of the old files would misread the new ones,
# and teach the reader both.
KINDS: Mapping[str, Kind] = {
    "check": Kind(2, ("mixtures", "rows"), plans.CheckForm, "make the file again with `curate demo`"),
    "cmr": Kind(2, ("ratios",), plans.RatiosForm, "make the file again with `curate cmr`"),
    "corpus": Kind(2, ("parts",), jobs.CorpusForm, "run `curate score` again with --restart"),
    "demo_text": Kind(2, ("bytes",), jobs.DemoTextForm, "remove the file and run `curate demo` again"),
    "description": Kind(2, ("rows",), jobs.DescriptionForm, "make the file again with `curate describe`"),
    "drawn_rows": Kind(2, ("draws",), jobs.DrawnRowsForm, AGAIN),
    "fit": Kind(2, ("laws", "theta", "fits"), fits.FitForm, "make the file again with `curate fit`"),
    "job": Kind(2, ("arguments", "asked"), jobs.JobForm, AGAIN),  # `asked` was the name in format 1
    "kept_rows": Kind(1, ("files",), jobs.KeptRowsForm, "run `curate prune` again with another --out"),
    "learned": Kind(2, ("inputs",), jobs.LearnedForm, "run `curate score` again with --restart"),
    "plan": Kind(2, ("plans",), plans.PlansForm, "make the file again with `curate plan`"),
    "pools": Kind(2, ("pools",), pools.PoolsForm, "make the file again with `curate pools`"),
    "recipe_run": Kind(1, ("steps",), jobs.RecipeRunForm, "run `curate run` again with --restart"),
    "schedule": Kind(2, ("phases",), plans.ScheduleForm, "make the file again with `curate schedule`"),
    "score_job": Kind(2, ("data",), jobs.ScoreJobForm, "run `curate score` again with --restart"),
    "training_set": Kind(2, ("shards",), jobs.TrainingSetForm, "run `curate materialize` again"),
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
    """Read an artefact of one of these kinds; every field that a reader uses has its type and range.

    Raises:
        SchemaError: if there is no such file, it is not JSON, it is another kind of file, this version does not read
            its format, or a field is wrong. The message has the path of the field.
    """
    maker = KINDS[kinds[0]].remedy.partition("with ")[2]
    missing = f"; make it with {maker}" if maker.startswith("`") else ""
    remedy = KINDS[kinds[0]].remedy if len(kinds) == 1 else "make it again, or give another file"
    record = schema.load(path, remedy, missing=missing)
    return check(record, s3.shown(path), *kinds)


def check(record: object, name: str, *kinds: str) -> dict[str, object]:
    """Check the content of an artefact of one of these kinds, and return it; ``name`` begins the message of an error.

    Raises:
        SchemaError: as `load` does.
    """
    kind = next((kind for kind in kinds if has_field(record, kind)), None)
    if kind is None:
        fields = " or ".join(repr(field) for kind in kinds for field in KINDS[kind].fields)
        raise SchemaError(f"{name} has no field {fields}: is it the right file?")
    fields_of = cast(dict[str, object], record)
    check_format(name, fields_of.get("format", 1), KINDS[kind].format)
    schema.check(record, KINDS[kind].form, name, KINDS[kind].remedy)
    return fields_of


def has_field(record: object, kind: str) -> bool:
    """Return whether a record has one of the fields that every file of a kind has."""
    return isinstance(record, dict) and any(field in record for field in KINDS[kind].fields)


def check_format(name: str | Path, number: object, present: int) -> None:
    """Raise SchemaError unless a file has the present format or the one before it."""
    if type(number) is not int or not present - 1 <= number <= present:
        raise SchemaError(
            f"{name} has format {shortened(repr(number), 40)}; this version of curate ({__version__}) reads "
            f"{present - 1} and {present}. "
            + ("Install a newer curate" if type(number) is int and number > present else "Make the file again")
        )
