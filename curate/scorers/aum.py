"""Area under the margin (Pleiss et al. 2020, arXiv 2001.10528)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _dynamics


@dataclass(frozen=True)
class Aum:
    """``score.aum``: mean over ``epochs`` of the label's logit minus the largest other logit (float64, any sign).

    High = learned early and surely; low = another class wins throughout: mislabelled or hard. Keep high to drop label
    errors. Logarithms of probabilities serve as logits: they differ by a constant a row, which the margin does not see.
    Margins of probabilities themselves, which CCS sums, are another scale. Options as of ``el2n``.
    """

    epochs: str | int = "0"
    logits: bool = True
    classes: str = ""
    schema = {"score.aum": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        total = np.zeros(batch.height)
        for values in _dynamics.log_odds(batch, self.needs[:-1]):
            total += _dynamics.margin(values, _dynamics.labels(batch, self.classes, values.shape[1]))
        return pl.DataFrame({"score.aum": total / (len(self.needs) - 1)}, schema=dict(self.schema))
