"""Area under the margin (Pleiss et al. 2020, arXiv 2001.10528)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _predictions


@dataclass(frozen=True)
class Aum:
    """How clearly a row's label won during training; high is easy, low is hard or mislabelled.

    ``score.aum`` (float64, any sign) is the mean over epochs of the label's logit minus the largest other logit. Keep
    high scores to drop label errors. Logarithms of probabilities serve as logits: the two differ by a constant in each
    row, and the margin does not change with it. (CCS sums margins of probabilities themselves: another scale.)

    Options:
        epochs: epochs to average, joined by + (default 0; `curate score` fills in all that the data has).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default true).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Pleiss et al. 2020, arXiv 2001.10528.
    """

    epochs: str | int = "0"
    logits: bool = True
    classes: str = ""
    schema = {"score.aum": pl.Float64()}
    meanings = {"score.aum": "easiness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        total = np.zeros(batch.height)
        for values in _predictions.log_odds(batch, self.needs[:-1]):
            total += _predictions.margin(values, _predictions.labels(batch, self.classes, values.shape[1]))
        return pl.DataFrame({"score.aum": total / (len(self.needs) - 1)}, schema=dict(self.schema))
