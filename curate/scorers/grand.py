"""Gradient norm of the last layer (GraNd; Paul et al. 2021, arXiv 2107.07075; DeepCore, 2204.08499)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _predictions
from curate.scorers.el2n import error


@dataclass(frozen=True)
class Grand:
    """How far a row would move the last layer of the model; high is hard.

    ``score.grand`` (float64, >= 0) is the mean over epochs of ||p - y|| * ||(x, 1)||: the norm of the gradient of the
    loss in the weights and biases of a linear last layer on the features x. Keep high scores when data are plenty;
    mislabelled rows are among the highest. The features should be those from which the predictions were made.

    Options:
        epochs: epochs to average, joined by + (default 0; `curate score` fills in all that the data has).
        embedding: the column of features (default emb.hashed).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Paul et al. 2021, arXiv 2107.07075; the last layer only, as in DeepCore, Guo et al. 2022, arXiv 2204.08499.
    """

    epochs: str | int = "0"
    embedding: str = "emb.hashed"
    logits: bool = False
    classes: str = ""
    schema = {"score.grand": pl.Float64()}
    meanings = {"score.grand": "hardness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label", self.embedding)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        x = batch[self.embedding].to_numpy().astype(np.float64)
        total = np.zeros(batch.height)
        for p in _predictions.probabilities(batch, self.needs[:-2]):
            total += error(p, _predictions.labels(batch, self.classes, p.shape[1]))
        length = np.sqrt((x * x).sum(axis=1) + 1)  # the 1 is the input of the bias
        return pl.DataFrame({"score.grand": total * length / (len(self.needs) - 2)}, schema=dict(self.schema))
