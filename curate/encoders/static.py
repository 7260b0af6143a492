"""Static vectors: the mean over a text's tokens of vectors in a local table (GloVe, model2vec, word pieces)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import CurateError, SchemaError

TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Static:
    """Mean of the vectors of the tokens, unit length; a text without known tokens is the zero vector.

    ``path`` is a Parquet file with a column ``token`` and one of vectors (lists of numbers). Words and single marks are
    looked up as they are, then in lower case, then in pieces: the longest known beginning, then ``##`` and the longest
    of the rest (WordPiece). Words that cannot be put together are left out.
    """

    path: str = ""

    @property
    def width(self) -> int:
        """Dimension d of the vectors."""
        return int(_table(self.path)[1].shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        rows, vectors, pieces = _table(self.path)
        result = np.zeros((len(texts), vectors.shape[1]), np.float32)
        for i, text in enumerate(texts):
            known: list[int] = []
            for word in TOKEN.findall(text):
                if (found := pieces.get(word)) is None:
                    found = _pieces(word, rows)
                    if len(pieces) < 1 << 16:
                        pieces[word] = found
                known += found
            if known:
                mean = vectors[known].mean(axis=0, dtype=np.float64)
                result[i] = mean / (float(np.sqrt((mean**2).sum())) or 1.0)
        return result


def _pieces(word: str, rows: Mapping[str, int]) -> list[int]:
    """Return the rows of the table that make a word."""
    if (whole := rows.get(word, rows.get(word.lower()))) is not None:
        return [whole]
    word, found, start = word.lower(), list[int](), 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((e for e in range(len(word), start, -1) if mark + word[start:e] in rows), None)
        if end is None:
            return []
        found.append(rows[mark + word[start:end]])
        start = end
    return found


@lru_cache(maxsize=2)
def _table(path: str) -> tuple[dict[str, int], np.ndarray, dict[str, list[int]]]:
    """Return the row of each token, the (m, d) float32 vectors, and the words put together so far."""
    if not path:
        raise CurateError("encoder static needs a table of token vectors: give path=FILE.parquet")
    if not Path(path).is_file():
        raise SchemaError(f"no such file: {path}")
    frame = pl.read_parquet(path)
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    if frame.schema.get("token") != pl.String or len(lists) != 1 or not frame.height:
        raise SchemaError(f"{path} needs a column token (strings) and one of vectors; it has {frame.schema}")
    sizes = frame[lists[0]].list.len() if isinstance(frame.schema[lists[0]], pl.List) else pl.Series([1])
    if sizes.n_unique() != 1 or not sizes[0]:
        raise SchemaError(f"{path}: the vectors of {lists[0]} are not all of one length; make them alike")
    vectors = np.array(frame[lists[0]].to_list(), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise SchemaError(f"{path}: {lists[0]} is NaN or infinite in some rows: remove those tokens")
    return {token: i for i, token in enumerate(frame["token"].to_list())}, vectors, {}
