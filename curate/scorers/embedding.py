"""Add the vectors of an encoder as a column of the score files, so that other scorers can read them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import polars as pl

from curate import open_sets
from curate.encoders import Encoder, column_of, encode
from curate.errors import CurateError

FORMAT = 3  # since format 3 ``hashed`` splits texts as ``duplicates`` does, and words count more than pairs of words


@dataclass(frozen=True)
class Embedding:
    """The vector that an encoder gives each row. It is not a score: other scorers read it.

    ``emb.<encoder>`` is the (d,) float32 vector. A null text has the zero vector.

    Options:
        encoder: name of the encoder, a file of ``curate/encoders`` (default hashed).
        width: length d of the vectors; 0 is the encoder's own (default 0).
        path: the model or table that the encoder reads (default: the encoder's own).
        longest: tokens at which ``minilm`` and ``onnx`` cut a text; 0 is the model's own limit (default 0).
        windows: whether ``minilm`` reads a longer text in windows of so many tokens instead (default false).
        device: where ``minilm`` runs: auto, cpu or cuda (default: the encoder's own, auto).
        column: the column that is encoded (default: what the encoder reads, mostly text).
        dtype: type of the numbers in fixed-size binary that ``precomputed`` reads, float32 or float16 (default: what
            the file records); or in which ``minilm`` computes, float32, bfloat16 or float16 (default: float32).
    """

    encoder: str = "hashed"
    width: int = 0
    path: str = ""
    longest: int = 0
    windows: bool = False
    device: str = ""
    column: str = ""
    dtype: str = ""

    def __post_init__(self) -> None:
        """Build the encoder, which checks its options and that its package is installed."""
        _ = self._encoder

    # cached_property writes to __dict__, which a frozen dataclass allows
    @cached_property
    def _encoder(self) -> Encoder:
        encoder = open_sets.implementation("encoders", self.encoder)
        own = {"encoder", "column"}
        optional = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in own}
        options = {name: value for name, value in optional.items() if value}
        if unknown := sorted(set(options) - {f.name for f in fields(encoder)}):
            raise CurateError(f"encoder {self.encoder} has no option {unknown[0]!r}. Leave it out")
        built: Encoder = encoder(**options)
        return built

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The columns that the encoder reads."""
        return (self.column or column_of(self.encoder),)

    @cached_property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The column of vectors that it adds, with its type."""
        return {f"emb.{self.encoder}": pl.Array(pl.Float32, self._encoder.width)}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the vectors of a batch of n rows: one column of n arrays of length d."""
        vectors = encode(self._encoder, batch[self.needs[0]])
        (name, dtype), *_ = self.schema.items()
        return pl.DataFrame([pl.Series(name, vectors, dtype=dtype)])
