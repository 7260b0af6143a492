"""Gradient norm of the last layer (GraNd; Paul et al. 2021, arXiv 2107.07075; DeepCore, 2204.08499)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _dynamics
from curate.scorers.el2n import error


@dataclass(frozen=True)
class Grand:
    """``score.grand``: mean over ``epochs`` of ||p - y|| * ||(x, 1)||, the norm of the loss's gradient in the weights
    and biases of a linear last layer on features x (``embedding``), float64 >= 0.

    High = hard: it would move the model most. Keep high when data are plenty; mislabelled rows are among the highest.
    The features should be those that the predictions were made from. Options as of ``el2n``.
    """

    epochs: str | int = "0"
    embedding: str = "emb.hashed"
    logits: bool = False
    classes: str = ""
    schema = {"score.grand": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label", self.embedding)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        x = batch[self.embedding].to_numpy().astype(np.float64)
        total = np.zeros(batch.height)
        for p in _dynamics.probabilities(batch, self.needs[:-2]):
            total += error(p, _dynamics.labels(batch, self.classes, p.shape[1]))
        length = np.sqrt((x * x).sum(axis=1) + 1)
        return pl.DataFrame({"score.grand": total * length / (len(self.needs) - 2)}, schema=dict(self.schema))
