"""Spearman's rank correlation: equal to scipy's, and the same for any order and any batches, also of a sample."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from curate.streaming import rank_correlation
from curate.streaming.rank_correlation import RankSample


def measured(first, second, batch: int, order=None):
    ids = np.array([f"r{i}" for i in range(len(first))])
    order = np.arange(len(first)) if order is None else order
    sample = RankSample(len(first))
    for start in range(0, len(first), batch):
        rows = order[start : start + batch]
        rank_correlation.add(sample, pl.Series(ids[rows]), first[rows], second[rows])
    return rank_correlation.spearman(sample), sample.size


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_all_rows_as_scipy_does_with_and_without_ties(digits):
    rng = np.random.default_rng(digits)
    tokens = rng.integers(1, 50, 400)
    score = (0.1 * tokens + rng.normal(size=400)).round(digits)
    expected = spearmanr(score, tokens).statistic
    for batch in (7, 400):
        assert measured(score, tokens, batch) == (pytest.approx(expected, abs=1e-12), 400)


def test_by_hand():
    """Ranks 1 2.5 2.5 4 and 1 2 3 4: differences 0 .5 .5 0, variances 4.5 and 5, product 4.5."""
    value, _ = measured(np.array([1.0, 2.0, 2.0, 9.0]), np.array([1, 2, 3, 4]), 4)
    assert value == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert measured(np.arange(9.0), -np.arange(9), 4)[0] == -1
    assert measured(np.array([0.0, -0.0, 1.0]), np.array([1, 1, 2]), 4)[0] == 1


def test_a_constant_or_empty_column_has_none():
    assert measured(np.ones(5), np.arange(5), 5)[0] is None
    assert measured(np.arange(5.0), np.ones(5, dtype=np.int64), 5)[0] is None
    assert rank_correlation.spearman(RankSample(0)) is None


def test_a_sample_is_the_same_for_every_order_and_near_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 1000, 20_000)
    score = tokens + 400 * rng.normal(size=20_000)
    whole = spearmanr(score, tokens).statistic
    monkeypatch.setattr(rank_correlation, "SAMPLE", 1000)
    value, size = measured(score, tokens, 20_000)
    assert size == 1000
    assert value == pytest.approx(whole, abs=0.05)
    for batch, seed in ((33, 1), (1000, 2), (4096, 3)):
        assert measured(score, tokens, batch, np.random.default_rng(seed).permutation(20_000)) == (value, size)


def test_rows_of_one_id_do_not_fill_the_memory(monkeypatch):
    """The ids are all equal, so no hash parts the rows; the sample stays bounded, and does not depend on the order."""
    monkeypatch.setattr(rank_correlation, "SAMPLE", 100)
    numbers = np.random.default_rng(0).permutation(5000)
    values = set()
    for order in (numbers, np.sort(numbers)):
        sample = RankSample(5000)
        for part in order.reshape(50, 100):
            rank_correlation.add(sample, pl.Series(["x"] * 100), part.astype(float), part)
            assert sum(len(keys) for keys, *_ in sample.parts) <= 200
        values.add(rank_correlation.spearman(sample))
    assert len(values) == 1
