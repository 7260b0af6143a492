"""Hashed bag of words and word pairs (Weinberger et al. 2009): an encoder with nothing to learn or download."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

PATTERN = r"\w+|[^\w\s]"  # words and single punctuation marks, so that code and prose differ


@dataclass(frozen=True)
class Hashed:
    """Signed feature hashing of word 1- and 2-grams into ``width`` buckets, square-root damped, unit length.

    An empty text is the zero vector.
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
        damped = np.sign(counts) * np.sqrt(np.abs(counts))
        norms = np.linalg.norm(damped, axis=1, keepdims=True)
        return np.asarray(damped / np.where(norms > 0, norms, 1.0), dtype=np.float32)
