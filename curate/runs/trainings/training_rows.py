"""Find the last row of each training, and its smallest and largest values."""

import numpy as np
import polars as pl


def last_rows(codes: np.ndarray, tokens: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return (n,) bool: the row with the most tokens of each training, among the rows where ``measured`` is true.

    Of rows with equal tokens it is the later one in the table.
    """
    last = np.zeros(len(codes), dtype=bool)
    rows = np.flatnonzero(measured)
    order = rows[np.lexsort((rows, tokens[rows], codes[rows]))]
    ends = np.append(codes[order][1:] != codes[order][:-1], True) if len(order) else np.zeros(0, dtype=bool)
    last[order[ends]] = True
    return last


def extremes(values: np.ndarray, codes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest of (n,) values in each training, among a mask of rows."""
    count = int(codes.max()) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, codes[rows], values[rows])
    np.maximum.at(high, codes[rows], values[rows])
    # A training without such rows has no ends.
    none = ~np.isfinite(low) & ~np.isfinite(high)
    return np.where(none, 0.0, low), np.where(none, 0.0, high)


def numbers(frame: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column as (n,) numbers, NaN where it is absent, empty or a word."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
