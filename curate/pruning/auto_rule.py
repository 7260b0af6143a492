"""Decide between keeping hard and keeping easy examples, by how many examples there are for each dimension.

In: the number of rows, the intrinsic dimension of the data, and the share to keep. Out: the choice and its reasons.
Sorscher et al. 2022 (arXiv 2206.14486): with many examples for each dimension hard ones are worth keeping, with few
the easy ones. `perceptron` solves their model exactly; the intrinsic dimension stands for its number of inputs.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pruning import perceptron

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # shares kept, of the table of errors


@dataclass(frozen=True)
class RuleAdvice:
    """The choice for keeping the share ``keep`` of ``rows`` examples of ``dimension`` intrinsic dimensions.

    ``crossover`` is the number of examples for each dimension above which hard examples are better. ``curve`` holds
    the errors that theory predicts for each share kept. ``estimated_from`` is the column that the dimension was
    estimated from; it is empty where the user gave the dimension.
    """

    rows: int
    dimension: float
    keep: float
    crossover: float
    choice: Literal["hard", "easy"]
    curve: pl.DataFrame
    estimated_from: str = ""

    @property
    def alpha(self) -> float:
        """Return the examples for each dimension, before pruning."""
        return self.rows / self.dimension

    def table(self) -> pl.DataFrame:
        """Return one row for each share kept: keep, hard, easy, random (errors of the perceptron), better."""
        return self.curve

    @property
    def reason(self) -> str:
        """Return the numbers that decide the choice, as one clause."""
        side = "above" if self.choice == "hard" else "below"
        source = f" of {self.estimated_from}, estimated" if self.estimated_from else ""
        return (
            f"{self.rows} rows / {self.dimension:.4g} dimensions{source} = {self.alpha:.3g} rows per dimension, {side} "
            f"{self.crossover:.3g}. From there on, hard examples beat easy ones when a share of {self.keep:g} of the "
            "rows is kept"
        )

    def lines(self) -> tuple[str, ...]:
        """Return sentences that say what is kept and why."""
        lines = [f"auto: keep {self.choice} examples. {self.reason}"]
        # How far one may prune at best, whatever was asked for.
        share = perceptron.lossless(self.alpha)
        if share < 1:
            lines.append(
                f"auto: by theory, the hardest {100 * share:.3g} % of the rows give the error of all rows to within 1 %"
            )
        if self.choice == "easy":
            share, least = perceptron.best_keep(self.alpha, "easy")
            lines.append(
                f"auto: by theory, keeping the easiest {100 * share:.2g} % is best of all: error {least:.3g}, against "
                f"{perceptron.error(self.alpha):.3g} with all rows"
            )
        lines.append(
            "auto: the theory assumes a perfect score and right labels. Where labels are wrong or classes overlap, "
            "--trim the hardest rows or use --rule stratified; below a share of about 0.6 let pilots decide"
        )
        return tuple(lines)


def advise(rows: int, dimension: float, keep: float, *, estimated_from: str = "") -> RuleAdvice:
    """Compare keeping hard with keeping easy examples.

    Raises:
        SchemaError: if the dimension is not a positive number.
    """
    if not (np.isfinite(dimension) and dimension > 0):
        raise SchemaError(f"--dimension {dimension:g} must be a positive number: the intrinsic dimension of the data")
    alpha = rows / dimension
    # At shares of 0 and 1 the two modes do not differ, so the crossover is computed a little inside.
    crossover = perceptron.crossover(min(max(keep, 0.01), 0.99))
    errors = [_errors(alpha, share) for share in sorted({*SHARES, keep})]
    choice: Literal["hard", "easy"] = "hard" if alpha > crossover else "easy"
    curve = pl.DataFrame(errors, infer_schema_length=None)
    return RuleAdvice(rows, dimension, keep, crossover, choice, curve, estimated_from)


def _errors(alpha: float, keep: float) -> dict[str, object]:
    errors = {mode: perceptron.error(alpha, keep, mode) for mode in ("hard", "easy", "random")}
    better = "-" if keep == 1 else ("hard" if errors["hard"] < errors["easy"] else "easy")
    return {"keep": keep, **errors, "better": better}
