"""Disagreement of an ensemble, the acquisition of active learning (Chitta et al. 2021, arXiv 1905.12737)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _dynamics


@dataclass(frozen=True)
class Disagreement:
    """``score.disagreement``: how far the models in ``epochs`` differ on a row, float64; no label is read.

    ``by=information``: entropy of the mean prediction minus the mean entropy, nats (mutual information of prediction
    and model; Houlsby et al. 2011). ``by=variation``: share of the models that do not vote for the most voted class.
    High = they disagree, informative; keep high when data are plenty. One model alone agrees with itself: 0.
    """

    epochs: str | int = "0"
    by: Literal["information", "variation"] = "information"
    logits: bool = False
    schema = {"score.disagreement": pl.Float64()}

    def __post_init__(self) -> None:
        """Check the measure."""
        if self.by not in ("information", "variation"):
            raise SchemaError(f"disagreement: by={self.by} must be information or variation")

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return _dynamics.columns(self.epochs, self.logits)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        mean, inside = np.zeros((batch.height, 1)), np.zeros(batch.height)
        for p in _dynamics.probabilities(batch, self.needs):
            if self.by == "variation":
                p = (np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]).astype(np.float64)  # a vote
            mean = mean + p / len(self.needs)
            inside += _entropy(p) / len(self.needs)
        found = 1 - mean.max(axis=1) if self.by == "variation" else _entropy(mean) - inside
        return pl.DataFrame({"score.disagreement": np.maximum(found, 0)}, schema=dict(self.schema))


def _entropy(p: np.ndarray) -> np.ndarray:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=1))
