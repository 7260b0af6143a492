"""Dichotomous data difficulty (Meding et al. 2022, "Trivial or impossible", arXiv 2110.05922)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _dynamics


@dataclass(frozen=True)
class Dichotomy:
    """``score.dichotomy``: share of the models in ``epochs`` that get the row wrong (float64, 0 to 1).

    High = hard; 0 is trivial (all are right) and 1 impossible (all are wrong, often a label error). Keep high when data
    are plenty, without the impossible ones where labels are noisy. Few models make many ties. Options as of ``el2n``.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {"score.dichotomy": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        wrong = np.zeros(batch.height)
        for values in _dynamics.log_odds(batch, self.needs[:-1]):
            wrong += ~_dynamics.correct(values, _dynamics.labels(batch, self.classes, values.shape[1]))
        return pl.DataFrame({"score.dichotomy": wrong / (len(self.needs) - 1)}, schema=dict(self.schema))
