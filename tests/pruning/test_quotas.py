"""Allocators against hand-worked cases, brute force and their own optimality conditions."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.pruning import quotas

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=9)


def test_water_filling_by_hand():
    assert quotas.even(np.array([2, 10, 30]), 18).tolist() == [2, 8, 8]
    assert quotas.even(np.array([2, 10, 30]), 26).tolist() == [2, 10, 14]
    assert quotas.even(np.array([5, 5, 5]), 10).tolist() == [4, 3, 3]
    assert quotas.even(np.array([5, 0, 5]), 0).tolist() == [0, 0, 0]


def test_weights_by_hand():
    """12 by 3 to 1 is 9 and 3; a full group's rest goes to the others; weight 0 comes last."""
    assert quotas.weighted(np.array([3.0, 1.0]), np.array([20, 20]), 12).tolist() == [9, 3]
    assert quotas.weighted(np.array([3.0, 1.0]), np.array([5, 20]), 12).tolist() == [5, 7]
    assert quotas.weighted(np.array([0.0, 1.0]), np.array([5, 8]), 10).tolist() == [2, 8]


def test_counts_beyond_what_rounding_can_tell_still_sum():
    """A third of 10^12 + 1 rows: the rounding error that counts as whole is larger than the remainder."""
    counts = quotas.even(np.array([10**12] * 3), 10**12 + 1)
    assert counts.tolist() == [333_333_333_334, 333_333_333_334, 333_333_333_333]


@given(sizes=SIZES, data=st.data())
def test_weighted_counts_are_whole_exact_and_level(sizes, data):
    n = np.array(sizes)
    weights = np.array(data.draw(st.lists(st.floats(0.1, 5), min_size=len(n), max_size=len(n))))
    total = data.draw(st.integers(0, int(n.sum())))
    x = quotas.weighted(weights, n, total)
    assert x.sum() == total
    assert ((x >= 0) & (x <= n)).all()
    open_ = x < n
    if open_.any():  # nobody has more than one row above the level of a group that could take more
        assert ((x - 1) / weights <= ((x + 1) / weights)[open_].min() + 1e-6).all()


def test_the_quadratic_programme_by_hand():
    """10 rows wanted as 5 3 2 of sizes 4 9 9: the first is full, and the other two share its row evenly."""
    assert quotas.quadratic(np.array([0.5, 0.3, 0.2]), np.array([4, 90, 90]), 10).tolist() == [4, 4, 2]
    assert quotas.quadratic(np.array([1.0, 0.0, 0.0]), np.array([90, 90, 90]), 10).tolist() == [8, 1, 1]
    assert quotas.quadratic(np.array([1.0, 0.0, 0.0]), np.array([90, 0, 90]), 10, least=3).tolist() == [7, 0, 3]
    assert quotas.quadratic(np.array([0.5, 0.5]), np.array([3, 3]), 6).tolist() == [3, 3]


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), data=st.data())
def test_the_quadratic_programme_is_within_rounding_of_the_best_whole_counts(sizes, data):
    n, least = np.array(sizes), data.draw(st.integers(0, 2))
    raw = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=len(n), max_size=len(n))))
    shares, low = raw / raw.sum(), np.minimum(least, n)
    total = data.draw(st.integers(int(low.sum()), int(n.sum())))
    x = quotas.quadratic(shares, n, total, least=least)
    assert x.sum() == total
    assert ((x >= low) & (x <= n)).all()

    def value(y):
        return 0.5 * np.sum(np.square(y)) - total * shares @ y

    grid = product(*(range(a, b + 1) for a, b in zip(low.tolist(), n.tolist(), strict=True)))
    best = min(value(np.array(y)) for y in grid if sum(y) == total)
    assert value(x) <= best + 1e-9


