"""Hashed bag of words and word pairs: an encoder with nothing to learn or download (Weinberger et al. 2009).

In: texts. Out: unit vectors of hashed counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.words import ngrams

# A word counts four times as much as a word pair. Pairs tell texts apart that have the same words in another order.
# With equal weights they fill the buckets and hide the words: see the table of benchmarks/encoders/hashed_quality.py.
WORD_WEIGHT, PAIR_WEIGHT = 4.0, 1.0


@dataclass(frozen=True)
class Hashed:
    """Signed hashing of words and word pairs into buckets, square roots of the counts, unit length.

    Words are those of the duplicate scorer, in every script and without case; a run of punctuation is a word too, so
    that code and prose differ. A word counts four times as much as a pair of words. A text without a word is the zero
    vector.

    Options:
        width: number of buckets, the length of a vector (default 256).

    Source: Weinberger et al. 2009, arXiv 0902.2206.
    """

    width: int = 256

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        column = pl.Series(values=texts, dtype=pl.String)
        vectors = [self._vectors(piece) for piece in ngrams.pieces(column)]
        return np.concatenate([np.zeros((0, self.width), np.float32), *vectors])

    def _vectors(self, texts: pl.Series) -> np.ndarray:
        """Return the (n, width) float32 vectors of a column of texts without nulls."""
        words = ngrams.words(texts, marks=True)
        counts = WORD_WEIGHT * self._counts(words) + PAIR_WEIGHT * self._counts(ngrams.ngrams(words, 2))
        # The vector of square roots below has this length. It is exact, since all counts are whole numbers.
        norms = np.sqrt(np.abs(counts).sum(axis=1, keepdims=True))
        # The square root keeps frequent words from drowning the others.
        damped = np.copysign(np.sqrt(np.abs(counts)), counts)
        return np.asarray(damped / np.where(norms > 0, norms, 1), dtype=np.float32)

    def _counts(self, grams: ngrams.Grams) -> np.ndarray:
        """Return (n, width) float64 sums of the signs of the grams of each text in each bucket."""
        rows = len(grams.offsets) - 1
        # The upper half of a hash chooses the bucket, for any width, and its lowest bit the sign.
        buckets = ((grams.values >> np.uint64(32)) * np.uint64(self.width) >> np.uint64(32)).astype(np.int64)
        signs = 1.0 - 2.0 * (grams.values & np.uint64(1))
        sums = np.bincount(grams.owner * self.width + buckets, signs, rows * self.width)
        return sums.reshape(rows, self.width)
