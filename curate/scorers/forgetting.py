"""Forgetting events (Toneva et al. 2019, arXiv 1812.05159)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _dynamics


@dataclass(frozen=True)
class Forgetting:
    """``score.forgetting``: how often a row that was right after one epoch is wrong after the next (float64, a count).

    High = often forgotten, hard; a row that is never right counts as many events as there are epochs, more than any
    other can have. Keep high when data are plenty. Most rows are never forgotten and tie at 0; rules
    break ties by hash. ``epochs`` come in the order named. Options as of ``el2n``.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {"score.forgetting": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        before, ever = np.zeros(batch.height, bool), np.zeros(batch.height, bool)
        events = np.zeros(batch.height)
        for values in _dynamics.log_odds(batch, self.needs[:-1]):
            right = _dynamics.correct(values, _dynamics.labels(batch, self.classes, values.shape[1]))
            events += before & ~right
            before, ever = right, ever | right
        events[~ever] = len(self.needs) - 1
        return pl.DataFrame({"score.forgetting": events}, schema=dict(self.schema))
