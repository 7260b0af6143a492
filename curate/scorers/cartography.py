"""Data maps: confidence, variability and correctness over training (Swayamdipta et al. 2020, arXiv 2009.10795)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _predictions


@dataclass(frozen=True)
class Cartography:
    """A row's place on the data map; high confidence and correctness are easy, high variability is ambiguous.

    ``score.cartography_confidence`` (0 to 1) is the mean over epochs of the label's probability,
    ``score.cartography_variability`` its standard deviation over these epochs (divided by their number, as the epochs
    are all there are), and ``score.cartography_correctness`` the number of epochs that were right. All are float64. Low
    confidence and correctness are hard or mislabelled: keep high ones to drop label errors. The paper keeps the third
    of the rows with the highest variability.

    Options:
        epochs: epochs to use, joined by + (default 0; `curate score` fills in all that the data has).
        logits: read the columns logits.<epoch>; if false, probs.<epoch> (default false).
        classes: class names in the order of the columns, joined by + (default: labels are class numbers from 0).

    Source: Swayamdipta et al. 2020, arXiv 2009.10795.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {
        "score.cartography_confidence": pl.Float64(),
        "score.cartography_variability": pl.Float64(),
        "score.cartography_correctness": pl.Float64(),
    }
    meanings = {
        "score.cartography_confidence": "easiness",
        "score.cartography_variability": "hardness",
        "score.cartography_correctness": "easiness",
    }

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*_predictions.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        mean, spread, right = np.zeros(batch.height), np.zeros(batch.height), np.zeros(batch.height)
        for epochs_seen, p in enumerate(_predictions.probabilities(batch, self.needs[:-1]), start=1):
            labels = _predictions.labels(batch, self.classes, p.shape[1])
            # Welford's update: the variance without a difference of two large squares
            gap = _predictions.of_label(p, labels) - mean
            mean += gap / epochs_seen
            spread += gap * (_predictions.of_label(p, labels) - mean)
            right += _predictions.correct(p, labels)
        deviation = np.sqrt(np.maximum(spread, 0) / (len(self.needs) - 1))
        return pl.DataFrame(dict(zip(self.schema, (mean, deviation, right), strict=True)), schema=dict(self.schema))
