"""Static vectors: the mean over a text's tokens of vectors in a local table (GloVe, model2vec, word pieces).

In: texts. Out: unit vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from curate.errors import CurateError, SchemaError
from curate.words import ngrams

# Words and single marks: ``\w+|[^\w\s]`` of Python's ``re``, in the classes of polars' regular expressions. These count
# combining marks as parts of words and U+001C to U+001F as no spaces, which Python does not.
TOKEN = r"[\p{L}\p{N}_]+|[^\p{L}\p{N}_\s\x1c-\x1f]"
BATCH = 1 << 22  # bytes of text worked on together: preparing the search for 30,000 pieces takes .06 s
BOUNDARY = " "  # stands before a word while its pieces are searched; no token of a text holds it
CONTINUES = "##"  # stands before a piece that continues a word


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
        column = pl.Series(values=texts, dtype=pl.String)
        vectors = [_means(piece, table) for piece in ngrams.pieces(column, BATCH)]
        return np.concatenate([np.zeros((0, table.vectors.shape[1]), np.float32), *vectors])


@dataclass(frozen=True)
class TokenTable:
    """Tokens with their (m, d) float32 ``vectors``.

    ``rows`` has the columns ``word`` and ``rows``, a list of the one row of a token. ``pieces`` holds one list: the
    pieces of words, the longest first. ``piece_rows`` has the columns ``piece`` and ``rows``. A piece that can begin a
    word starts with BOUNDARY. One that can continue a word is written without ``##``.
    """

    rows: pl.DataFrame
    pieces: pl.Series
    piece_rows: pl.DataFrame
    vectors: np.ndarray


def _means(texts: pl.Series, table: TokenTable) -> np.ndarray:
    """Return the (n, d) float32 unit vectors of a column of texts without nulls."""
    words = texts.str.extract_all(TOKEN)
    frame = words.explode(empty_as_null=False).alias("word").to_frame()
    distinct = frame.unique(maintain_order=True).with_row_index("number")
    numbers = frame.join(distinct, on="word", how="left", maintain_order="left")["number"].to_numpy()
    counts = _counted(numbers, words.list.len().to_numpy(), distinct.height) @ _rows_of(distinct, table)
    # A sum then has one order of its parts, whatever the other texts are.
    counts.sort_indices()
    tokens = counts.sum(axis=1)
    # Only the rows that occur are widened to float64: the whole table would take twice its memory.
    present = np.unique(counts.indices)
    counts = csr_array(
        (counts.data, np.searchsorted(present, counts.indices), counts.indptr), (len(texts), len(present))
    )
    means = (counts @ table.vectors[present].astype(np.float64)) / np.maximum(tokens, 1)[:, None]
    norms = np.sqrt((means**2).sum(axis=1, keepdims=True))
    return np.asarray(means / np.where(norms > 0, norms, 1), dtype=np.float32)


def _counted(numbers: np.ndarray, lengths: np.ndarray, distinct: int) -> csr_array:
    """Return how often each of w distinct words occurs in each of n texts, (n, w).

    ``numbers`` are the words of all texts, one text after the other, and ``lengths`` (n,) their counts.
    """
    keys = np.sort(np.repeat(np.arange(len(lengths)), lengths) * distinct + numbers)
    starts = np.flatnonzero(np.concatenate((keys[:1] >= 0, keys[1:] != keys[:-1])))
    texts, columns = np.divmod(keys[starts], max(distinct, 1))
    counts = np.diff(np.append(starts, len(keys))).astype(np.float64)
    ends = np.searchsorted(texts, np.arange(len(lengths) + 1))
    return csr_array((counts, columns, ends), (len(lengths), distinct))


def _rows_of(words: pl.DataFrame, table: TokenTable) -> csr_array:
    """Return how often each of m rows of the table is in each of w distinct words, (w, m).

    A word of the table is one row. Any other is put together from pieces.
    """
    unknown = words.join(table.rows, on="word", how="anti").select("word")
    lookup = pl.concat([table.rows, _put_together(unknown, table)])
    rows = words.join(lookup, on="word", how="left", maintain_order="left")["rows"]
    ends = np.concatenate(([0], np.cumsum(rows.list.len().to_numpy(), dtype=np.int64)))
    flat = rows.explode(empty_as_null=False).to_numpy().astype(np.int64)
    return csr_array((np.ones(len(flat)), flat, ends), (words.height, len(table.vectors)))


def _put_together(words: pl.DataFrame, table: TokenTable) -> pl.DataFrame:
    """Return the columns ``word`` and ``rows`` of distinct words that the table has in lower case, or in pieces.

    A word that cannot be put together has an empty list of rows.
    """
    lowered = words.with_columns(lower=pl.col("word").str.to_lowercase())
    whole = lowered.join(table.rows.rename({"word": "lower"}), on="lower", maintain_order="left")
    rest = lowered.join(whole, on="word", how="anti").with_columns(marked=BOUNDARY + pl.col("lower"))
    if not rest.height:
        return whole.select("word", "rows")
    # Of the pieces that match at a place, the first of the list is taken, and so the longest.
    rest = rest.with_columns(rest["marked"].str.extract_many(table.pieces, leftmost=True).alias("piece"))
    # Where no piece fits, the search goes on at a later letter, and the pieces do not cover the word.
    covered = pl.col("piece").list.eval(pl.element().str.len_bytes()).list.sum() == pl.col("marked").str.len_bytes()
    exploded = rest.filter(covered).explode("piece").join(table.piece_rows, on="piece", maintain_order="left")
    pieced = exploded.group_by("word", maintain_order=True).agg("rows")
    without = rest.join(pieced, on="word", how="anti").select("word", rows=pl.lit([], pl.List(pl.UInt32)))
    return pl.concat([whole.select("word", "rows"), pieced, without])


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
    vectors = _matrix(frame[lists[0]], path)
    # Of equal tokens the last counts. Null and empty tokens match nothing.
    tokens = frame.select(word="token").with_row_index("row").filter(pl.col("word").str.len_bytes() > 0)
    tokens = tokens.unique("word", keep="last", maintain_order=True)
    is_rest = pl.col("word").str.starts_with(CONTINUES)
    continuing = tokens.filter(is_rest).select("row", piece=pl.col("word").str.strip_prefix(CONTINUES))
    # Without pieces that continue a word no word is put together.
    beginning = tokens.filter(pl.lit(continuing.height > 0)).select("row", piece=BOUNDARY + pl.col("word"))
    pieces = pl.concat([beginning, continuing]).filter(pl.col("piece").str.len_bytes() > 0)
    # A piece with another boundary inside would match where no word begins.
    pieces = pieces.filter(pl.col("piece").str.contains(f".{BOUNDARY}|^{BOUNDARY}$").not_())
    longest_first = pieces.sort(pl.col("piece").str.len_bytes(), descending=True, maintain_order=True)["piece"]
    rows = tokens.select("word", rows=pl.concat_list("row"))
    return TokenTable(rows, longest_first.implode(), pieces.select("piece", rows="row"), vectors)


def _matrix(column: pl.Series, path: str) -> np.ndarray:
    """Return the (m, d) float32 vectors of a column of lists of numbers."""
    sizes = (column.list if isinstance(column.dtype, pl.List) else column.arr).len()
    if sizes.n_unique() != 1 or not sizes[0]:
        raise SchemaError(f"{path}: the vectors of {column.name} have different lengths. Make all equally long")
    numbers = column.explode(empty_as_null=False)
    if not numbers.dtype.is_numeric():
        raise SchemaError(
            f"{path}: {column.name} holds {numbers.dtype}, not numbers. Store vectors as lists of float32"
        )
    vectors = numbers.cast(pl.Float32).to_numpy().reshape(len(column), sizes[0])
    if not np.isfinite(vectors).all():
        raise SchemaError(f"{path}: {column.name} is NaN or infinite in some rows. Remove those tokens")
    return vectors
