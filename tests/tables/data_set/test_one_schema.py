"""One schema for the rows of many files: values stay as they are, whatever the types of the files."""

import pyarrow as pa
import pytest

from curate.errors import SchemaError
from curate.tables.data_set.one_schema import FileSchema, conformed, unified


def brought_together(*columns):
    """Bring a column of several files into one schema; return its type and its values."""
    batches = [pa.record_batch({"x": column}) for column in columns]
    schema = unified([FileSchema(f"{i}.parquet", batch.schema) for i, batch in enumerate(batches)])
    rows = [conformed(batch, schema, f"{i}.parquet") for i, batch in enumerate(batches)]
    for batch in rows:
        batch.validate(full=True)
    return schema.field("x").type, [value for batch in rows for value in batch.column("x").to_pylist()]


STRUCT = pa.array([{"a": 1}, None, {"a": 3}], pa.struct([("a", pa.int32())]))
WIDER = pa.array([{"b": "q", "a": 4}], pa.struct([("b", pa.string()), ("a", pa.int64())]))
BOTH = pa.struct([("a", pa.int64()), ("b", pa.string())])


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.array([1], pa.int32()), pa.array([2**40]), pa.int64()),
        (pa.array([1]), pa.array([0.5]), pa.float64()),
        (pa.nulls(2), pa.array(["a"]), pa.string()),
        (pa.array(["a"], pa.string_view()), pa.array(["b"], pa.large_string()), pa.large_string()),
        (pa.array(["a"], pa.string_view()), pa.array(["b"]).dictionary_encode(), pa.string()),
        (pa.array([[1], None, []], pa.list_(pa.int8())), pa.array([[2.5]]), pa.list_(pa.float64())),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), pa.array([[3]], pa.list_(pa.int8())), pa.list_(pa.int8())),
        (pa.array([None, [1, 2]], pa.list_(pa.int8(), 2)), pa.array([[3, 4]], pa.list_(pa.int16(), 2)), None),
        (pa.array([[1], None], pa.list_view(pa.int8())), pa.array([[2]], pa.large_list(pa.int8())), None),
    ],
)
def test_values_of_two_types_get_the_wider_one(first, second, kind):
    both, values = brought_together(first, second)
    assert kind is None or both == kind
    assert values == [*first.to_pylist(), *second.to_pylist()]


def test_structs_get_the_fields_of_both_also_in_lists_and_slices():
    kind, values = brought_together(STRUCT, WIDER, STRUCT[1:])
    assert kind == BOTH
    assert values == [{"a": 1, "b": None}, None, {"a": 3, "b": None}, {"a": 4, "b": "q"}, None, {"a": 3, "b": None}]
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), STRUCT)
    wider = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), WIDER)
    kind, values = brought_together(lists[1:], wider)
    assert kind == pa.list_(BOTH)
    assert values == [[None, {"a": 3, "b": None}], [{"b": "q", "a": 4}]]


def test_columns_come_in_the_order_in_which_they_first_appear():
    schemas = [pa.schema([("b", pa.int8())]), pa.schema([("a", pa.int8()), ("b", pa.int8()), ("c", pa.int8())])]
    assert unified([FileSchema("f", schema) for schema in schemas]).names == ["b", "a", "c"]
    assert unified([]).names == []


def test_vectors_of_bytes_of_two_number_types_do_not_go_together():
    fields = [pa.field("emb.x", pa.binary(8), metadata={"dtype": dtype}) for dtype in ("float32", "float16")]
    schemas = [FileSchema(f"{i}.parquet", pa.schema([field])) for i, field in enumerate(fields)]
    with pytest.raises(SchemaError, match=r"1\.parquet: emb\.x is"):
        unified(schemas)
    assert unified([schemas[0], schemas[0]]).field("emb.x").metadata == {b"dtype": b"float32"}


def test_a_column_that_stands_twice_is_one_line():
    with pytest.raises(SchemaError, match=r"f has two columns 'x'\. Rename one of them"):
        unified([FileSchema("f", pa.schema([("x", pa.int8()), ("x", pa.int8())]))])
