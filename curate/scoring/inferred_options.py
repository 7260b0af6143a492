"""Fill in options of scorers that follow from the data: its epochs, probabilities or logits, and its classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from curate import open_sets
from curate.errors import SchemaError
from curate.tables import batches
from curate.tables.columns import arrow_types
from curate.tables.columns.class_names import in_order
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.shards import Shard

MOST_CLASSES = 10_000  # a text label with more values is more likely an id or a free text
SHOWN = 5  # fields that a message lists
EPOCH = re.compile(r"(probs|logits)\.(\d+)")


def inferred(specs: Sequence[str], shards: Sequence[Shard], reading: Reading = batches.READING) -> tuple[str, ...]:
    """Return the specs with the options ``epochs``, ``logits`` and ``classes`` filled in.

    An option is filled in where a scorer takes it and the user did not give it. ``epochs`` are all that a file has, or
    that an earlier scorer makes. Probabilities come before logits, except for a scorer whose own default is logits.
    ``classes`` are the fields of probabilities that are structs; otherwise the labels in the order of
    ``tables.class_names``, if they are text.

    Raises:
        SchemaError: if the data has no epochs, or too many classes, or structs whose fields differ.
    """
    # Most scorers need nothing from the data, and then no head is read.
    if not any("epochs" in accepted(spec) or "classes" in accepted(spec) for spec in specs):
        return tuple(specs)
    heads = _heads(shards, reading)
    present = list(dict.fromkeys(name for _, columns in heads for name in columns))
    labels_are_text = any(arrow_types.is_text(columns["label"]) for _, columns in heads if "label" in columns)
    added: list[str] = []
    classes: str | None = None
    complete = []
    for spec in specs:
        name, options = open_sets.parse(spec)
        extra: list[str] = []
        if "epochs" in accepted(spec) and not {"epochs", "logits"} <= options.keys():
            extra += _epochs(name, added or present, accepted(spec)["logits"] is True, options)
        named = _named_classes(heads, open_sets.parse(_with(spec, extra))[1]) if not added else ()
        if named and "classes" in options:
            raise SchemaError(
                f"scorer {name}: the fields of the structs name the classes ({', '.join(named)}). Leave out classes="
            )
        if "classes" in accepted(spec) and named:
            extra.append(f"classes={_written(named)}")
        elif "classes" in accepted(spec) and "classes" not in options and labels_are_text:
            classes = _classes(shards, reading) if classes is None else classes
            extra.append(f"classes={classes}")
        if makes := getattr(open_sets.module("scorers", name), "makes", None):
            added += makes(options)
        complete.append(_with(spec, extra))
    return tuple(complete)


def _with(spec: str, extra: Sequence[str]) -> str:
    """Return a spec with further options."""
    if not extra:
        return spec
    return f"{spec}{',' if open_sets.parse(spec)[1] else ':'}{','.join(extra)}"


def accepted(spec: str) -> Mapping[str, object]:
    """Return the options that a scorer takes, and their defaults."""
    name, _ = open_sets.parse(spec)
    return {option.name: option.default for option in open_sets.option_parameters("scorers", name)}


def _heads(shards: Sequence[Shard], reading: Reading) -> list[tuple[Shard, Mapping[str, pa.DataType]]]:
    """Return the columns of every readable file."""
    heads = []
    for shard in shards:
        try:
            heads.append((shard, batches.columns(shard, reading)))
        except (SchemaError, OSError):
            continue  # preflight names the files that cannot be read
    return heads


def _named_classes(
    heads: Sequence[tuple[Shard, Mapping[str, pa.DataType]]], options: Mapping[str, object]
) -> tuple[str, ...]:
    """Return the names of the fields of a scorer's columns that are structs; none if they are lists.

    Raises:
        SchemaError: if the fields differ between files or epochs.
    """
    if "epochs" not in options:
        return ()
    kind = "logits" if options.get("logits") else "probs"
    first: tuple[str, tuple[str, ...]] | None = None
    for shard, columns in heads:
        for column in (f"{kind}.{epoch}" for epoch in str(options["epochs"]).split("+")):
            if column not in columns:
                continue
            fields = tuple(in_order(arrow_types.inner_names(columns[column])))
            if first is not None and fields != first[1]:
                raise SchemaError(
                    f"{shard.path}: {column} has {_shown(fields)}, and {first[0]} has {_shown(first[1])}. Give every "
                    "file and epoch the same fields"
                )
            first = first or (f"{shard.path}: {column}", fields)
    return first[1] if first else ()


def _shown(fields: Sequence[str]) -> str:
    return f"the fields {', '.join(fields[:SHOWN])}{', ...' if len(fields) > SHOWN else ''}" if fields else "no fields"


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
            "Add them, or also give --scorer dynamics, which makes logits from embeddings and labels"
        )
    extra = [] if "logits" in options else [f"logits={str(kind == 'logits').lower()}"]
    return extra if named else [*extra, "epochs=" + "+".join(sorted(kinds[kind], key=int))]


def _classes(shards: Sequence[Shard], reading: Reading) -> str:
    """Return the distinct labels, in the order of class names, as the value of an option."""
    names: set[str] = set()
    for shard in shards:
        try:
            # Bad lines are counted when they are scored.
            counting = replace(reading, bad_lines=BadLines())
            for batch in batches.batches(shard, ("label",), reading=counting, identity=()):
                names |= set(batch["label"].cast(pl.String).drop_nulls().unique())
        except (SchemaError, OSError):
            continue  # the shard is set aside, or stops the job, when it is scored
        if len(names) > MOST_CLASSES:
            raise SchemaError(f"label has over {MOST_CLASSES} different texts. Is it a class? Number classes from 0")
    return _written(in_order(names))


def _written(names: Sequence[str]) -> str:
    """Return names as the value of an option. The characters that separate options are percent-encoded."""
    return "+".join(quote(name, safe=" ()[]'") for name in names)
