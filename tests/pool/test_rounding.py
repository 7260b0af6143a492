"""Counts that add up: exact sums, nobody further than one from its part, whatever the shares."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.pool.rounding import apportion, down, round_to_sum, up

SHARES = st.lists(st.floats(0, 1e12) | st.floats(0, 1e-300) | st.just(0.0), min_size=1, max_size=12).filter(any)
TOTALS = st.integers(0, 10**18)


@given(SHARES, TOTALS)
def test_counts_sum_to_the_total_and_are_within_one_of_their_parts(shares, total):
    counts = apportion(shares, total)
    whole = sum(map(Fraction, shares))
    assert sum(counts) == total
    assert all(isinstance(count, int) for count in counts)
    for share, count in zip(shares, counts, strict=True):
        assert abs(count - Fraction(share) * total / whole) < 1
        assert share > 0 or count == 0


@given(SHARES, TOTALS)
def test_a_larger_share_never_gets_less(shares, total):
    counts = apportion(shares, total)
    pairs = sorted(zip(shares, counts, strict=True))
    for (less, few), (more, many) in zip(pairs, pairs[1:], strict=False):
        assert few <= many or less == more


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any))
def test_whole_parts_are_kept(counts):
    assert apportion(counts, sum(counts)) == counts


@given(SHARES, TOTALS, st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_scale_of_the_shares_does_not_matter(shares, total, scale):
    shares = [share if share > 1e-290 else 0.0 for share in shares] + [1.0]
    assert apportion([share * scale for share in shares], total) == apportion(shares, total)


def test_known_cases():
    assert apportion([1 / 3, 1 / 3, 1 / 3], 100) == [34, 33, 33], "equal remainders are served in order"
    assert apportion(np.array([0.5, 0.0, 0.5]), 3) == [2, 0, 1]
    assert apportion([0.47, 0.16, 0.158, 0.12, 0.061, 0.031], 10) == [5, 2, 1, 1, 1, 0]
    assert apportion([0.1] * 10, 10**18) == [10**17] * 10
    assert apportion([1.0], 0) == [0]


@pytest.mark.parametrize(
    ("shares", "total", "message"),
    [
        ([0.5, -0.5], 10, "share 1 of 2 is -0.5"),
        ([float("nan")], 10, "share 0 of 1 is nan"),
        ([float("inf"), 1.0], 10, "share 0 of 2 is inf"),
        ([0.0, 0.0], 10, "the 2 shares sum to 0"),
        ([], 10, "the 0 shares sum to 0"),
        ([1.0], -1, "-1 cannot be split"),
        ([1.0], 1.5, "1.5 cannot be split"),
    ],
)
def test_what_cannot_be_split_is_refused(shares, total, message):
    with pytest.raises(SchemaError, match=message):
        apportion(shares, total)


def by_largest_remainder(parts, total):
    """Largest remainders in floats with numpy, written apart from the package."""
    counts = np.floor(parts).astype(np.int64)
    counts[np.argsort(counts - parts, kind="stable")[: total - int(counts.sum())]] += 1
    return counts.tolist()


@given(st.lists(st.floats(0.001, 1) | st.sampled_from([0.1, 0.25, 0.5]), min_size=1, max_size=6), st.integers(0, 500))
def test_float_parts_are_rounded_as_they_are(shares, total):
    parts = np.array(shares) / np.sum(shares) * total
    counts = round_to_sum(parts, total)
    assert counts == by_largest_remainder(parts, total)
    assert sum(counts) == total
    assert (np.abs(np.array(counts) - parts) < 1 + 1e-9).all()


def test_a_tie_in_floats_goes_to_the_first_and_an_exact_one_need_not():
    assert round_to_sum(np.array([0.9, 0.1]) * 5, 5) == [5, 0]
    assert apportion([0.9, 0.1], 5) == [4, 1], "0.1 as a float is a little more than a tenth"


@given(st.floats(1e-12, 1e12), st.integers(1, 6))
def test_advice_is_rounded_to_the_side_asked_for(value, digits):
    low, high = down(value, digits), up(value, digits)
    assert low * (1 - 1e-8) <= value <= high * (1 + 1e-8)
    assert high - low <= 1.0001 * 10.0 ** (np.floor(np.log10(value)) - digits + 1)
    assert down(0.0, digits) == 0.0
    assert (up(0.15, 4), down(0.15, 4), up(2 / 3, 4), down(2 / 3, 4)) == (0.15, 0.15, 0.6667, 0.6666)
