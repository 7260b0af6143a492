"""The types of JSON columns: of plain values, of nested ones, and none for mixed ones."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.tables.data_set import json_kinds
from curate.tables.data_set.json_kinds import Kinds

INT, TEXT = pa.int64(), pa.string()


def learned(values):
    kinds = Kinds()
    for value in values:
        json_kinds.add_line(kinds, json.dumps({"x": value}).encode())
    return json_kinds.columns(kinds)["x"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None, 1, 2], INT),
        ([1, 2.5], pa.float64()),
        ([2**70], pa.float64()),
        ([True, None], pa.bool_()),
        ([True, 1], None),
        (["a", 1], None),
        ([None], pa.null()),
        (["2019-04-25", "2019-04-25T12:57:54Z"], pa.timestamp("s")),
        (["2019-04-25", "2019-13-45"], TEXT),
        (["2019-04-25", "2019-04-25T12:57:54.5Z"], TEXT),
        ([[], [1], [None, 2.5]], pa.list_(pa.float64())),
        ([[]], pa.list_(pa.null())),
        ([[1], ["a"]], None),
        ([[1], 1], None),
        ([{"k": 1}, {"j": "a"}, None], pa.struct([("k", INT), ("j", TEXT)])),
        ([{"k": 1}, {"k": "a"}], None),
        ([{}], None),
        ([[{"role": "user"}], [{"content": "x"}]], pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))),
        ([{str(i): i} for i in range(1001)], None),
    ],
)
def test_a_column_has_the_type_of_its_values_or_none(values, kind):
    assert learned(values) == kind


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(0, 1) | st.sampled_from(["a", "2019-04-25"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=8,
)


@given(values=st.lists(VALUES, min_size=1, max_size=6), cut=st.integers(0, 6))
def test_the_kinds_of_two_parts_merge_to_those_of_the_whole(values, cut):
    whole, first, second = Kinds(), Kinds(), Kinds()
    for i, value in enumerate(values):
        whole.add({"x": value})
        (first if i < cut else second).add({"x": value})
    first.merge(second)
    assert json_kinds.columns(first) == json_kinds.columns(whole)


@given(values=st.lists(VALUES, min_size=1, max_size=6))
def test_a_type_holds_all_values(values):
    if (kind := learned(values)) is not None:
        pa.array([json.loads(json.dumps(value)) for value in values], json_kinds.without_times(kind))
