"""Count the words of texts by spaCy's rules for English: their hashes, sizes and kinds, without the texts.

In: a column of texts. Out: arrays with an entry for each word. May use: `words`.

A long text is split in parts, so that the working arrays stay small.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.words import ngrams
from curate.words.english.character_flags import ALPHABETIC, NOT_MARK
from curate.words.english.splitting import Words, split


@dataclass(frozen=True)
class WordTable:
    """The w words of n texts; text i has the words from ``offsets[i]`` up to ``offsets[i + 1]``.

    ``hashes`` (w,) uint64 are those of `hashes`, so that hashes of joined words follow from them. ``sizes`` (w,) int32
    are lengths in characters. ``alphabetic`` (w,) bool marks words with a letter, and ``visible`` (w,) bool those with
    a character that is no mark.
    """

    hashes: np.ndarray
    sizes: np.ndarray
    alphabetic: np.ndarray
    visible: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of words of each text, (n,) int64."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """Number of the text of each word, (w,) int64."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def of_texts(self, chosen: np.ndarray) -> "WordTable":
        """Return the table of the texts that ``chosen`` (n,) bool marks."""
        if chosen.all():
            return self
        keep = np.repeat(chosen, self.counts)
        offsets = np.concatenate(([0], np.cumsum(self.counts[chosen])))
        return WordTable(self.hashes[keep], self.sizes[keep], self.alphabetic[keep], self.visible[keep], offsets)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (w,) of the words of each text, (n,) int64."""
        before = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
        totals: np.ndarray = before[self.offsets[1:]] - before[self.offsets[:-1]]
        return totals


def word_table(texts: pl.Series) -> WordTable:
    """Return the words of a column of texts without nulls."""
    columns: list[list[np.ndarray]] = [[np.zeros(0, kind)] for kind in (np.uint64, np.int32, bool, bool)]
    counts = [np.zeros(1, np.int64)]
    for piece in ngrams.pieces(texts):
        if len(piece) == 1 and len(piece[0]) > ngrams.LONG:
            tables = [_table(split(pl.Series([part]))) for part in ngrams.long_text_parts(piece[0])]
            counts.append(np.array([sum(len(table.hashes) for table in tables)]))
        else:
            tables = [_table(split(piece))]
            counts.append(tables[0].counts)
        for table in tables:
            arrays = (table.hashes, table.sizes, table.alphabetic, table.visible)
            for column, values in zip(columns, arrays, strict=True):
                column.append(values)
        del tables
    # The parts of a column are freed when it is joined, so that only one column lies in memory twice.
    hashes, sizes, alphabetic, visible = (np.concatenate(columns.pop(0)) for _ in range(4))
    return WordTable(hashes, sizes, alphabetic, visible, np.cumsum(np.concatenate(counts)))


def _table(words: Words) -> WordTable:
    """Return the table of words that lie in one array of characters."""
    starts, ends = words.starts, words.ends
    # the properties that some character of a word has; every second part lies between two words
    flags = np.bitwise_or.reduceat(words.flags, np.stack((starts, ends), axis=1).ravel())[::2]
    return WordTable(
        hashes=words.hasher.hashes(starts, ends),
        sizes=(ends - starts).astype(np.int32),
        alphabetic=flags & ALPHABETIC > 0,
        visible=flags & NOT_MARK > 0,
        offsets=words.offsets,
    )
