"""Read weights that are not shares but percents, tokens of each pool, or parts such as 3 to 1, as shares.

Weights are rescaled only where the whole table shows what they are. Any other sum is left as it is, and is refused when
the shares are used: a sum of .95 may be a rounded share, a misspelled number or a column that is missing.
"""

import numpy as np
import polars as pl

from curate.runs.recipes import SUM_TOLERANCE
from curate.runs.sources.named_table import NamedTable

# Percents that are rounded to whole numbers, of 20 pools, sum to between 98 and 102 in nearly all runs.
PERCENT, ROUNDED = 100.0, 2.0
# Counts of tokens of each pool are often rounded to whole batches, so their sum may differ from the column tokens.
NEAR_TOKENS = 0.02


def as_shares(table: NamedTable) -> NamedTable:
    """Return a table whose weights are shares, with a note if they had to be rescaled.

    A table with words in its weights, or with negative weights, is returned unchanged. Reading it as recipes fails.
    """
    names = [name for name in table.frame.columns if name.startswith("weight.")]
    if not names or any(table.frame[name].dtype != pl.Float64 for name in names):
        return table
    weights = np.column_stack([table.frame[name].fill_null(0.0).to_numpy() for name in names])
    sums = weights.sum(axis=1)
    # A start row needs no weights.
    used = sums != 0
    if not used.any() or not np.isfinite(weights).all() or (weights < 0).any():
        return table
    unit = _unit(weights[used], sums[used], _tokens(table.frame)[used])
    if unit is None:
        return table
    away = np.abs(sums[used] / PERCENT - 1).max()
    rounding = f". The sums differ from 100 by up to {PERCENT * away:.2g}" if unit == "percents" and away > 1e-6 else ""
    rows = int(used.sum())
    shares = np.where(used[:, None], weights / np.where(used, sums, 1.0)[:, None], weights)
    note = f"the weights of {rows} of {len(sums)} rows are read as {unit}, and divided by their sum{rounding}"
    columns = [pl.Series(name, share) for name, share in zip(names, shares.T, strict=True)]
    return table.changed(table.frame.with_columns(columns), f"{table.origin}: {note}")


def _unit(weights: np.ndarray, sums: np.ndarray, tokens: np.ndarray) -> str | None:
    """Return what (n, p) weights with (n,) sums are, or None if they are shares or something unknown."""
    if (np.abs(sums - PERCENT) <= ROUNDED).all():
        return "percents"
    if (np.abs(sums / tokens - 1) <= NEAR_TOKENS).all():
        return "tokens of each pool"
    # Parts are whole numbers, such as 3 to 1. Ones and zeros alone may mark which pools were used.
    whole = (weights == np.round(weights)).all() and weights.max() > 1
    # If some sums are 100, the others are percents with a mistake. If some are 1, the others are such shares.
    unlike_shares = (np.abs(sums - PERCENT) > ROUNDED).all() and (np.abs(sums - 1) > SUM_TOLERANCE).any()
    return "parts" if whole and unlike_shares else None


def _tokens(frame: pl.DataFrame) -> np.ndarray:
    """Return (n,) training tokens, or NaN where they are not known."""
    if "tokens" not in frame.columns or frame["tokens"].dtype != pl.Float64:
        return np.full(frame.height, np.nan)
    return np.where((tokens := frame["tokens"].fill_null(np.nan).to_numpy()) > 0, tokens, np.nan)
