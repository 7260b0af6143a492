"""Training dynamics from embeddings and labels: a softmax regression learned here, a checkpoint an epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _dynamics
from curate.streaming import sample as _sampled
from curate.tables import batches
from curate.tables.batches import Stream

LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
MOST_CLASSES = 10_000
CHECKPOINTS = 10
DECAY, SQUARES, EPSILON = 0.9, 0.999, 1e-8  # Adam (Kingma and Ba 2015, arXiv 1412.6980)


@dataclass(frozen=True)
class Dynamics:
    """``logits.<t>`` for t = 0, 1, ...: (c,) float32 logits of a linear classifier after epoch t + 1, no score itself.

    They are what ``el2n``, ``grand``, ``forgetting``, ``aum``, ``cartography``, ``dichotomy``, ``rho`` and
    ``label_quality`` read: name this scorer before them. ``weights`` (folds, checkpoints, d + 1, c) float64, the bias
    last. With folds a row's logits come from the model that did not see its fold, hash(id) modulo folds: out of sample.
    """

    weights: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (self.embedding,)

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns it adds."""
        _, checkpoints, _, c = self.weights.shape
        return {f"logits.{t}": pl.Array(pl.Float32, c) for t in range(checkpoints)}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"weights": self.weights}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        folds, checkpoints, width, c = self.weights.shape
        x = batch[self.embedding].to_numpy().astype(np.float64)
        if len(x) and x.shape[1] + 1 != width:
            raise SchemaError(
                f"{self.embedding} has {x.shape[1]} numbers, {width - 1} were learned from: use one encoder"
            )
        found = np.zeros((batch.height, checkpoints, c), np.float32)
        mine = fold(batch["id"], folds)
        for at in range(folds):
            rows = mine == at
            if rows.any():
                for t, weights in enumerate(self.weights[at]):
                    found[rows, t] = x[rows] @ weights[:-1] + weights[-1]
        return pl.DataFrame(
            [pl.Series(n, found[:, t], dtype=dtype) for t, (n, dtype) in enumerate(self.schema.items())]
        )


def makes(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the columns that it will add, known from the options of ``learn`` alone."""
    checkpoints = options.get("checkpoints", CHECKPOINTS)
    return tuple(f"logits.{t}" for t in range(checkpoints)) if isinstance(checkpoints, int) else ()


def fold(ids: pl.Series, folds: int) -> np.ndarray:
    """Return (n,) folds, by a hash that is not the one which samples rows."""
    return np.asarray(batches.keys(ids, -1 % 2**64) % np.uint64(folds)).astype(np.int64)


def learn(
    stream: Stream,
    *,
    embedding: str = "emb.hashed",
    checkpoints: int = CHECKPOINTS,
    folds: int = 1,
    sample: int = 50_000,
    batch: int = 64,
    rate: float = 0.01,
    seed: int = 0,
    classes: str = "",
) -> Dynamics:
    """Train by Adam on batches of the ``sample`` rows with the smallest hash(id, seed), shuffled anew each epoch.

    Memory is the sample's vectors and ``folds`` x ``checkpoints`` models whatever the stream's length. Rows beyond the
    sample are scored by a model that did not see them. ``folds`` of 2 or more: each model leaves out one fold.
    """
    if min(checkpoints, folds, sample, batch) < 1 or rate <= 0:
        raise SchemaError(
            f"dynamics: checkpoints={checkpoints}, folds={folds}, sample={sample} and batch={batch} must be at least "
            f"1, rate={rate} positive"
        )
    seen = {-1.0}  # the largest labels of batches: the sample may miss a class
    rows = _sampled.smallest(_labelled(stream, embedding, seen), sample, (embedding, "label"), seed=seed)
    c = len(str(classes).split("+")) if classes else max(2, int(max(seen)) + 1)
    if c > MOST_CLASSES:
        raise SchemaError(f"dynamics: label {c - 1} is taken as one of {c} classes: number them from 0")
    labels = _dynamics.labels(rows, classes, c)
    if (many := len(np.unique(labels))) < 2:
        raise SchemaError(f"dynamics: {rows.height} rows of {many} classes to learn from; it needs rows of at least 2")
    x, mine = rows[embedding].to_numpy(), fold(rows["id"], folds)
    left = [np.flatnonzero((mine != at) | (folds == 1)) for at in range(folds)]
    if (least := min(len(np.unique(labels[rest])) for rest in left)) < 2:
        raise SchemaError(f"dynamics: {least} class is left to learn from without one of folds={folds}: lower folds")
    models = [
        _train(x, labels, rest, c, checkpoints, batch, rate, np.random.default_rng((seed, at)))
        for at, rest in enumerate(left)
    ]
    return Dynamics(np.stack(models), embedding)


def _labelled(stream: Stream, embedding: str, seen: set[float]) -> Iterator[pl.DataFrame]:
    """Yield vectors and labels; put the largest number among the labels of each batch into ``seen``."""
    for found in stream((embedding, "label")):
        label = found["label"]
        if nulls := label.null_count():
            raise SchemaError(f"dynamics: label is null in {nulls} rows of a batch: remove them, or label them")
        if label.dtype.is_integer() or label.dtype == pl.Boolean:
            label = label.cast(pl.Int64)
        if label.dtype.is_numeric() and found.height:
            seen.add(float(label.max()))  # type: ignore[arg-type]
        yield found.with_columns(label)


def _train(
    x: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    c: int,
    epochs: int,
    batch: int,
    rate: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (epochs, d + 1, c) weights on x (n, d) as given; trained on its ``rows``, centred, of mean square 1."""
    mean = sum((x[at].sum(axis=0, dtype=np.float64) for at in _pieces(rows)), np.zeros(x.shape[1])) / len(rows)
    scale = np.sqrt(sum(((x[at] - mean) ** 2).sum() for at in _pieces(rows)) / (len(rows) * x.shape[1])) or 1.0
    weights = np.zeros((x.shape[1] + 1, c))
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    found, step = [], 0
    for _ in range(epochs):
        order = rows[rng.permutation(len(rows))]
        for at in _pieces(order, batch):
            z = np.column_stack([(x[at] - mean) / scale, np.ones(len(at))])
            logits = z @ weights
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(at)), labels[at]] -= 1
            gradient = z.T @ p / len(at)
            step += 1
            first += (1 - DECAY) * (gradient - first)
            second += (1 - SQUARES) * (gradient**2 - second)
            size = rate * np.sqrt(1 - SQUARES**step) / (1 - DECAY**step)
            weights -= size * first / (np.sqrt(second) + EPSILON)
        plain = weights / scale
        plain[-1] = weights[-1] - mean @ weights[:-1] / scale
        found.append(plain)
    return np.stack(found)


def _pieces(rows: np.ndarray, size: int = 4096) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
