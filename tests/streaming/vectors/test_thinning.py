"""Thinning by likeness: the chain worked by hand, and what holds at every limit, against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.streaming.vectors.thinning import largest_cosine, levels, staying

NONE = np.zeros((0, 2), np.float32)


def thin(rows, others, limit):
    """The cosine at which each row goes, 0 for a row that stays; ``others`` stay in any case."""
    result = np.zeros(len(rows))
    free = largest_cosine(rows, others) <= limit
    stays = np.flatnonzero(free)[staying(rows[free], limit)]
    goes = np.setdiff1d(np.arange(len(rows)), stays)
    best = np.maximum(largest_cosine(rows[goes], others), largest_cosine(rows[goes], rows[stays]))
    result[goes] = levels(rows[goes], best)
    return result


def circle(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_in_a_chain_the_far_end_stays():
    """a, b, c at 0, 14.3 and 28.6 degrees: cos .969, .969, .878; the limit is .95. Released code drops c too."""
    levels = thin(circle(0, 14.3, 28.6), NONE, 0.95)
    assert levels.tolist() == [0, pytest.approx(np.cos(np.radians(14.3)), abs=1e-6), 0]
    assert thin(circle(14.3, 0, 28.6), NONE, 0.95).astype(bool).tolist() == [False, True, True]


def test_rows_kept_elsewhere_count_and_copies_go_at_one():
    assert thin(circle(10, 90), circle(12), 0.95).tolist() == [pytest.approx(np.cos(np.radians(2)), abs=1e-6), 0]
    assert thin(circle(30, 30, 30), NONE, 0.5).tolist() == [0, 1, 1]


def test_levels_of_a_fan_by_hand():
    """At limit cos 40: 0 stays. Of 10, 25, 35 the farthest, 35, goes last (level cos 35); then 25 or 10 at 10 or 15."""
    levels = np.degrees(np.arccos(thin(circle(0, 10, 25, 35), NONE, float(np.cos(np.radians(40))))))
    assert levels == pytest.approx([90, 10, 10, 35], abs=1e-3)


def plain_greedy(rows, limit):
    kept = []
    for j in range(len(rows)):
        if all(rows[i].astype(float) @ rows[j] <= limit for i in kept):
            kept.append(j)
    return kept


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.6, 0.9]), st.integers(2, 6))
def test_what_is_promised_holds_at_every_limit(seed, limit, width):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, width)) + 2 * rng.normal(size=(4, width))[rng.integers(0, 4, 60)]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    levels = thin(rows, np.zeros((0, width), np.float32), limit)
    assert np.flatnonzero(levels == 0).tolist() == plain_greedy(rows, limit)
    cosine = rows.astype(float) @ rows.T.astype(float)
    for t in np.linspace(limit, 0.9999, 7):
        kept = levels <= t
        inside = cosine[kept][:, kept] - 2 * np.eye(kept.sum())
        assert (inside <= t + 1e-6).all()
        assert kept.all() or (cosine[~kept][:, kept].max(axis=1) > t - 1e-6).all()


def test_blocks_do_not_change_what_stays(monkeypatch):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    whole = thin(rows, rows[:7] * -1, 0.98)
    monkeypatch.setattr("curate.streaming.vectors.thinning.BLOCK", 16)
    assert thin(rows, rows[:7] * -1, 0.98) == pytest.approx(whole, abs=1e-6)
