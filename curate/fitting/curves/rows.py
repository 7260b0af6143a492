"""Columns of a run table as numbers, and fitted curves as rows and words."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from torch import Tensor

from curate.runs.number_columns import refuse_words
from curate.runs.run_table import MEMORY


def column(frame: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column as (n,) numbers, NaN where it is empty.

    Raises:
        SchemaError: if the column holds something else than numbers.
    """
    refuse_words(frame, name, MEMORY)
    return frame[name].cast(float).fill_null(np.nan).to_numpy()


def point_table(
    runs: Sequence[str], group: str | Sequence[str], measured: np.ndarray, predicted: np.ndarray
) -> pl.DataFrame:
    """Return (n,) measured and predicted values as a table: run, group, measured, predicted."""
    groups = [group] * len(runs) if isinstance(group, str) else list(group)
    return pl.DataFrame({"run": runs, "group": groups, "measured": measured, "predicted": predicted})


def in_words(theta: Mapping[str, float | Tensor]) -> str:
    """Return parameters as text, such as ``A 0.43, alpha 0.55``."""
    return ", ".join(f"{name} {float(value):.4g}" for name, value in theta.items())
