"""Options of scorers that the data answers: the epochs it has, as probabilities or logits, and the classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from curate import open_sets
from curate.errors import SchemaError
from curate.tables import batches, readers
from curate.tables.shards import Shard

MOST_CLASSES = 10_000  # of labels that are text
EPOCH = re.compile(r"(probs|logits)\.(\d+)")


def answered(specs: Sequence[str], found: Sequence[Shard]) -> tuple[str, ...]:
    """Return the specs with ``epochs``, ``logits`` and ``classes`` filled in where a scorer takes them and has none.

    All epochs that a file has, or that an earlier scorer makes; probabilities before logits, except for a scorer whose
    own default is logits; the sorted labels where they are text.
    """
    if not any("epochs" in accepted(spec) or "classes" in accepted(spec) for spec in specs):
        return tuple(specs)
    have = _columns(found)
    made: list[str] = []
    names: str | None = None
    result = []
    for spec in specs:
        name, options = open_sets.parse(spec)
        more: list[str] = []
        if "epochs" in accepted(spec) and not {"epochs", "logits"} <= options.keys():
            more += _epochs(name, made or list(have), accepted(spec)["logits"] is True, options)
        if "classes" in accepted(spec) and "classes" not in options and _is_text(have.get("label")):
            names = _classes(found) if names is None else names
            more.append(f"classes={names}")
        if makes := getattr(open_sets.module("scorers", name), "makes", None):
            made += makes(options)
        result.append(spec + ("," if options else ":" if more else "") + ",".join(more) if more else spec)
    return tuple(result)


def accepted(spec: str) -> Mapping[str, object]:
    """Return the options that a scorer takes, with their defaults."""
    name, _ = open_sets.parse(spec)
    if hasattr(module := open_sets.module("scorers", name), "learn"):
        return {k: p.default for k, p in signature(module.learn).parameters.items()}
    return {f.name: f.default for f in fields(open_sets.implementation("scorers", name)) if f.init}


def _columns(found: Sequence[Shard]) -> dict[str, pa.DataType]:
    """Return the columns that any readable file has; preflight says later which files cannot be read."""
    have: dict[str, pa.DataType] = {}
    for shard in found:
        try:
            have |= readers.head(shard).columns
        except (SchemaError, OSError):
            continue
    return have


def _epochs(name: str, have: Sequence[str], logits_first: bool, options: Mapping[str, object]) -> list[str]:
    """Return the options that were not given, of: which kind of column, and all epochs there are of it."""
    kinds: dict[str, list[str]] = {"probs": [], "logits": []}
    for column in have:
        if match := EPOCH.fullmatch(column):
            kinds[match[1]].append(match[2])
    wanted = ["logits", "probs"] if options.get("logits", logits_first) else ["probs", "logits"]
    wanted = wanted[:1] if "logits" in options else wanted
    named = str(options["epochs"]).split("+") if "epochs" in options else []
    kind = next((kind for kind in wanted if kinds[kind] and set(named) <= set(kinds[kind])), None)
    if kind is None and named:  # preflight names the column that is missing
        return []
    if kind is None:
        raise SchemaError(
            f"scorer {name} reads columns {' or '.join(wanted)}.<epoch>, and the data has none: "
            "add them, or let --scorer dynamics make logits from embeddings and labels before it"
        )
    found = [] if "logits" in options else [f"logits={str(kind == 'logits').lower()}"]
    return found if named else [*found, "epochs=" + "+".join(sorted(kinds[kind], key=int))]


def _is_text(kind: pa.DataType | None) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_dictionary)
    return kind is not None and any(check(kind) for check in checks)


def _classes(found: Sequence[Shard]) -> str:
    """Return the different labels, sorted, as an option."""
    names: set[str] = set()
    for shard in found:
        try:
            for batch in batches.batches(shard, ("label",), identity=()):
                names |= set(batch["label"].cast(pl.String).drop_nulls().unique())
        except (SchemaError, OSError):  # set aside, or an error, when it is scored
            continue
        if len(names) > MOST_CLASSES:
            raise SchemaError(f"label has over {MOST_CLASSES} different texts: is it a class? Number classes from 0")
    return "+".join(quote(name, safe=" ()[]'") for name in sorted(names))
