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
    tables = []
    for piece in ngrams.pieces(texts):
        if len(piece) == 1 and len(piece[0]) > ngrams.LONG:
            of_parts = [_table(split(pl.Series([part]))) for part in ngrams.long_text_parts(piece[0])]
            tables.append(_joined(of_parts, np.array([0, sum(len(table.hashes) for table in of_parts)])))
        else:
            tables.append(_table(split(piece)))
    before = np.cumsum([0, *(len(table.hashes) for table in tables)])
    shifted = [table.offsets[1:] + start for table, start in zip(tables, before[:-1], strict=True)]
    return _joined(tables, np.concatenate(([0], *shifted)))


def _table(words: Words) -> WordTable:
    """Return the table of words that lie in one array of characters."""
    kinds = words.flags & (ALPHABETIC | NOT_MARK)
    alphabetic = np.concatenate(([0], np.cumsum(kinds & ALPHABETIC > 0, dtype=np.int32)))
    visible = np.concatenate(([0], np.cumsum(kinds & NOT_MARK > 0, dtype=np.int32)))
    starts, ends = words.starts, words.ends
    return WordTable(
        hashes=words.hasher.hashes(starts, ends),
        sizes=(ends - starts).astype(np.int32),
        alphabetic=alphabetic[ends] > alphabetic[starts],
        visible=visible[ends] > visible[starts],
        offsets=words.offsets,
    )


def _joined(tables: list[WordTable], offsets: np.ndarray) -> WordTable:
    """Return tables one after the other, with other ``offsets``."""
    if len(tables) == 1:
        table = tables[0]
        return WordTable(table.hashes, table.sizes, table.alphabetic, table.visible, offsets)
    empty = WordTable(np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, bool), offsets)
    tables = tables or [empty]
    return WordTable(
        hashes=np.concatenate([table.hashes for table in tables]),
        sizes=np.concatenate([table.sizes for table in tables]),
        alphabetic=np.concatenate([table.alphabetic for table in tables]),
        visible=np.concatenate([table.visible for table in tables]),
        offsets=offsets,
    )
