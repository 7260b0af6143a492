"""Pairs of equal keys and single linkage, against brute force."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.streaming import equal_keys, linkage

EDGES = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda edge: edge[0] < edge[1]),
    st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0]),
    max_size=20,
)


def groups(edges, rows=10):
    """The smallest row that each row is connected with."""
    group = list(range(rows))
    for first, second in edges:
        low, high = sorted((group[first], group[second]))
        group = [low if g == high else g for g in group]
    return group


def arrays(edges):
    return np.array(list(edges), np.int64).reshape(-1, 2), np.array(list(edges.values()), np.float64)


@given(st.lists(st.integers(0, 6), max_size=40))
def test_pairs_are_all_pairs_with_equal_keys(keys):
    keys = np.sort(np.array(keys, np.uint64))
    starts = equal_keys.group_starts(keys)
    pairs = [tuple(pair) for block in equal_keys.pairs(starts, len(keys)) for pair in block.tolist()]
    assert sorted(pairs) == [(a, b) for a, b in combinations(range(len(keys)), 2) if keys[a] == keys[b]]


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 5))
def test_large_groups_are_cut(keys, most):
    keys = np.sort(np.array(keys, np.uint64))
    parts = equal_keys.cut(equal_keys.group_starts(keys), len(keys), most)
    pieces = np.split(keys, parts[1:]) if len(keys) else []
    assert all(len(piece) <= most and len(set(piece.tolist())) == 1 for piece in pieces)
    assert len(pieces) == sum(-(-int((keys == key).sum()) // most) for key in set(keys.tolist()))


def test_a_large_group_stays_connected_at_linear_cost():
    n = 5000
    pairs = np.concatenate(list(equal_keys.pairs(np.zeros(1, np.int64), n)))
    assert len(pairs) <= equal_keys.WINDOW * n
    assert len(linkage.single_linkage(pairs, np.full(len(pairs), 0.9), n)[0]) == n - 1


@given(EDGES)
def test_one_row_of_every_component_is_left_at_every_level(edges):
    rows, levels = linkage.single_linkage(*arrays(edges), 10)
    assert len(set(rows.tolist())) == len(rows)
    for level in (0.0, 0.5, 0.6, 0.75, 0.9, 1.0):
        group = groups(edge for edge, weight in edges.items() if weight >= level)
        gone = set(rows[levels >= level].tolist())
        assert [i for i in range(10) if i not in gone] == sorted(set(group))


@given(EDGES)
def test_a_forest_keeps_what_is_connected_at_every_level(edges):
    pairs, levels = arrays(edges)
    forest = linkage.spanning_forest(pairs, levels, 10)
    assert (np.diff(levels[forest]) <= 0).all()
    for level in (0.0, 0.5, 0.75, 0.9, 1.0):
        whole = groups(pairs[levels >= level].tolist())
        assert groups(pairs[forest][levels[forest] >= level].tolist()) == whole
    assert len(forest) == 10 - len(set(groups(pairs.tolist())))


@given(EDGES)
def test_components_are_those_of_brute_force(edges):
    pairs, _ = arrays(edges)
    numbers, group = linkage.components(pairs, 10), groups(pairs.tolist())
    assert all((numbers[a] == numbers[b]) == (group[a] == group[b]) for a, b in combinations(range(10), 2))
