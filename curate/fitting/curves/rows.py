"""Show fitted curves as rows and as words, and say how much of the measured values they explain."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from torch import Tensor


def point_table(
    runs: Sequence[str], group: str | Sequence[str], measured: np.ndarray, predicted: np.ndarray
) -> pl.DataFrame:
    """Return (n,) measured and predicted values as a table: run, group, measured, predicted."""
    groups = [group] * len(runs) if isinstance(group, str) else list(group)
    return pl.DataFrame({"run": runs, "group": groups, "measured": measured, "predicted": predicted})


def in_words(theta: Mapping[str, float | Tensor]) -> str:
    """Return parameters as text, such as ``A 0.43, alpha 0.55``."""
    return ", ".join(f"{name} {float(value):.4g}" for name, value in theta.items())


def r2(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance of (n,) measured values that the predicted ones explain."""
    variance = float(((measured - measured.mean()) ** 2).sum())
    return 1 - float(((predicted - measured) ** 2).sum()) / variance if variance else 0.0
