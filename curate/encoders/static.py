"""Static vectors: the mean over a text's tokens of vectors in a local table (GloVe, model2vec, word pieces).

In: texts. Out: unit vectors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import CurateError, SchemaError

TOKEN = re.compile(r"\w+|[^\w\s]")
CACHED_WORDS = 1 << 16  # words whose pieces are remembered; most words of a text are among the frequent ones
LONGEST_CACHED = 100  # letters: longer strings are rarely words and rarely repeat, so they are not cached


@dataclass(frozen=True)
class Static:
    """The mean of the vectors of a text's tokens, at unit length.

    Words and single marks are looked up as they are, then in lower case, then in pieces: the longest beginning that the
    table has, then ``##`` and the longest beginning of the rest (WordPiece). Words that cannot be put together are left
    out; a text without any token of the table is the zero vector.

    Options:
        path: a Parquet file with a column ``token`` and one column of vectors, lists of numbers (required).
    """

    path: str = ""

    @property
    def width(self) -> int:
        """Length d of the vectors."""
        return int(_table(self.path).vectors.shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        table = _table(self.path)
        result = np.zeros((len(texts), table.vectors.shape[1]), np.float32)
        for i, text in enumerate(texts):
            rows: list[int] = []
            for word in TOKEN.findall(text):
                if (word_rows := table.cache.get(word)) is None:
                    word_rows = _pieces(word, table)
                    if len(table.cache) < CACHED_WORDS and len(word) <= LONGEST_CACHED:
                        table.cache[word] = word_rows
                rows += word_rows
            if rows:
                mean = table.vectors[rows].mean(axis=0, dtype=np.float64)
                result[i] = mean / (float(np.sqrt((mean**2).sum())) or 1.0)
        return result


@dataclass(frozen=True)
class PieceIndex:
    """The pieces that can begin a word, or those that can continue one (written without ``##``).

    It maps each piece to its row of the table, and lists the lengths of pieces, the longest first. Only these lengths
    are looked up, so the time for a word is linear in its number of letters.
    """

    row_of: Mapping[str, int]
    lengths: Sequence[int]


@dataclass(frozen=True)
class TokenTable:
    """The pieces of words, their (m, d) float32 ``vectors``, and a ``cache`` of the rows of words."""

    beginnings: PieceIndex
    continuations: PieceIndex
    vectors: np.ndarray
    cache: dict[str, list[int]]


def _pieces(word: str, table: TokenTable) -> list[int]:
    """Return the rows of the table that make a word, none if it cannot be put together."""
    whole = table.beginnings.row_of
    if (row := whole.get(word, whole.get(word.lower()))) is not None:
        return [row]
    word, rows, start = word.lower(), list[int](), 0
    while start < len(word):
        pieces = table.continuations if start else table.beginnings
        for length in pieces.lengths:
            if start + length <= len(word) and (row := pieces.row_of.get(word[start : start + length])) is not None:
                break
        else:
            return []
        rows.append(row)
        start += length
    return rows


# a table is kept for the process, outside the encoder, which is sent to every worker
@lru_cache(maxsize=2)
def _table(path: str) -> TokenTable:
    if not path:
        raise CurateError("encoder static needs a table of token vectors. Give path=FILE.parquet")
    if not Path(path).is_file():
        raise SchemaError(f"no such file: {path}")
    frame = pl.read_parquet(path)
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    if frame.schema.get("token") != pl.String or len(lists) != 1 or not frame.height:
        raise SchemaError(
            f"{path} needs a column token (strings) and one column of vectors; it has {dict(frame.schema)}"
        )
    sizes = frame[lists[0]].list.len() if isinstance(frame.schema[lists[0]], pl.List) else pl.Series([1])
    if sizes.n_unique() != 1 or not sizes[0]:
        raise SchemaError(f"{path}: the vectors of {lists[0]} have different lengths. Make all equally long")
    vectors = np.array(frame[lists[0]].to_list(), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise SchemaError(f"{path}: {lists[0]} is NaN or infinite in some rows. Remove those tokens")
    row_of = {token: i for i, token in enumerate(frame["token"].to_list())}
    rest = {token.removeprefix("##"): i for token, i in row_of.items() if token.startswith("##")}
    return TokenTable(_as_pieces(row_of), _as_pieces(rest), vectors, {})


def _as_pieces(row_of: Mapping[str, int]) -> PieceIndex:
    # an empty piece would match for ever, so it is left out
    return PieceIndex(row_of, sorted({len(piece) for piece in row_of} - {0}, reverse=True))
