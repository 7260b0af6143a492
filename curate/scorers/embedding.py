"""Embeddings as a column: any encoder's vectors, stored beside the scores for the metrics that read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from curate import plugins
from curate.encoders import Encoder


@dataclass(frozen=True)
class Embedding:
    """``emb.<encoder>``: the (d,) float32 vector of each text by ``encoder`` (a file of ``curate/encoders``).

    A vector, not a score: nothing to keep or drop by. A null text is encoded as the empty text.
    """

    encoder: str = "hashed"
    width: int = 256
    needs = ("text",)

    @cached_property
    def _encoder(self) -> Encoder:
        built: Encoder = plugins.implementation("encoders", self.encoder)(width=self.width)
        return built

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns it adds."""
        return {f"emb.{self.encoder}": pl.Array(pl.Float32, self.width)}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Encode a batch."""
        vectors = self._encoder.encode(batch["text"].fill_null("").to_list())
        (name, dtype), *_ = self.schema.items()
        return pl.DataFrame([pl.Series(name, vectors, dtype=dtype)])
