"""Pairs of equal keys and single linkage, against brute force."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.streaming import equal_keys, linkage
from curate.words import ngrams


@given(keys=st.lists(st.integers(0, 6), min_size=1, max_size=40), part=st.sampled_from([4, 8, 64]))
def test_pairs_are_all_pairs_with_equal_keys_in_any_parts(keys, part):
    hashed = ngrams.mix(np.array(keys, np.uint64))
    n = len(keys)
    priority = ngrams.mix(np.arange(n, dtype=np.uint64))
    alive = np.ones(n, bool)
    candidates = equal_keys.pairs(hashed, np.arange(n), priority, alive=alive, salt=1, part=part)
    candidates = equal_keys.pack(np.concatenate([np.zeros((0, 2), np.int64), *candidates]))
    distinct = [tuple(p) for block in equal_keys.distinct_pairs(candidates, n, part) for p in block.tolist()]
    assert distinct == [(a, b) for a, b in combinations(range(n), 2) if keys[a] == keys[b]]


def test_a_large_group_stays_connected_at_linear_cost(tmp_path):
    n = 5000
    alive, priority = np.ones(n, bool), ngrams.mix(np.arange(n, dtype=np.uint64))
    candidates = np.concatenate(
        list(equal_keys.pairs(np.zeros(n, np.uint64), np.arange(n), priority, alive=alive, salt=0))
    )
    assert len(candidates) <= equal_keys.WINDOW * n
    edges = np.empty(len(candidates), linkage.EDGE)
    edges["level"], edges["first"], edges["second"] = 0.9, candidates[:, 0], candidates[:, 1]
    assert len(linkage.single_linkage(edges, priority, tmp_path)[0]) == n - 1


@given(
    edges=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0])), max_size=20
    )
)
def test_one_row_of_every_component_is_left_at_every_level(tmp_path, edges):
    priority = ngrams.mix(np.arange(10, dtype=np.uint64))
    rows, levels = linkage.single_linkage(np.array([(w, a, b) for a, b, w in edges], linkage.EDGE), priority, tmp_path)
    assert len(set(rows.tolist())) == len(rows)
    for level in (0.0, 0.5, 0.6, 0.75, 0.9, 1.0):
        group = list(range(10))
        for first, second, weight in edges:
            if weight >= level:
                group = [group[first] if g == group[second] else g for g in group]
        gone = set(rows[levels >= level].tolist())
        remaining = [[i for i in range(10) if group[i] == g and i not in gone] for g in set(group)]
        first = [min((i for i in range(10) if group[i] == g), key=lambda i: priority[i]) for g in set(group)]
        assert remaining == [[i] for i in first]


def test_a_few_pairs_of_many_rows_are_distinct():
    pairs = np.array([[1, 2], [2, 1], [49_998, 49_999]])
    blocks = list(equal_keys.distinct_pairs(equal_keys.pack(pairs), 50_000))
    assert np.concatenate(blocks).tolist() == [[1, 2], [49_998, 49_999]]
