"""Reducible holdout loss (Mindermann et al. 2022, arXiv 2206.07137), between two checkpoints."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _dynamics


@dataclass(frozen=True)
class Rho:
    """``score.rho``: loss of the first model in ``epochs`` minus loss of the last, nats (float64, any sign).

    The first is the model in training, the last one trained on held-out data; without that, an early and a late
    checkpoint. High = not learned yet, but learnable: keep high. About 0 = learned, or noise that neither can learn;
    below 0 = the better model finds it less likely, so suspect the label. Probabilities below 1e-12 count as 1e-12. The
    paper scores batches during training; this is its static form. Options as of ``el2n``.
    """

    epochs: str | int = "0+1"
    logits: bool = False
    classes: str = ""
    schema = {"score.rho": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        names = _dynamics.columns(self.epochs, self.logits)
        if len(names) < 2:
            raise SchemaError(f"rho: epochs={self.epochs} must name two models, the one in training and the reference")
        return (names[0], names[-1], "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        now, reference = (
            -np.log(np.maximum(_dynamics.own(p, _dynamics.labels(batch, self.classes, p.shape[1])), _dynamics.FLOOR))
            for p in _dynamics.probabilities(batch, self.needs[:-1])
        )
        return pl.DataFrame({"score.rho": now - reference}, schema=dict(self.schema))
