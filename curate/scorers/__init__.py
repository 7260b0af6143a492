"""The contract of a scorer: one number (or vector) per example, high = keep.

A file ``curate/scorers/mine.py`` with a frozen dataclass ``Mine`` is a scorer. One that learns first has a function
``learn(stream, ...)`` too, which returns the frozen scorer; ``stream(needs)`` yields batches that have those columns
and may be called many times. Its fields that are arrays are given by ``arrays``, to be saved and loaded again.
"""

from collections.abc import Mapping
from typing import Protocol

import polars as pl


class Scorer(Protocol):
    """Reads the columns ``needs``; adds those of ``schema``: ``score.<name>`` (float64), ``emb.<name>`` (vectors) or
    ``cluster.<name>`` (int32, a group that the row belongs to)."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        ...

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns it adds."""
        ...

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the new columns only, one row per row of ``batch``, whatever the batching."""
        ...
