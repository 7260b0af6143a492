"""The hash of rows: the same for any cut, file format or string type, and another for any other value or order."""

import datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from curate.tables.scored_inputs import row_hash
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS, RowHasher

ROWS = 2 * BLOCK_ROWS + 123
TEXTS = [None if i % 97 == 3 else f"text {i} é" * (i % 5) for i in range(ROWS)]
VECTORS = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)


def table(texts=None, **columns):
    """Return a table with a text, a number with nulls and a vector in each row."""
    numbers = [None if i % 7 == 0 else i for i in range(ROWS)]
    vectors = pa.FixedSizeListArray.from_arrays(VECTORS.ravel(), 4)
    return pa.table({"text": pa.array(texts or TEXTS), "tokens": numbers, "emb.x": vectors, **columns})


def blocks(rows, cuts=()):
    """Return the digests of the blocks of a table that comes in batches, cut after these rows."""
    hasher = RowHasher()
    for start, end in pairwise([0, *cuts, rows.num_rows]):
        for batch in rows.slice(start, end - start).to_batches():
            hasher.add(batch)
    return hasher.blocks()


@pytest.mark.parametrize("cuts", [(), (1,), (4095, 4096, 4097), (100, 5000, 8191, 8192), tuple(range(50, ROWS, 911))])
def test_cuts_do_not_matter(cuts):
    assert blocks(table(), cuts) == blocks(table())
    assert len(blocks(table())) == 3


def test_parts_that_begin_at_blocks_are_put_together():
    whole = table()
    first, second = whole.slice(0, 2 * BLOCK_ROWS), whole.slice(2 * BLOCK_ROWS)
    assert blocks(first) + blocks(second) == blocks(whole)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("text", pa.array(TEXTS, pa.large_string())),
        ("text", pa.array(TEXTS, pa.string_view())),
        ("text", pa.array(TEXTS).dictionary_encode()),
        ("tokens", pa.array([None if i % 7 == 0 else i for i in range(ROWS)], pa.int16())),
        ("tokens", pa.array([None if i % 7 == 0 else float(i) for i in range(ROWS)])),
        ("emb.x", pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), ROWS, [None, pa.py_buffer(VECTORS.tobytes())])),
        ("emb.x", pa.array(list(VECTORS), pa.list_(pa.float32()))),
        ("emb.x", pa.array([row.tobytes() for row in VECTORS], pa.large_binary())),
    ],
)
def test_the_type_that_holds_the_values_does_not_matter(column, values):
    rows = table()
    other = rows.set_column(rows.schema.names.index(column), column, values)
    assert blocks(other, (1000,)) == blocks(rows)


def test_a_column_of_nulls_may_have_no_type():
    typed = pa.table({"text": pa.array([None, None, "x"])})
    batches = [pa.table({"text": pa.nulls(2)}), pa.table({"text": ["x"]})]
    hasher = RowHasher()
    for part in batches:
        hasher.add(part.to_batches()[0])
    assert hasher.blocks() == blocks(typed)


@pytest.mark.parametrize(
    ("values", "other_values"),
    [
        (["a", "b"], ["b", "a"]),
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        (["a", None], ["a", ""]),
        ([1, 2], [2, 1]),
        ([2**60, 1], [2**60 + 1, 1]),
        ([0.1, None], [None, 0.1]),
        ([[1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0]]),
        ([{"a": 1}], [{"a": 2}]),
        ([datetime.date(2020, 1, 1)], [datetime.date(2020, 1, 2)]),
    ],
)
def test_other_values_have_another_hash(values, other_values):
    assert blocks(pa.table({"x": values})) != blocks(pa.table({"x": other_values}))


def test_a_column_of_another_name_or_one_more_row_is_another_file():
    assert blocks(pa.table({"x": ["a"]})) != blocks(pa.table({"y": ["a"]}))
    assert blocks(pa.table({"x": ["a"]})) != blocks(pa.table({"x": ["a", None]}))
    assert row_hash.combined([]) != row_hash.combined(blocks(pa.table({"x": ["a"]})))
