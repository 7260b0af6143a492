"""Reducible holdout loss (Mindermann et al. 2022, arXiv 2206.07137), between two checkpoints."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _predictions


@dataclass(frozen=True)
class Rho:
    """How much of a row's loss could still be learned; high is learnable but not learned yet.

    ``score.rho`` (float64, nats, any sign) is the loss of the first model in ``epochs`` minus that of the last. The
    first is the model in training, the last a reference trained on held-out data; without one, take an early and a late
    checkpoint. Keep high scores. About 0 is learned, or noise that neither model can learn; below 0 the better model
    finds the label less likely, so suspect the label. Probabilities below 1e-12 count as 1e-12. The paper scores
    batches during training; this is its static form.

    Options:
        epochs: the model in training and the reference, joined by + (default 0+1).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Mindermann et al. 2022, arXiv 2206.07137.
    """

    epochs: str | int = "0+1"
    logits: bool = False
    classes: str = ""
    schema = {"score.rho": pl.Float64()}
    meanings = {"score.rho": "quality"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        names = _predictions.columns(self.epochs, self.logits)
        if len(names) < 2:
            raise SchemaError(f"rho: epochs={self.epochs} must name two models: the one in training and the reference")
        return (names[0], names[-1], "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        in_training, reference = (self._loss(batch, p) for p in _predictions.probabilities(batch, self.needs[:-1]))
        return pl.DataFrame({"score.rho": in_training - reference}, schema=dict(self.schema))

    def _loss(self, batch: pl.DataFrame, p: np.ndarray) -> np.ndarray:
        labels = _predictions.labels(batch, self.classes, p.shape[1])
        return np.asarray(-np.log(np.maximum(_predictions.of_label(p, labels), _predictions.FLOOR)))
