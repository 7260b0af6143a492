"""Label quality by confident learning (Northcutt et al. 2021, arXiv 1911.00068)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _predictions
from curate.tables.batches import Stream

LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
BY = ("margin", "self_confidence")
ROUNDING = 1e-9  # by which a probability may miss a threshold: a class's only row is as likely as its own mean


@dataclass(frozen=True)
class LabelQuality:
    """How likely the label of a row is right; high is likely right.

    ``score.label_quality`` (float64) is the label's probability minus the largest other (-1 to 1), or that probability
    alone (0 to 1). ``score.label_joint`` (float64) is 0 if confident learning puts the row in another class than its
    label, and otherwise 1. Keep high scores. Probabilities, averaged over epochs, must be out of sample, from a model
    that was not trained on the row: ``dynamics:folds=5`` makes such. ``thresholds`` (c,) are the mean probability of
    each class over the rows with its label (infinity for a class without rows). A row is confidently of the most likely
    class among those at or above their thresholds; ``joint`` (c, c) counts rows by label and that class.

    Source: Northcutt et al. 2021, arXiv 1911.00068.
    """

    thresholds: np.ndarray = field(repr=False)
    joint: np.ndarray = field(repr=False)
    epochs: str | int = "0"
    by: Literal["margin", "self_confidence"] = "margin"
    logits: bool = False
    classes: str = ""
    schema = {"score.label_quality": pl.Float64(), "score.label_joint": pl.Float64()}
    meanings = {"score.label_quality": "quality", "score.label_joint": "quality"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"thresholds": self.thresholds, "joint": self.joint}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        if not batch.height:
            return pl.DataFrame(schema=dict(self.schema))
        p, labels = _mean_probabilities(batch, self.needs, self.classes)
        quality = _predictions.margin(p, labels) if self.by == "margin" else _predictions.of_label(p, labels)
        sure = confident_class(p, self.thresholds)
        agrees = (sure < 0) | (sure == labels)
        return pl.DataFrame(
            dict(zip(self.schema, (quality, agrees.astype(np.float64)), strict=True)), schema=dict(self.schema)
        )


def learn(
    stream: Stream,
    *,
    epochs: str | int = "0",
    by: Literal["margin", "self_confidence"] = "margin",
    logits: bool = False,
    classes: str = "",
) -> LabelQuality:
    """Return the thresholds and the confident joint, learned in two passes. Memory is c x c counts.

    Options:
        epochs: epochs whose probabilities are averaged, joined by + (default 0; `curate score` fills in all).
        by: margin, the label's probability minus the largest other; or self_confidence, the label's probability
            (default margin).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Raises:
        SchemaError: if there are fewer than two classes.
    """
    if by not in BY:
        raise SchemaError(f"label_quality: by={by} must be margin or self_confidence")
    needs = (*_predictions.columns(epochs, logits), "label")

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (_mean_probabilities(batch, needs, classes) for batch in stream(needs) if batch.height)

    total: np.ndarray = np.zeros(0)
    counts: np.ndarray = np.zeros(0, np.int64)
    for p, labels in batches():
        batch_total = np.bincount(labels, _predictions.of_label(p, labels), p.shape[1])
        batch_counts = np.bincount(labels, minlength=p.shape[1])
        total, counts = (total + batch_total, counts + batch_counts) if len(total) else (batch_total, batch_counts)
    if (seen := int((counts > 0).sum())) < 2:
        raise SchemaError(
            f"label_quality: the data has {int(counts.sum())} rows of {seen} classes; it needs rows of at least 2"
        )
    thresholds = np.where(counts > 0, total / np.maximum(counts, 1), np.inf)
    # who is confidently of which class depends on the thresholds: a second pass counts them
    joint = np.zeros((len(counts), len(counts)), np.int64)
    for p, labels in batches():
        sure = confident_class(p, thresholds)
        np.add.at(joint, (labels[sure >= 0], sure[sure >= 0]), 1)
    return LabelQuality(thresholds, joint, epochs, by, logits, classes)


def confident_class(p: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the most likely class (n,) among those at or above their thresholds; -1 if there is none."""
    above = np.where(p >= thresholds - ROUNDING, p, -1.0)
    return np.where(above.max(axis=1) >= 0, above.argmax(axis=1), -1)


def _mean_probabilities(batch: pl.DataFrame, needs: tuple[str, ...], classes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, c) mean probabilities and (n,) labels."""
    mean = np.zeros((batch.height, 1))
    for p in _predictions.probabilities(batch, needs[:-1]):
        mean = mean + p / (len(needs) - 1)
    return mean, _predictions.labels(batch, classes, mean.shape[1])
