"""Samples by the hash of ids: the same rows for any order and batches."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables import batches, sample


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2), st.sampled_from("xy")), max_size=30), st.data()
)
def test_the_smallest_hashes_are_kept_in_any_order_and_batches(rows, draw):
    frame = pl.DataFrame(rows, schema={"id": pl.String, "value": pl.Int64, "source": pl.String}, orient="row")
    count, by = draw.draw(st.integers(1, 6)), draw.draw(st.sampled_from(["", "source"]))
    mixed = frame[draw.draw(st.permutations(range(frame.height)))]
    pending = sample.PENDING
    try:
        sample.PENDING = draw.draw(st.integers(1, 40))
        drawn = sample.smallest_hashes(
            mixed.iter_slices(draw.draw(st.integers(1, 9))), count, ("value",), seed=3, by=by
        )
    finally:
        sample.PENDING = pending
    ordered = sorted(range(len(rows)), key=lambda i: (batches.keys([rows[i][0]], 3)[0], rows[i][0]))
    for group in "xy" if by else ("",):
        expected = [rows[i] for i in ordered if not by or rows[i][2] == group][:count]
        group_rows = drawn.filter(source=group) if by else drawn
        assert group_rows["id"].to_list() == [row[0] for row in expected]
    whole = sample.smallest_hashes(iter([frame]), count, ("value",), seed=3, by=by)
    assert drawn.equals(whole) or (drawn.height == 0 and whole.height == 0)


def test_rows_of_two_types_are_refused():
    frames = [pl.DataFrame({"id": ["a"], "value": [value]}) for value in (1, "x")]
    with pytest.raises(SchemaError, match="'value' is Int64 in some rows and String in others. Give it one type"):
        sample.smallest_hashes(iter(frames), 5, ("value",), seed=0)
