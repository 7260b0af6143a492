"""Trainers with their data: the texts or embeddings of pools and targets, read into memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import xxhash

from curate import open_sets
from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.storage.files import text_hash
from curate.tables import batches, frames, scored
from curate.tables.frames import Table
from curate.trainers import Trainer
from curate.trainers.command import Command
from curate.trainers.linear import Examples, Linear
from curate.trainers.tiny import Tiny

HELD_OUT = 0.05  # of each pool's text becomes an eval if no target is named: enough bytes, and little less to train on
Source = Pool | pl.DataFrame  # rows on disk, or in memory


@dataclass(frozen=True)
class LoadedTrainer:
    """A trainer that holds its data, the unique tokens that it has of each pool, and a hash of all it trains on."""

    trainer: Trainer
    unique: Mapping[str, float]
    data_hash: str


def load(spec: str, pools: Sequence[Pool], targets: Mapping[str, Table]) -> LoadedTrainer:
    """Return the trainer that ``spec`` names, with the data of ``pools`` and of ``targets``.

    ``spec`` is tiny, linear or command:PROGRAM, with options as in tiny:rate=0.004. ``targets`` are held-out examples
    by eval name, as a path or in memory. If there are none, the last 5 % of every pool become an eval of its name.

    Raises:
        SchemaError: an unknown trainer, or data that the trainer cannot use.
    """
    if spec.startswith("command:"):
        return LoadedTrainer(
            Command(spec.removeprefix("command:")), {p.name: float(p.tokens) for p in pools}, text_hash(spec)
        )
    name, options = open_sets.parse(spec)
    goals = {eval_name: _source(eval_name, target) for eval_name, target in targets.items()}
    if name == "tiny":
        texts, evals = _split({p.name: _text(p) for p in pools}, {n: _text(source) for n, source in goals.items()})
        tiny = Tiny(texts, evals, **options)  # type: ignore[arg-type]
        inputs = {**texts, **{f"eval {n}": data for n, data in evals.items()}}
        if tiny.start:
            inputs["start"] = np.frombuffer(_saved(tiny.start), dtype=np.uint8)
        return LoadedTrainer(tiny, {n: float(count) for n, count in tiny.unique.items()}, _digest(inputs, spec))
    if name == "linear":
        examples = {p.name: _examples(p.name, p) for p in pools}
        held_out = {n: _examples(n, source) for n, source in goals.items()}
        if not held_out:
            raise SchemaError("trainer linear needs --target NAME=DATA with emb.* and label columns")
        linear = Linear(examples, held_out, **options)  # type: ignore[arg-type]
        features = {n: x.view(np.uint8) for n, (x, _) in (*examples.items(), *held_out.items())}
        return LoadedTrainer(linear, {n: float(count) for n, count in linear.unique.items()}, _digest(features, spec))
    raise SchemaError(f"unknown trainer {name!r}: choose one of {', '.join(open_sets.names('trainers'))}")


def _source(name: str, target: Table) -> Source:
    """Return a target as a pool of its files, or as a frame."""
    return frames.frame(target) if frames.in_memory(target) else Pool(name, 1, where=(str(target),))


def _rows(source: Source, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    if isinstance(source, Pool):
        yield from scored.pool_batches(source, columns)
        return
    if missing := [column for column in columns if column not in source.columns]:
        raise SchemaError(f"the target in memory has no column {missing[0]!r}; it has {', '.join(source.columns)}")
    yield source.select(columns)


def _text(source: Source) -> np.ndarray:
    """Return all texts of a source as bytes, one after the other with a line break between."""
    texts = (text for batch in _rows(source, ("text",)) for text in batch["text"].fill_null(""))
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)


def _split(
    texts: dict[str, np.ndarray], targets: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the texts to train on and the evals."""
    if targets:
        return texts, targets
    cut = {name: len(data) - int(HELD_OUT * len(data)) for name, data in texts.items()}
    return {n: x[: cut[n]] for n, x in texts.items()}, {n: x[cut[n] :] for n, x in texts.items()}


def _saved(start: str) -> bytes:
    try:
        return Path(start).read_bytes()
    except OSError as error:
        raise SchemaError(f"start={start} cannot be read ({error.strerror}): give a saved model") from None


def _examples(name: str, source: Source) -> Examples:
    """Return the embeddings (n, d) and labels (n,) of a source."""
    columns = source.columns if isinstance(source, pl.DataFrame) else batches.columns(batches.shards(source.where)[0])
    embeddings = [column for column in columns if column.startswith("emb.")]
    if not embeddings:
        raise SchemaError(f"pool {name!r} has no emb.* column, which trainer linear needs")
    parts = [
        (batch[embeddings[0]].to_numpy(), batch["label"].to_numpy())
        for batch in _rows(source, (embeddings[0], "label"))
    ]
    if not parts:
        raise SchemaError(f"pool {name!r} has no rows to train on")
    features, labels = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(labels)


def _digest(arrays: Mapping[str, np.ndarray], spec: str) -> str:
    digest = xxhash.xxh3_128(spec.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
