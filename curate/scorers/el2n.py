"""Error norm of early predictions (Paul et al. 2021, "Deep learning on a data diet", arXiv 2107.07075)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _predictions


@dataclass(frozen=True)
class El2n:
    """How far early predictions are from a row's label; high is hard.

    ``score.el2n`` (float64, 0 to sqrt 2) is the mean over epochs of ||p - y||, where p (c,) are the probabilities and y
    is one-hot. Keep high scores when data are plenty. Mislabelled rows are among the highest: trim some of these first.
    The paper takes early epochs, about a twentieth of training, of ten models or more.

    Options:
        epochs: epochs to average, joined by + (default 0; `curate score` fills in all that the data has).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Paul et al. 2021, arXiv 2107.07075.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {"score.el2n": pl.Float64()}
    meanings = {"score.el2n": "hardness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        total = np.zeros(batch.height)
        for p in _predictions.probabilities(batch, self.needs[:-1]):
            total += error(p, _predictions.labels(batch, self.classes, p.shape[1]))
        return pl.DataFrame({"score.el2n": total / (len(self.needs) - 1)}, schema=dict(self.schema))


def error(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the length (n,) of p - y, with p (n, c) probabilities and y the one-hot ``labels``."""
    gap = p.copy()
    np.put_along_axis(gap, labels[:, None], _predictions.of_label(p, labels)[:, None] - 1, axis=1)
    return np.asarray(np.sqrt((gap * gap).sum(axis=1)))
