"""Label quality by confident learning (Northcutt et al. 2021, arXiv 1911.00068)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _predictions
from curate.tables.corpus import Arrays, Corpus, PartRows

LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
BY = ("margin", "self_confidence")
# Probabilities are added in whole steps of 2^-32, so that up to 2^31 of them have the same sum in any order.
STEPS = float(1 << 32)
# Since format 2, thresholds are means of probabilities in whole steps, which moves them by up to 1.2e-10.
FORMAT = 2
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
    corpus: Corpus,
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

    total, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for part in corpus.map(partial(_class_sums, needs, classes), needs):
        if not len(part["count"]):
            continue
        if len(counts) and len(counts) != len(part["count"]):
            raise SchemaError(
                f"label_quality: {needs[0]} has {len(counts)} and {len(part['count'])} probabilities in different "
                "files. Give all files the same classes"
            )
        total, counts = (total + part["sum"], counts + part["count"]) if len(counts) else (part["sum"], part["count"])
    if (seen := int((counts > 0).sum())) < 2:
        raise SchemaError(
            f"label_quality: the data has {int(counts.sum())} rows of {seen} classes; it needs rows of at least 2 "
            "classes"
        )
    thresholds = np.where(counts > 0, total / STEPS / np.maximum(counts, 1), np.inf)
    # who is confidently of which class depends on the thresholds: a second pass counts them
    joint = np.zeros((len(counts), len(counts)), np.int64)
    for part in corpus.map(partial(_joint_counts, needs, classes, thresholds), needs):
        joint += part["joint"]
    return LabelQuality(thresholds, joint, epochs, by, logits, classes)


def _batches(rows: PartRows, needs: tuple[str, ...], classes: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return (_mean_probabilities(batch, needs, classes) for batch in rows.batches() if batch.height)


def _class_sums(needs: tuple[str, ...], classes: str, rows: PartRows) -> Arrays:
    """Return for each class the sum of its probability over its own rows, in whole steps, and the number of rows."""
    total, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for p, labels in _batches(rows, needs, classes):
        # float64 holds the sums of a batch exactly, up to 2^21 rows
        batch_total = np.bincount(labels, np.rint(_predictions.of_label(p, labels) * STEPS), p.shape[1])
        batch_counts = np.bincount(labels, minlength=p.shape[1])
        if not len(counts):
            total, counts = np.zeros(p.shape[1], np.int64), np.zeros(p.shape[1], np.int64)
        total, counts = total + batch_total.astype(np.int64), counts + batch_counts
    return {"sum": total, "count": counts}


def _joint_counts(needs: tuple[str, ...], classes: str, thresholds: np.ndarray, rows: PartRows) -> Arrays:
    joint = np.zeros((len(thresholds), len(thresholds)), np.int64)
    for p, labels in _batches(rows, needs, classes):
        sure = confident_class(p, thresholds)
        np.add.at(joint, (labels[sure >= 0], sure[sure >= 0]), 1)
    return {"joint": joint}


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
