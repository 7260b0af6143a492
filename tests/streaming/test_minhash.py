"""MinHash against its theory, and similarities against Python sets."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from word_sets import jaccard

from curate.streaming import minhash
from curate.words import ngrams
from curate.words.ngrams import Grams

RNG = np.random.default_rng(0)


def planted(similarity, pairs, size=200):
    """Two lists of sets whose Jaccard similarity is exactly the one returned."""
    shared = round(2 * size * similarity / (1 + similarity))
    members = RNG.integers(0, 1 << 63, (pairs, 2 * size - shared)).astype(np.uint64)
    offsets = np.arange(pairs + 1) * size
    sides = Grams(members[:, :size].ravel(), offsets), Grams(members[:, -size:].ravel(), offsets)
    return *sides, shared / (2 * size - shared)


@pytest.mark.parametrize("similarity", [0.5, 0.75, 0.9])
def test_minima_agree_with_the_probability_of_the_theory(similarity):
    first, second, exact = planted(similarity, 3000)
    both = Grams(
        np.concatenate([first.values, second.values]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
    )
    pairs = np.stack([np.arange(500), np.arange(3000, 3500)], axis=1)
    # At most 4,096 sets are made distinct at a time; these sets are distinct, and only have to be sorted.
    members = np.sort(both.values.reshape(6000, 200) & minhash.MEMBER, axis=1).ravel()
    assert np.allclose(minhash.jaccard(Grams(members, both.offsets), pairs), exact)
    rows = minhash.band_keys(first, 112, 1, 0) == minhash.band_keys(second, 112, 1, 0)
    assert abs(rows.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / rows.size)
    shared = minhash.band_keys(first, 14, 8, 0) == minhash.band_keys(second, 14, 8, 0)
    theory = 1 - (1 - exact**8) ** 14
    error = 4 * np.sqrt(theory * (1 - theory) / 3000) + 1e-3
    for half in (shared[:, :14], shared[:, 14:]):  # lines of the table of minima, then its diagonals
        assert abs(half.any(axis=1).mean() - theory) < error
    assert theory + (1 - theory) * theory / 2 < shared.any(axis=1).mean() + error


def test_similarity_is_that_of_python_sets(monkeypatch):
    texts = [" ".join(RNG.choice(list("abcdef"), RNG.integers(1, 30))) for _ in range(40)]
    sets = minhash.distinct_members(ngrams.ngrams(ngrams.words(pl.Series(texts)), 5, short=True))
    pairs = np.array(list(combinations(range(40), 2)))
    exact = [jaccard(texts[a], texts[b]) for a, b in pairs]
    assert np.array_equal(minhash.jaccard(sets, pairs), exact)
    monkeypatch.setattr(minhash, "BLOCK", 50)
    assert np.array_equal(minhash.jaccard(sets, pairs), exact)
    assert minhash.jaccard(sets, pairs[:0]).tolist() == []
