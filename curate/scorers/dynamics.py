"""Training dynamics from embeddings and labels: a softmax regression that is learned here, a checkpoint an epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _predictions
from curate.streaming.small_samples import sample_of_corpus
from curate.tables import batches
from curate.tables.corpus import Arrays, Corpus, PartRows

LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
MOST_CLASSES = 10_000  # more is a mistake: an id or a count in the column of labels
CHECKPOINTS = 10
DECAY, SQUARES, EPSILON = 0.9, 0.999, 1e-8  # Adam with its usual constants (Kingma and Ba 2015, arXiv 1412.6980)
PIECE = 4096  # rows turned to float64 at a time


@dataclass(frozen=True)
class Dynamics:
    """The logits of a linear classifier after each epoch; they are no score, and other scorers read them.

    ``logits.<t>`` for t = 0, 1, ... is (c,) float32, the logits after epoch t + 1. ``el2n``, ``grand``, ``forgetting``,
    ``aum``, ``cartography``, ``dichotomy``, ``rho`` and ``label_quality`` read them: name one of them in the same job.
    With folds, a row's logits come from the model that did not see its fold, hash(id) modulo folds: they are out of
    sample. ``weights`` is (folds, checkpoints, d + 1, c) float64, the bias last.

    Source: softmax regression by Adam, Kingma and Ba 2015, arXiv 1412.6980.
    """

    weights: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.embedding,)

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns that it adds."""
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
                f"dynamics: {self.embedding} has vectors of {x.shape[1]} numbers and learned from {width - 1}. Use one "
                "encoder for all data"
            )
        logits = np.zeros((batch.height, checkpoints, c), np.float32)
        row_fold = fold(batch["id"], folds)
        for f in range(folds):
            rows = row_fold == f
            if rows.any():
                for t, weights in enumerate(self.weights[f]):
                    logits[rows, t] = x[rows] @ weights[:-1] + weights[-1]
        return pl.DataFrame(
            [pl.Series(n, logits[:, t], dtype=dtype) for t, (n, dtype) in enumerate(self.schema.items())]
        )


