"""Label quality by confident learning (Northcutt et al. 2021, arXiv 1911.00068)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _dynamics
from curate.tables.batches import Stream

LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
BY = ("margin", "self_confidence")


@dataclass(frozen=True)
class LabelQuality:
    """``score.label_quality``: the label's probability minus the largest other (``by=margin``, -1 to 1), or the label's
    probability alone (``by=self_confidence``). ``score.label_joint``: 0 where the confident joint puts the row off its
    diagonal, else 1. Both float64.

    High = the label is likely right: keep high. Probabilities, the mean over ``epochs``, must be out of sample: from a
    model that was not trained on the row (``dynamics:folds=5`` makes such). ``thresholds`` (c,): mean probability of
    class k over the rows labelled k. A row is confidently of the most likely class among those at or above their
    thresholds; ``joint`` (c, c) counts rows by label and that class. A class without rows has threshold infinity.
    """

    thresholds: np.ndarray = field(repr=False)
    joint: np.ndarray = field(repr=False)
    epochs: str | int = "0"
    by: Literal["margin", "self_confidence"] = "margin"
    logits: bool = False
    classes: str = ""
    schema = {"score.label_quality": pl.Float64(), "score.label_joint": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"thresholds": self.thresholds, "joint": self.joint}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        if not batch.height:
            return pl.DataFrame(schema=dict(self.schema))
        p, labels = _mean(batch, self.needs, self.classes)
        quality = _dynamics.margin(p, labels) if self.by == "margin" else _dynamics.own(p, labels)
        sure = confident(p, self.thresholds)
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
    """Learn thresholds and the confident joint in two passes; memory is c x c counts."""
    if by not in BY:
        raise SchemaError(f"label_quality: by={by} must be margin or self_confidence")
    needs = (*_dynamics.columns(epochs, logits), "label")

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (_mean(batch, needs, classes) for batch in stream(needs) if batch.height)

    total: np.ndarray = np.zeros(0)
    counts: np.ndarray = np.zeros(0, np.int64)
    for p, labels in batches():
        here = np.bincount(labels, _dynamics.own(p, labels), p.shape[1])
        many = np.bincount(labels, minlength=p.shape[1])
        total, counts = (total + here, counts + many) if len(total) else (here, many)
    if (seen := int((counts > 0).sum())) < 2:
        raise SchemaError(
            f"label_quality: the data has {int(counts.sum())} rows of {seen} classes; it needs rows of at least 2"
        )
    thresholds = np.where(counts > 0, total / np.maximum(counts, 1), np.inf)
    joint = np.zeros((len(counts), len(counts)), np.int64)
    for p, labels in batches():
        sure = confident(p, thresholds)
        np.add.at(joint, (labels[sure >= 0], sure[sure >= 0]), 1)
    return LabelQuality(thresholds, joint, epochs, by, logits, classes)


def confident(p: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the most likely class of each row among those at or above their thresholds, -1 where there is none."""
    held = np.where(p >= thresholds - 1e-9, p, -1.0)  # a class's only row is as likely as its mean, to rounding
    return np.where(held.max(axis=1) >= 0, held.argmax(axis=1), -1)


def _mean(batch: pl.DataFrame, needs: tuple[str, ...], classes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, c) mean probabilities and (n,) labels."""
    p = np.zeros((batch.height, 1))
    for one in _dynamics.probabilities(batch, needs[:-1]):
        p = p + one / (len(needs) - 1)
    return p, _dynamics.labels(batch, classes, p.shape[1])
