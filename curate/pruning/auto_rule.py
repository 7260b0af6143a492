"""Whether data are so plenty that hard examples should be kept, or so scarce that easy ones should: by the perceptron.

Sorscher et al. 2022 (arXiv 2206.14486): which end to keep depends on how many examples there are for each dimension of
the data, and on the share that is kept. ``curate.pruning.perceptron`` solves their teacher and student exactly; the
intrinsic dimension of the data stands for the number of inputs.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pruning import perceptron

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LOSSLESS = 3.5  # hard examples kept for a dimension from which nothing is lost (within 1 %)
LOW_IS_HARD = frozenset(
    f"score.{name}"
    for name in ("aum", "label_quality", "label_joint", "cartography_confidence", "cartography_correctness")
)


@dataclass(frozen=True)
class Advice:
    """``choice`` for keeping ``keep`` of ``rows`` examples of ``dimension`` intrinsic dimensions, and the curve.

    ``of``: the column that the dimension was estimated from; empty where it was given.
    """

    rows: int
    dimension: float
    keep: float
    crossover: float
    choice: Literal["hard", "easy"]
    curve: pl.DataFrame
    of: str = ""

    @property
    def alpha(self) -> float:
        """Examples a dimension, before pruning."""
        return self.rows / self.dimension

    def table(self) -> pl.DataFrame:
        """Return one row a share kept: keep, hard, easy, random (test errors of the perceptron), better, crossover."""
        return self.curve

    def lines(self) -> tuple[str, ...]:
        """Say what is kept and why."""
        side = "above" if self.choice == "hard" else "below"
        left = self.keep * self.alpha
        hard = (
            "hard ones alone lose nothing" if left >= LOSSLESS else f"hard ones alone lose nothing from {LOSSLESS:g} on"
        )
        of = f" of {self.of}, estimated" if self.of else ""
        found = [
            f"auto: keep {self.choice} examples. {self.rows} rows / {self.dimension:.4g} dimensions{of} = "
            f"{self.alpha:.3g} a dimension, {side} the {self.crossover:.3g} at which hard ones beat easy ones "
            f"when {self.keep:g} are kept",
            f"auto: {left:.3g} examples a dimension are kept; {hard}",
        ]
        if self.choice == "easy":
            share, least = perceptron.best_keep(self.alpha, "easy")
            found.append(
                f"auto: in this model keeping the easiest {share:.2g} is best of all (error {least:.3g}, "
                f"{perceptron.error(self.alpha):.3g} with all rows)"
            )
        found.append(
            "auto: the model's metric is exact and its labels are right; where labels are wrong or classes overlap, "
            "--trim the hardest or take --rule stratified, and let pilots decide below a share of about 0.6"
        )
        return tuple(found)


def advise(rows: int, dimension: float, keep: float, *, of: str = "") -> Advice:
    """Compare keeping hard with keeping easy examples where ``rows`` of an intrinsic ``dimension`` are on hand."""
    if not (np.isfinite(dimension) and dimension > 0):
        raise SchemaError(f"--dimension {dimension:g} must be a positive number: the intrinsic dimension of the data")
    alpha = rows / dimension
    at = perceptron.crossover(min(max(keep, 0.01), 0.99))
    curve = pl.DataFrame([_row(alpha, share) for share in sorted({*SHARES, keep})], infer_schema_length=None)
    return Advice(rows, dimension, keep, at, "hard" if alpha > at else "easy", curve, of)


def _row(alpha: float, keep: float) -> dict[str, object]:
    errors = {mode: perceptron.error(alpha, keep, mode) for mode in ("hard", "easy", "random")}
    better = "-" if keep == 1 else ("hard" if errors["hard"] < errors["easy"] else "easy")
    return {"keep": keep, **errors, "better": better}
