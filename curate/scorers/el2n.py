"""Error norm of early predictions (Paul et al. 2021, "Deep learning on a data diet", arXiv 2107.07075)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.scorers import _dynamics


@dataclass(frozen=True)
class El2n:
    """``score.el2n``: mean over ``epochs`` of ||p - y||, p (c,) probabilities and y one-hot (float64, 0 to sqrt 2).

    High = hard: far from its label. Keep high when data are plenty; the highest are also the mislabelled rows, so trim
    some first. The paper takes early epochs (about a twentieth of training) of ten or more models. Epochs that are not
    named are all that the data has. ``logits``: read logits.<epoch>. ``classes`` names the classes where labels are not
    places.
    """

    epochs: str | int = "0"
    logits: bool = False
    classes: str = ""
    schema = {"score.el2n": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (*_dynamics.columns(self.epochs, self.logits), "label")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        total = np.zeros(batch.height)
        for p in _dynamics.probabilities(batch, self.needs[:-1]):
            total += error(p, _dynamics.labels(batch, self.classes, p.shape[1]))
        return pl.DataFrame({"score.el2n": total / (len(self.needs) - 1)}, schema=dict(self.schema))


def error(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (n,) lengths of p - y."""
    gap = p.copy()
    np.put_along_axis(gap, labels[:, None], _dynamics.own(p, labels)[:, None] - 1, axis=1)
    return np.asarray(np.sqrt((gap * gap).sum(axis=1)))
