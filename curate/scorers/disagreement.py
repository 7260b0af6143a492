"""Disagreement of an ensemble, the acquisition of active learning (Chitta et al. 2021, arXiv 1905.12737)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _predictions


@dataclass(frozen=True)
class Disagreement:
    """How far the predictions of several models differ on a row; high is hard and informative.

    ``score.disagreement`` (float64, >= 0) reads no label. Keep high scores when data are plenty. One model alone agrees
    with itself: 0.

    Options:
        epochs: models to use, by the names of their columns joined by + (default 0; `curate score` fills in all).
        by: information, the mutual information of prediction and model in nats: the entropy of the mean prediction
            minus the mean entropy; or variation, the share of models that do not vote for the most voted class
            (default information).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).

    Source: Chitta et al. 2021, arXiv 1905.12737; mutual information after Houlsby et al. 2011, arXiv 1112.5745.
    """

    epochs: str | int = "0"
    by: Literal["information", "variation"] = "information"
    logits: bool = False
    schema = {"score.disagreement": pl.Float64()}
    meanings = {"score.disagreement": "hardness"}

    def __post_init__(self) -> None:
        """Refuse an unknown measure."""
        if self.by not in ("information", "variation"):
            raise SchemaError(f"disagreement: by={self.by} must be information or variation")

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return _predictions.columns(self.epochs, self.logits)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        mean, mean_entropy = np.zeros((batch.height, 1)), np.zeros(batch.height)
        for p in _predictions.probabilities(batch, self.needs):
            if self.by == "variation":  # a vote: 1 for the most likely class
                p = (np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]).astype(np.float64)
            mean = mean + p / len(self.needs)
            mean_entropy += _entropy(p) / len(self.needs)
        score = 1 - mean.max(axis=1) if self.by == "variation" else _entropy(mean) - mean_entropy
        # rounding may leave the difference of two equal entropies just below 0
        return pl.DataFrame({"score.disagreement": np.maximum(score, 0)}, schema=dict(self.schema))


def _entropy(p: np.ndarray) -> np.ndarray:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=1))