def makes(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the columns that the scorer will add; the options of ``learn`` alone decide them."""
    checkpoints = options.get("checkpoints", CHECKPOINTS)
    return tuple(f"logits.{t}" for t in range(checkpoints)) if isinstance(checkpoints, int) else ()


def fold(ids: pl.Series, folds: int) -> np.ndarray:
    """Return the fold (n,) of each id, by a hash of the id."""
    # no seed of a user is -1: the folds must not follow the hash that samples rows
    return np.asarray(batches.keys(ids, -1 % 2**64) % np.uint64(folds)).astype(np.int64)


@dataclass(frozen=True)
class Training:
    """How one model is trained: ``epochs`` over batches of ``batch`` rows at the rate ``rate``, for ``classes``."""

    epochs: int
    batch: int
    rate: float
    classes: int


def learn(
    corpus: Corpus,
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
    """Return the weights after every epoch of Adam on a sample of the rows, shuffled anew each epoch.

    Only the sampled rows come to the process that learns. Its memory is their vectors, and ``folds`` x ``checkpoints``
    models. Rows beyond the sample are scored by a model that did not see them.

    Options:
        embedding: the column of vectors (default emb.hashed).
        checkpoints: epochs of training, one checkpoint each (default 10).
        folds: models, each of which leaves out one fold of the rows; 1 trains one model on all (default 1).
        sample: rows that are trained on, those with the smallest hash(id, seed) (default 50000).
        batch: rows of a step of Adam (default 64).
        rate: learning rate of Adam (default 0.01).
        seed: seed of the sample and the shuffles (default 0).
        classes: names of the classes, joined by + (default: labels are class numbers from 0).

    Raises:
        SchemaError: if a label is null, or there are fewer than two classes to learn from.
    """
    if min(checkpoints, folds, sample, batch) < 1 or rate <= 0:
        raise SchemaError(
            f"dynamics: checkpoints={checkpoints}, folds={folds}, sample={sample} and batch={batch} must be at least "
            f"1, rate={rate} positive"
        )
    # Of all rows, since the sample may miss a class.
    largest = max((float(part["largest"]) for part in corpus.map(_largest_label, ("label",))), default=-1.0)
    rows = sample_of_corpus(corpus, sample, (embedding, "label"), seed=seed, prepare=_numbered)
    c = len(str(classes).split("+")) if classes else max(2, int(largest) + 1)
    if c > MOST_CLASSES:
        raise SchemaError(f"dynamics: label {c - 1} is taken as one of {c} classes. Number the classes from 0")
    labels = _predictions.labels(rows, classes, c)
    if (distinct := len(np.unique(labels))) < 2:
        raise SchemaError(
            f"dynamics: {rows.height} rows of {distinct} classes to learn from; it needs rows of at least 2 classes"
        )
    x, row_fold = rows[embedding].to_numpy(), fold(rows["id"], folds)
    training_rows = [np.flatnonzero((row_fold != f) | (folds == 1)) for f in range(folds)]
    if (least := min(len(np.unique(labels[rest])) for rest in training_rows)) < 2:
        raise SchemaError(f"dynamics: without one of folds={folds} there is {least} class to learn from. Lower folds")
    training = Training(checkpoints, batch, rate, c)
    models = [
        _train(x, labels, rest, training, np.random.default_rng((seed, f))) for f, rest in enumerate(training_rows)
    ]
    return Dynamics(np.stack(models), embedding)


def _largest_label(rows: PartRows) -> Arrays:
    """Return the largest number among the labels of a part, -1 if there is none; stop at a null label."""
    largest = -1.0
    for batch in rows.batches():
        if nulls := batch["label"].null_count():
            raise SchemaError(f"dynamics: label is null in {nulls} rows of a batch. Label those rows or remove them")
        label = _numbered(batch)["label"]
        if label.dtype.is_numeric() and len(label):
            largest = max(largest, float(label.max()))  # type: ignore[arg-type]
    return {"largest": np.array(largest)}


def _numbered(batch: pl.DataFrame) -> pl.DataFrame:
    """Return a batch whose labels have one type, if they are whole numbers or booleans: files may differ in it."""
    dtype = batch["label"].dtype
    whole = dtype.is_integer() or dtype == pl.Boolean
    return batch.with_columns(pl.col("label").cast(pl.Int64)) if whole else batch


def _train(
    x: np.ndarray, labels: np.ndarray, rows: np.ndarray, training: Training, rng: np.random.Generator
) -> np.ndarray:
    """Return the weights (epochs, d + 1, c) after every epoch of training on ``rows`` of x (n, d)."""
    # train on centred vectors of mean square 1, so that the learning rate suits any encoder
    mean = sum((x[piece].sum(axis=0, dtype=np.float64) for piece in _pieces(rows)), np.zeros(x.shape[1])) / len(rows)
    squares = sum(((x[piece] - mean) ** 2).sum() for piece in _pieces(rows))
    scale = np.sqrt(squares / (len(rows) * x.shape[1])) or 1.0
    weights = np.zeros((x.shape[1] + 1, training.classes))
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    checkpoints, step = [], 0
    for _ in range(training.epochs):
        order = rows[rng.permutation(len(rows))]
        for piece in _pieces(order, training.batch):
            z = np.column_stack([(x[piece] - mean) / scale, np.ones(len(piece))])
            gradient = _gradient(z, weights, labels[piece])
            step += 1
            first += (1 - DECAY) * (gradient - first)
            second += (1 - SQUARES) * (gradient**2 - second)
            size = training.rate * np.sqrt(1 - SQUARES**step) / (1 - DECAY**step)
            weights -= size * first / (np.sqrt(second) + EPSILON)
        # move the centring and the scale into the weights
        plain = weights / scale
        plain[-1] = weights[-1] - mean @ weights[:-1] / scale
        checkpoints.append(plain)
    return np.stack(checkpoints)


def _gradient(z: np.ndarray, weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the gradient (d + 1, c) of the mean cross-entropy of softmax(z weights)."""
    logits = z @ weights
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(z)), labels] -= 1
    return np.asarray(z.T @ p / len(z))


def _pieces(rows: np.ndarray, size: int = PIECE) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
