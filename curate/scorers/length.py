"""Length of a text in characters or words."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from curate.errors import SchemaError


@dataclass(frozen=True)
class Length:
    """The length of a text; high is long.

    ``score.length`` (float64) is a number of characters or words. Keep long texts; Gopher keeps 50 to 100,000 words. An
    empty or null text has length 0.

    Options:
        unit: character, for Unicode characters, or word, for runs of visible characters (default character).

    Source: the range is Gopher's, Rae et al. 2021, arXiv 2112.11446, Table A1.
    """

    unit: Literal["character", "word"] = "character"
    needs = ("text",)
    schema = {"score.length": pl.Float64()}
    meanings = {"score.length": "quality"}

    def __post_init__(self) -> None:
        """Refuse an unknown unit."""
        if self.unit not in ("character", "word"):
            raise SchemaError(f"length: unit={self.unit} must be character or word")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        text = pl.col("text").fill_null("")
        count = text.str.len_chars() if self.unit == "character" else text.str.count_matches(r"\S+")
        return batch.select(count.cast(pl.Float64).alias("score.length"))
