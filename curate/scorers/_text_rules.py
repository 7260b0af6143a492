"""What the scorers `gopher`, `c4` and `fineweb` share: a verdict and a reason for each text.

In: the first rule that each text breaks. Out: the columns of a scorer.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.words import ngrams

Reasons = Callable[[pl.Series], Sequence[str | None]]  # the rule that each text breaks first, or None


def columns(name: str) -> dict[str, pl.DataType]:
    """Return the columns of a filter: its verdict and its reason."""
    return {f"score.{name}": pl.Float64(), f"reason.{name}": pl.String()}


def verdicts(name: str, texts: pl.Series, reasons_of: Reasons) -> pl.DataFrame:
    """Return the columns of a filter: 1 and no reason for a text that passes, 0 and the reason for any other."""
    reasons: list[str | None] = []
    for piece in ngrams.pieces(texts):
        reasons += reasons_of(piece)
    scores = np.array([reason is None for reason in reasons], float)
    return pl.DataFrame({f"score.{name}": scores, f"reason.{name}": reasons}, schema=columns(name))


def check_limits(name: str, limits: dict[str, float]) -> None:
    """Refuse a limit below 0.

    Raises:
        SchemaError: with the option and its value.
    """
    for option, limit in limits.items():
        if not limit >= 0:
            raise SchemaError(f"{name}: {option}={limit:g} must be 0 or more")
