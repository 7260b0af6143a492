"""Fill in options of scorers that follow from the data: its epochs, probabilities or logits, and its classes."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from curate import open_sets
from curate.errors import SchemaError
from curate.tables import batches, readers
from curate.tables.cutting import is_string
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.shards import Shard

MOST_CLASSES = 10_000  # a text label with more values is more likely an id or a free text
EPOCH = re.compile(r"(probs|logits)\.(\d+)")


def inferred(specs: Sequence[str], shards: Sequence[Shard]) -> tuple[str, ...]:
    """Return the specs with the options ``epochs``, ``logits`` and ``classes`` filled in.

    An option is filled in where a scorer takes it and the user did not give it. ``epochs`` are all that a file has, or
    that an earlier scorer makes. Probabilities come before logits, except for a scorer whose own default is logits.
    ``classes`` are the sorted labels, if they are text.

    Raises:
        SchemaError: if the data has no epochs, or too many classes.
    """
    # Most scorers need nothing from the data, and then no head is read.
    if not any("epochs" in accepted(spec) or "classes" in accepted(spec) for spec in specs):
        return tuple(specs)
    present = _columns(shards)
    added: list[str] = []
    classes: str | None = None
    complete = []
    for spec in specs:
        name, options = open_sets.parse(spec)
        extra: list[str] = []
        if "epochs" in accepted(spec) and not {"epochs", "logits"} <= options.keys():
            extra += _epochs(name, added or list(present), accepted(spec)["logits"] is True, options)
        if "classes" in accepted(spec) and "classes" not in options and _is_text(present.get("label")):
            classes = _classes(shards) if classes is None else classes
            extra.append(f"classes={classes}")
        if makes := getattr(open_sets.module("scorers", name), "makes", None):
            added += makes(options)
        complete.append(f"{spec}{',' if options else ':'}{','.join(extra)}" if extra else spec)
    return tuple(complete)


def accepted(spec: str) -> Mapping[str, object]:
    """Return the options that a scorer takes, and their defaults."""
    name, _ = open_sets.parse(spec)
    return {option.name: option.default for option in open_sets.option_parameters("scorers", name)}


def _columns(shards: Sequence[Shard]) -> dict[str, pa.DataType]:
    """Return the columns that any readable file has."""
    present: dict[str, pa.DataType] = {}
    for shard in shards:
        try:
            present |= readers.head(shard).columns
        except (SchemaError, OSError):
            continue  # preflight names the files that cannot be read
    return present


def _epochs(name: str, columns: Sequence[str], logits_first: bool, options: Mapping[str, object]) -> list[str]:
    """Return the options that the user left out: the kind of column, and all epochs of that kind."""
    kinds: dict[str, list[str]] = {"probs": [], "logits": []}
    for column in columns:
        if match := EPOCH.fullmatch(column):
            kinds[match[1]].append(match[2])
    # A user who named the kind of column, or the epochs, gets no other kind.
    wanted = ["logits", "probs"] if options.get("logits", logits_first) else ["probs", "logits"]
    wanted = wanted[:1] if "logits" in options else wanted
    named = str(options["epochs"]).split("+") if "epochs" in options else []
    kind = next((kind for kind in wanted if kinds[kind] and set(named) <= set(kinds[kind])), None)
    if kind is None and named:
        return []  # preflight names the column that is missing
    if kind is None:
        raise SchemaError(
            f"scorer {name} reads columns {' or '.join(wanted)}.<epoch>, and the data has none. "
            "Add them, or let --scorer dynamics make logits from embeddings and labels before it"
        )
    extra = [] if "logits" in options else [f"logits={str(kind == 'logits').lower()}"]
    return extra if named else [*extra, "epochs=" + "+".join(sorted(kinds[kind], key=int))]


def _is_text(kind: pa.DataType | None) -> bool:
    return kind is not None and (is_string(kind) or pa.types.is_dictionary(kind))


def _classes(shards: Sequence[Shard]) -> str:
    """Return the distinct labels, sorted, as the value of an option."""
    names: set[str] = set()
    for shard in shards:
        try:
            # Bad lines are counted when they are scored.
            reading = Reading(bad_lines=BadLines())
            for batch in batches.batches(shard, ("label",), reading=reading, identity=()):
                names |= set(batch["label"].cast(pl.String).drop_nulls().unique())
        except (SchemaError, OSError):
            continue  # the shard is set aside, or stops the job, when it is scored
        if len(names) > MOST_CLASSES:
            raise SchemaError(f"label has over {MOST_CLASSES} different texts. Is it a class? Number classes from 0")
    # Labels may hold the characters that separate options, so these are percent-encoded.
    return "+".join(quote(name, safe=" ()[]'") for name in sorted(names))