@given(sizes=SIZES, data=st.data())
def test_strata_budgets_sum_and_serve_the_smallest_whole(sizes, data):
    n = np.array(sizes)
    total = data.draw(st.integers(0, int(n.sum())))
    x = quotas.strata(n, total)
    assert x.sum() == total
    assert ((x >= 0) & (x <= n)).all()
    assert (x[n <= total // len(n)] == n[n <= total // len(n)]).all()


def test_strata_budgets_by_hand():
    assert quotas.strata(np.array([1, 100, 10, 0]), 40).tolist() == [1, 29, 10, 0]
    assert quotas.strata(np.array([7, 7, 7]), 10).tolist() == [3, 3, 4]


@pytest.mark.parametrize("values", [[0.0, 1.0, 50.0], [-3.0, -2.0, -1.0], [-1e308, 0.0, 1e308]])
def test_the_largest_score_has_a_stratum(values):
    stratum = quotas.stratum(np.array(values), min(values), max(values))
    assert stratum[0] == 0
    assert stratum[-1] == 49
    assert quotas.stratum(np.array([2.0, 2.0]), 2.0, 2.0).tolist() == [0, 0]


def test_scores_far_outside_the_range_are_in_the_first_or_last_stratum():
    """Trimmed scores are; no cast may overflow."""
    assert quotas.stratum(np.array([-1e300, 0.5, 1e300]), 0.0, 1e-3).tolist() == [0, 49, 49]


def test_softmax_in_units_of_the_values():
    """exp(.245 / .1) = 11.59: the odds of two complexities at the temperature of the issue. No mean is taken off."""
    low, high = quotas.softmax(np.array([0.05, 0.295]), 0.1)
    assert high / low == pytest.approx(np.exp(2.45))
    assert low + high == pytest.approx(1)
    assert quotas.softmax(np.array([5.0, 5.0, 5.0]), 0.1).tolist() == pytest.approx([1 / 3] * 3)
    assert quotas.softmax(np.array([-1e308, 0.0, 1e308]), 1e-300).tolist() == [0, 0, 1]


def by_recall(recall, sizes, total):
    return quotas.by_recall(1 - np.array(recall), np.array(sizes), total).tolist()


def test_quotas_by_recall_as_the_authors_code_gives_them():
    """Computed with their code. 1140 / 1.45 is 786 rows for each missed example; classes 4 and 5 are full."""
    assert by_recall([0.95, 0.6, 0.8, 0.3, 0.9], [2000, 1000, 500, 250, 50], 1140) == [64, 515, 257, 250, 50]


def test_quotas_by_recall_by_hand():
    assert by_recall([0.9, 0.8], [1000, 1000], 300) == [100, 200]  # 1 to 2, with 1 - .9 just below .1 in binary
    assert by_recall([0.5, 0.0], [100, 40], 90) == [50, 40]  # 30 and 60: 20 rows too many go to the first
    assert by_recall([0.5, 0.5], [3, 3], 6) == [3, 3]
    assert by_recall([0.5, 0.5, 0.5], [9, 9, 9], 10) == [3, 3, 3]  # rounded down, one row is not handed out
    # The second class has no rows. Its 2 of 8 are shared 1 to 2 and rounded down: 0 and 1.
    assert by_recall([0.5, 0.5, 0.0], [9, 0, 9], 8) == [2, 0, 5]


def test_classes_of_recall_one_come_last():
    assert by_recall([1.0, 1.0, 1.0], [10, 20, 3], 9) == [3, 3, 3]
    assert by_recall([1.0, 1.0, 0.5], [10, 20, 3], 9) == [3, 3, 3]
    assert by_recall([1.0, 1.0, 0.5], [2, 20, 3], 9) == [2, 4, 3]
    assert by_recall([1.0, 0.5], [10, 20], 9) == [0, 9]


@given(sizes=SIZES, data=st.data())
def test_quotas_by_recall_lose_fewer_than_two_rows_a_class(sizes, data):
    n = np.array(sizes)
    recall = data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.95, 1.0]), min_size=len(n), max_size=len(n)))
    total = data.draw(st.integers(0, int(n.sum())))
    counts = quotas.by_recall(1 - np.array(recall), n, total)
    assert ((counts >= 0) & (counts <= n)).all()
    assert 0 <= total - counts.sum() < 2 * len(n)


def test_what_cannot_be_given_is_one_line():
    with pytest.raises(SchemaError, match="11 rows are to be kept, and there are only 10"):
        quotas.even(np.array([4, 6]), 11)
    with pytest.raises(SchemaError, match="6 rows are needed for at least 3 of each of 2 groups, and 5 are kept"):
        quotas.quadratic(np.array([0.5, 0.5]), np.array([4, 6]), 5, least=3)
