"""Show fitted curves as rows and as words."""

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
