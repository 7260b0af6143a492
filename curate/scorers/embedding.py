"""Embeddings as a column: any encoder's vectors, stored beside the scores for the metrics that read them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import polars as pl

from curate import open_sets
from curate.encoders import Encoder
from curate.errors import CurateError


@dataclass(frozen=True)
class Embedding:
    """``emb.<encoder>``: the (d,) float32 vector of each row by ``encoder`` (a file of ``curate/encoders``).

    A vector, not a score: nothing to keep or drop by. ``width`` and ``path`` are the encoder's options (0 and "": its
    own); ``column`` is what it reads, if not what it usually does: the text. A null text is encoded as the empty text.
    """

    encoder: str = "hashed"
    width: int = 0
    path: str = ""
    column: str = ""

    @cached_property
    def _encoder(self) -> Encoder:
        made = open_sets.implementation("encoders", self.encoder)
        asked = {name: value for name, value in (("width", self.width), ("path", self.path)) if value}
        if wrong := sorted(set(asked) - {f.name for f in fields(made)}):
            raise CurateError(f"encoder {self.encoder} has no option {wrong[0]!r}: leave it out")
        built: Encoder = made(**asked)
        return built

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        usual: str = getattr(open_sets.implementation("encoders", self.encoder), "column", "text")
        return (self.column or usual,)

    @cached_property
    def schema(self) -> Mapping[str, pl.DataType]:
        """Columns it adds."""
        return {f"emb.{self.encoder}": pl.Array(pl.Float32, self._encoder.width)}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Encode a batch."""
        column = batch[self.needs[0]]
        vectors = self._encoder.encode((column.fill_null("") if column.dtype == pl.String else column).to_list())
        (name, dtype), *_ = self.schema.items()
        return pl.DataFrame([pl.Series(name, vectors, dtype=dtype)])
