"""Hashed bag of words and word pairs: an encoder with nothing to learn or download (Weinberger et al. 2009).

In: texts. Out: unit vectors of hashed counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

PATTERN = r"\w+|[^\w\s]"  # words and single punctuation marks, so that code and prose differ


@dataclass(frozen=True)
class Hashed:
    """Signed hashing of words and word pairs into buckets, square roots of the counts, unit length.

    An empty text is the zero vector.

    Options:
        width: number of buckets, the length of a vector (default 256).

    Source: Weinberger et al. 2009, arXiv 0902.2206.
    """

    width: int = 256

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        hasher = HashingVectorizer(
            n_features=self.width, ngram_range=(1, 2), token_pattern=PATTERN, norm=None, dtype=np.float32
        )
        counts = hasher.transform(texts).toarray()
        # the square root keeps frequent words from drowning the others
        damped = np.sign(counts) * np.sqrt(np.abs(counts))
        norms = np.linalg.norm(damped, axis=1, keepdims=True)
        return np.asarray(damped / np.where(norms > 0, norms, 1.0), dtype=np.float32)
