"""Length of a text in characters."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Length:
    """``score.length``: Unicode characters (float64). High = long; keep long. A null text has length 0."""

    needs = ("text",)
    schema = {"score.length": pl.Float64()}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        return batch.select(pl.col("text").str.len_chars().fill_null(0).cast(pl.Float64).alias("score.length"))
