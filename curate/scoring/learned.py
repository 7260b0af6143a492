"""Scorers that learn from the whole stream first: learned once, kept in the output folder, refused for other inputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import numpy as np
import polars as pl

from curate import __version__, open_sets
from curate.errors import Interrupted, SchemaError
from curate.scorers import Scorer
from curate.scoring.worker import apply, inputs
from curate.storage import artifacts, files, manifest
from curate.storage.files import replacing, text_hash
from curate.tables import batches, vectors
from curate.tables.shards import Shard

SHOWN = 3  # inputs that a message names


@dataclass(frozen=True)
class Lesson:
    """What scorers learn from: shards with content hashes, read like this; ``aside`` are bad shards left out."""

    shards: tuple[Shard, ...]
    digests: Mapping[str, str]
    aside: tuple[str, ...]
    specs: tuple[str, ...]
    text_column: str
    batch_rows: int
    document_bytes: int


def learns(spec: str) -> bool:
    """Say whether a scorer learns before it scores."""
    return hasattr(open_sets.module("scorers", open_sets.parse(spec)[0]), "learn")


def check(spec: str) -> None:
    """Refuse options that the scorer's ``learn`` does not take, or not like this."""
    name, options = open_sets.parse(spec)
    parameters = signature(open_sets.module("scorers", name).learn).parameters
    kinds = {key: parameter.annotation for key, parameter in parameters.items() if key != "stream"}
    if unknown := sorted(set(options) - set(kinds)):
        raise SchemaError(f"scorer {name} has no option {unknown[0]!r}: it takes {', '.join(kinds)}")
    open_sets.check_options(name, options, kinds)
    column = options.get("embedding", vectors.PREFIX)
    if not str(column).startswith(vectors.PREFIX):
        raise SchemaError(f"{name}: embedding={column} is no column of vectors: those are named emb.<name>")


def folder(out: Path) -> Path:
    """Return where what was learned is kept."""
    return out / manifest.FOLDER / "learned"


def prepare(lesson: Lesson, out: Path, *, fresh: bool) -> tuple[Scorer, ...]:
    """Build the scorers in order; those that learn do so on the stream, or reload what they learned for this input.

    Not ``fresh`` (some shards are scored already): what was learned from other inputs is refused, for scores of two
    learned scorers cannot be compared.
    """
    scorers: tuple[Scorer, ...] = ()
    for position, spec in enumerate(lesson.specs):
        if not learns(spec):
            scorers += (cast(Scorer, open_sets.build("scorers", spec)),)
            continue
        path, why = known(lesson, out, position)
        if why and not fresh:
            raise Interrupted(
                f"{out}: scorer {open_sets.parse(spec)[0]} {why}, and some shards are scored with it. "
                "Give --restart to learn and score again, or another --out"
            )
        scorers += (_learn(spec, scorers, lesson, path),)
        digests = dict(sorted(lesson.digests.items()))
        artifacts.save(
            path.with_suffix(".json"), "learned", {"scorer": spec, "inputs": digests, "aside": sorted(lesson.aside)}
        )
    read = set(inputs(scorers))
    if clash := sorted(read & {column for scorer in scorers for column in scorer.schema}):
        raise SchemaError(f"{clash[0]} is read from the data by one scorer and made by a later one: change their order")
    return scorers


def known(lesson: Lesson, out: Path, position: int) -> tuple[Path, str]:
    """Return where what the scorer at ``position`` learned is or will be, and why what it learned before does not do.

    Inputs that were set aside when it learned, and are whole now, are scored with what it learned without them.
    """
    specs, name = lesson.specs[: position + 1], open_sets.parse(lesson.specs[position])[0]
    why = ""
    for path in files.below(folder(out), ".json"):
        if not path.name.startswith(f"{position}-{name}-"):
            continue
        record = artifacts.load(path, "learned")
        before = cast(Mapping[str, str], record["inputs"])
        aside = set(cast(Sequence[str], record["aside"])) | set(lesson.aside)
        same_job = path.stem.endswith(_key(lesson, before, specs))
        found = _differences({k: v for k, v in before.items() if k not in lesson.aside}, lesson.digests, aside)
        if same_job and not found and files.exists(path.with_suffix(".npz")):
            return path.with_suffix(".npz"), ""
        why = f"learned from other input files than these ({found})" if found else "learned in another configuration"
    return folder(out) / f"{position}-{name}-{_key(lesson, lesson.digests, specs)}.npz", why


def _key(lesson: Lesson, digests: Mapping[str, str], specs: Sequence[str]) -> str:
    made = (__version__, tuple(specs), lesson.text_column, lesson.batch_rows, sorted(digests.items()))
    return text_hash(repr(made))[:16]


def _differences(before: Mapping[str, str], now: Mapping[str, str], aside: set[str]) -> str:
    """Name inputs that were added, removed or changed."""
    found = [f"{name} is new" for name in sorted(set(now) - set(before) - aside)]
    found += [f"{name} is gone" for name in sorted(set(before) - set(now))]
    found += [f"{name} changed" for name in sorted(set(before) & set(now)) if before[name] != now[name]]
    return "; ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _learn(spec: str, earlier: tuple[Scorer, ...], lesson: Lesson, path: Path) -> Scorer:
    name, options = open_sets.parse(spec)
    cls, learn = open_sets.implementation("scorers", name), open_sets.module("scorers", name).learn
    if files.exists(path):
        plain = {f.name for f in fields(cls)} & set(options)
        try:
            with files.opened(path) as file, np.load(file, allow_pickle=False) as saved:
                return cast(Scorer, cls(**dict(saved.items()), **{k: options[k] for k in plain}))
        except (ValueError, TypeError, EOFError, BadZipFile) as error:
            raise Interrupted(
                f"{path} is damaged ({' '.join(str(error).split())}): give --restart to learn and score again"
            ) from None

    def stream(needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        made = {column for scorer in earlier for column in scorer.schema}
        wanted = tuple(
            dict.fromkeys((*inputs(earlier), *(n for n in needs if n not in made and n not in batches.IDENTITY)))
        )
        for shard in lesson.shards:
            for batch in batches.batches(
                shard, wanted, rows=lesson.batch_rows, text_column=lesson.text_column, size=batches.BATCH_BYTES,
                document_bytes=lesson.document_bytes,
            ):  # fmt: skip
                yield apply(earlier, batch)

    scorer = learn(stream, **options)
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **scorer.arrays)
    return cast(Scorer, scorer)
