"""Data maps: confidence, variability and correctness over training (Swayamdipta et al. 2020, arXiv 2009.10795)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _dynamics


@dataclass(frozen=True)
class Cartography:
    """``score.cartography_confidence``: mean over ``epochs`` of the label's probability; ``..._variability``: its
    standard deviation (of the epochs, not a sample of them); ``..._correctness``: epochs that were right. All float64.

    High confidence and correctness = easy, low = hard or mislabelled: keep high to drop label errors. High variability
    = ambiguous: the paper keeps the highest third. Options as of ``el2n``.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {
        "score.cartography_confidence": pl.Float64(),
        "score.cartography_variability": pl.Float64(),
        "score.cartography_correctness": pl.Float64(),
    }

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        mean, spread, right = np.zeros(batch.height), np.zeros(batch.height), np.zeros(batch.height)
        for seen, p in enumerate(_dynamics.probabilities(batch, self.needs[:-1]), start=1):
            labels = _dynamics.labels(batch, self.classes, p.shape[1])
            gap = _dynamics.own(p, labels) - mean
            mean += gap / seen
            spread += gap * (_dynamics.own(p, labels) - mean)  # Welford's update: no difference of large squares
            right += _dynamics.correct(p, labels)
        deviation = np.sqrt(np.maximum(spread, 0) / (len(self.needs) - 1))
        return pl.DataFrame(dict(zip(self.schema, (mean, deviation, right), strict=True)), schema=dict(self.schema))
