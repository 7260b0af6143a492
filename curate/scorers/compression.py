"""Compression ratio of a text: how much of it is news."""

import zlib
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Compression:
    """``score.compression``: compressed / raw UTF-8 bytes under zlib (DEFLATE), float64, in (0, about 1.1].

    High = little redundancy; keep high. Boilerplate, tables and repeated text sit near 0. Very short texts exceed
    their size by the 8-byte frame and are capped at 1; an empty or null text scores 0. ``level`` is zlib's.
    """

    level: int = 6
    needs = ("text",)
    schema = {"score.compression": pl.Float64()}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [self._one(text) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.compression": scores}, schema=dict(self.schema))

    def _one(self, text: str) -> float:
        raw = text.encode()
        return min(1.0, len(zlib.compress(raw, self.level)) / len(raw)) if raw else 0.0
