"""Compression ratio of a text under DEFLATE."""

import zlib
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Compression:
    """How badly a text compresses; high is little redundancy, low is boilerplate, tables or repeated text.

    ``score.compression`` (float64, 0 to 1) is the size of the text compressed by zlib (DEFLATE) over its size, both in
    UTF-8 bytes. Keep high scores. A very short text would exceed its own size, as the frame takes 8 bytes: it scores 1.
    An empty or null text scores 0.

    Options:
        level: effort of zlib, 1 (fastest) to 9 (smallest) (default 6).

    Source: DEFLATE is RFC 1951.
    """

    level: int = 6
    needs = ("text",)
    schema = {"score.compression": pl.Float64()}
    meanings = {"score.compression": "quality"}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [self._ratio(text) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.compression": scores}, schema=dict(self.schema))

    def _ratio(self, text: str) -> float:
        raw = text.encode()
        # the frame of zlib makes a very short text longer: cap the ratio
        return min(1.0, len(zlib.compress(raw, self.level)) / len(raw)) if raw else 0.0
