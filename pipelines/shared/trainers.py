"""Pools on disk into a trainer."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from curate import open_sets
from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.storage.files import text_hash
from curate.tables import scored
from curate.trainers import Trainer
from curate.trainers.command import Command
from curate.trainers.linear import Examples, Linear
from curate.trainers.tiny import Tiny

HELD_OUT = 0.05  # of each pool's text, where no target is named


def load(spec: str, pools: Sequence[Pool], targets: Mapping[str, Pool]) -> tuple[Trainer, dict[str, float], str]:
    """Return the trainer, the unique tokens it has of each pool, and a hash of what it trains on.

    No ``targets``: the last 5 % of every pool are held out as an eval of its name.
    """
    name, options = (spec.split(":", 1)[0], {}) if spec.startswith("command:") else open_sets.parse(spec)
    if name == "command":
        return Command(spec.partition(":")[2]), {p.name: float(p.tokens) for p in pools}, text_hash(spec)
    if name == "tiny":
        texts = {p.name: _bytes(p) for p in pools}
        held, evals = _split(texts, {n: _bytes(p) for n, p in targets.items()})
        tiny = Tiny(held, evals, **options)  # type: ignore[arg-type]
        inputs = {**held, **{f"eval {n}": x for n, x in evals.items()}}
        if tiny.start:
            inputs["start"] = np.frombuffer(_saved(tiny.start), dtype=np.uint8)
        return tiny, {n: float(c) for n, c in tiny.unique.items()}, _digest(inputs, spec)
    if name == "linear":
        examples, goals = {p.name: _examples(p) for p in pools}, {n: _examples(p) for n, p in targets.items()}
        if not goals:
            raise SchemaError("trainer linear needs --target NAME=DATA with emb.* and label columns")
        linear = Linear(examples, goals, **options)  # type: ignore[arg-type]
        flat = {n: x.view(np.uint8) for n, (x, _) in (*examples.items(), *goals.items())}
        return linear, {n: float(c) for n, c in linear.unique.items()}, _digest(flat, spec)
    raise SchemaError(f"unknown trainer {name!r}: choose one of {', '.join(open_sets.names('trainers'))}")


def _saved(start: str) -> bytes:
    try:
        return Path(start).read_bytes()
    except OSError as error:
        raise SchemaError(f"start={start} cannot be read ({error.strerror}): give a saved model") from None


def _bytes(pool: Pool) -> np.ndarray:
    texts = (text for batch in scored.pool_batches(pool, ("text",)) for text in batch["text"].fill_null(""))
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)


def _split(
    texts: dict[str, np.ndarray], targets: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    if targets:
        return texts, targets
    cut = {name: len(data) - int(HELD_OUT * len(data)) for name, data in texts.items()}
    return {n: x[: cut[n]] for n, x in texts.items()}, {n: x[cut[n] :] for n, x in texts.items()}


def _examples(pool: Pool) -> Examples:
    parts = list(_labelled(pool))
    if not parts:
        raise SchemaError(f"pool {pool.name!r} has no rows to train on")
    features, labels = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(labels)


def _labelled(pool: Pool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from curate.tables import batches

    names = [n for n in batches.columns(batches.shards(pool.where)[0]) if n.startswith("emb.")]
    if not names:
        raise SchemaError(f"pool {pool.name!r} has no emb.* column, which trainer linear needs")
    for batch in scored.pool_batches(pool, (names[0], "label")):
        yield batch[names[0]].to_numpy(), batch["label"].to_numpy()


def _digest(arrays: Mapping[str, np.ndarray], spec: str) -> str:
    import xxhash

    digest = xxhash.xxh3_128(spec.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
