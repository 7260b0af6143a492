"""Compute the hashes of the words of each text as a column. A job then splits every text into words only once.

In: batches of texts. Out: a column that is computed when the rows are first read. Scorers that learn from words read
it while they learn, and again while they score. Splitting a text costs several times as much as reading its hashes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from curate.tables.corpus import Corpus
from curate.words import ngrams
from curate.words.ngrams import Grams

COLUMN = "hashes.words"
# Hashes that are worked on at a time: 256 kB, about the words of a piece of text, so that arrays stay in the cache.
PIECE_WORDS = 1 << 15


@dataclass(frozen=True)
class WordHashes:
    """Computes the hashes of the words and marks of each text: a list for each row, empty for a null text."""

    needs = ("text",)
    schema = {COLUMN: pl.List(pl.UInt64())}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Split the texts of a batch."""
        values, counts = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)]
        for piece in ngrams.pieces(batch["text"]):
            words = ngrams.words(piece, marks=True)
            values.append(words.values)
            counts.append(words.counts)
        offsets = np.cumsum(np.concatenate(counts))
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values)))
        return pl.DataFrame({COLUMN: pl.Series(pl.from_arrow(lists))}, schema=dict(self.schema))


def needs(corpus: Corpus) -> tuple[str, ...]:
    """Return the column from which words are learned: their hashes if every part has them, else the texts."""
    computed = [getattr(part, "computed", frozenset[str]()) for part in corpus.parts]
    return (COLUMN,) if computed and all(COLUMN in names for names in computed) else ("text",)


def of_batch(batch: pl.DataFrame) -> Iterator[Grams]:
    """Yield the words and marks of a batch, some rows at a time, from the column or the texts."""
    if COLUMN not in batch.columns:
        for piece in ngrams.pieces(batch["text"]):
            yield ngrams.words(piece, marks=True)
        return
    lists = batch[COLUMN].rechunk().to_arrow()
    offsets, values = lists.offsets.to_numpy(), lists.values.to_numpy()
    start = 0
    while start < len(lists):
        end = int(np.searchsorted(offsets, offsets[start] + PIECE_WORDS, side="right")) - 1
        stop = min(max(start + 1, end), start + ngrams.PIECE_TEXTS, len(lists))
        yield Grams(values[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start])
        start = stop
