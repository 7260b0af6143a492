"""Forgetting events (Toneva et al. 2019, arXiv 1812.05159)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _predictions


@dataclass(frozen=True)
class Forgetting:
    """How often a row is forgotten: right after one epoch, wrong after the next; high is hard.

    ``score.forgetting`` (float64, a count). A row that is never right counts as many events as there are epochs, more
    than any other row can have. Keep high scores when data are plenty. Most rows are never forgotten and tie at 0;
    rules break ties by the hash of the id.

    Options:
        epochs: epochs in the order of training, joined by + (default 0; `curate score` fills in all that there are).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Toneva et al. 2019, arXiv 1812.05159.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {"score.forgetting": pl.Float64()}
    meanings = {"score.forgetting": "hardness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        before, ever = np.zeros(batch.height, bool), np.zeros(batch.height, bool)
        events = np.zeros(batch.height)
        # only the order of the classes matters, so logits need no softmax
        for values in _predictions.log_odds(batch, self.needs[:-1]):
            right = _predictions.correct(values, _predictions.labels(batch, self.classes, values.shape[1]))
            events += before & ~right
            before, ever = right, ever | right
        # a row that was never right cannot be forgotten: rank it above all that were
        events[~ever] = len(self.needs) - 1
        return pl.DataFrame({"score.forgetting": events}, schema=dict(self.schema))
