"""Encoders: texts, ids or images as vectors, one encoder a file; nothing is downloaded.

In: the values of one column. Out: (n, d) float32 vectors. May use: words, models, tables and lower floors.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from curate import open_sets

__all__ = ["Encoder", "column_of", "encode"]


class Encoder(Protocol):
    """An encoder: a frozen dataclass with its options as fields.

    A class variable ``column`` names the column that it reads by default; without it that is "text". An encoder is sent
    to every worker, so models and tables that it loads are kept outside of it.
    """

    @property
    def width(self) -> int:
        """Dimension d of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, d) float32 vectors, row i for text i; a vector does not depend on the other texts."""
        ...


def column_of(name: str) -> str:
    """Return the column that the encoder ``name`` reads by default."""
    column: str = getattr(open_sets.implementation("encoders", name), "column", "text")
    return column


def encode(encoder: Encoder, values: pl.Series) -> np.ndarray:
    """Return the (n, d) float32 vectors of a column of n values.

    A null text gets the zero vector, which is similar to no other vector. With the vector of the empty text, all null
    texts would be copies of each other.
    """
    if values.dtype != pl.String:
        return encoder.encode(values.to_list())
    vectors = np.array(encoder.encode(values.fill_null("").to_list()))
    vectors[values.is_null().to_numpy()] = 0
    return vectors
