"""Dichotomous data difficulty (Meding et al. 2022, "Trivial or impossible", arXiv 2110.05922)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _predictions


@dataclass(frozen=True)
class Dichotomy:
    """The share of models that get a row wrong; high is hard.

    ``score.dichotomy`` (float64, 0 to 1) is 0 for a trivial row, which all models get right, and 1 for an impossible
    one, which all get wrong; that is often a label error. Keep high scores when data are plenty, without the impossible
    rows where labels are noisy. Few models make many ties.

    Options:
        epochs: models to use, by the names of their columns joined by + (default 0; `curate score` fills in all).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Meding et al. 2022, arXiv 2110.05922.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {"score.dichotomy": pl.Float64()}
    meanings = {"score.dichotomy": "hardness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        wrong = np.zeros(batch.height)
        # only the order of the classes matters, so logits need no softmax
        for values in _predictions.log_odds(batch, self.needs[:-1]):
            wrong += ~_predictions.correct(values, _predictions.labels(batch, self.classes, values.shape[1]))
        return pl.DataFrame({"score.dichotomy": wrong / (len(self.needs) - 1)}, schema=dict(self.schema))
