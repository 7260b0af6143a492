"""Types of columns: each accepted type is read as the plain one; each other type is one line before any row is read."""

import datetime
import decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from curate.errors import SchemaError
from curate.tables.batches import Reading, Shard, batches
from curate.tables.columns.class_names import class_numbers, in_order

TEXTS = ["one", None, "", "two words", "one"]


def store(folder, **columns) -> Shard:
    """Write columns as Arrow IPC, which keeps every type."""
    table = pa.table(columns)
    with pa.ipc.new_file(folder / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    return Shard(folder / "a.arrow", "a.arrow")


def read(shard: Shard, *needs: str, **keywords) -> pl.DataFrame:
    return pl.concat(list(batches(shard, needs, **keywords)))


def run_end_encoded(values: list[str | None], kind: pa.DataType) -> pa.Array:
    ends = pa.array(range(1, len(values) + 1), pa.int32())
    return pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, kind))


def dictionary_of(kind: pa.DataType) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1, 2, 0], pa.int8()), pa.array(["one", "", "two words"], kind)
    )


TEXT_COLUMNS = {
    "string": pa.array(TEXTS),
    "large_string": pa.array(TEXTS, pa.large_string()),
    "string_view": pa.array(TEXTS, pa.string_view()),
    "dictionary": dictionary_of(pa.string()),
    "dictionary of large_string": dictionary_of(pa.large_string()),
    "dictionary of string_view": dictionary_of(pa.string_view()),
    "run ends": run_end_encoded(TEXTS, pa.string()),
    "run ends of views": run_end_encoded(TEXTS, pa.string_view()),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(TEXTS)),
    "polars categories": pl.Series(TEXTS).cast(pl.Categorical).to_arrow(),
    "polars enum": pl.Series(TEXTS).cast(pl.Enum(["", "one", "two words"])).to_arrow(),
}


@pytest.mark.parametrize("kind", TEXT_COLUMNS)
@pytest.mark.parametrize("start", [0, 3])
def test_every_kind_of_text_is_read_as_strings(tmp_path, kind, start):
    frame = read(store(tmp_path, text=TEXT_COLUMNS[kind]), "text", start=start)
    assert frame.schema["text"] == pl.String
    assert frame["text"].to_list() == TEXTS[start:]
    assert frame["tokens"].to_list() == [1, 0, 0, 3, 1][start:]


def test_a_column_of_nulls_is_null_text(tmp_path):
    frame = read(store(tmp_path, text=pa.nulls(3), id=pa.nulls(3), source=pa.nulls(3), tokens=pa.nulls(3)), "text")
    assert frame.schema == {"id": pl.String, "source": pl.String, "tokens": pl.Int64, "text": pl.String}
    assert frame["text"].null_count() == 3
    assert frame["id"].to_list() == [f"a.arrow:{i}" for i in range(3)]


WRONG_TEXTS = {
    "struct<body: string>": (pa.array([{"body": "x"}]), "its field body"),
    "list<element: string>": (pa.array([["x"]], pa.list_(pa.field("element", pa.string()))), "Join each list"),
    "map<string, string>": (
        pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
        "Write the text in it as a column",
    ),
    "binary": (pa.array([b"x"]), "Write it as string"),
    "int64": (pa.array([1]), "strings"),
    "double": (pa.array([1.5]), "strings"),
    "bool": (pa.array([True]), "strings"),
    "date32[day]": (pa.array([datetime.date(2024, 1, 1)]), "strings"),
}


@pytest.mark.parametrize("kind", WRONG_TEXTS)
@pytest.mark.parametrize("encoded", [False, True])
def test_a_wrong_type_of_text_is_one_line_with_column_type_file_and_remedy(tmp_path, kind, encoded):
    column, remedy = WRONG_TEXTS[kind]
    if encoded:
        if pa.types.is_nested(column.type):
            pytest.skip("Arrow has no dictionaries of nested values")
        column = column.dictionary_encode()
    with pytest.raises(SchemaError) as refusal:
        read(store(tmp_path, body=column), "text", reading=Reading(text_column="body"))
    line = str(refusal.value)
    assert line.startswith(f"{tmp_path}/a.arrow: body is ")
    assert kind in line
    assert remedy in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (pa.array([7, 8], pa.int8()), ["7", "8"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
        (pa.array([7.0, None]), ["7", "a.arrow:1"]),
        (pa.array([decimal.Decimal("7"), decimal.Decimal("8")]), ["7", "8"]),
        (pa.array([decimal.Decimal(10) ** 30, decimal.Decimal(8)], pa.decimal128(38, 2)), ["1" + "0" * 30, "8"]),
        (pa.array([7, 8]).dictionary_encode(), ["7", "8"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", "a.arrow:1"]),
        (pa.array([b"\0" * 15 + b"\1", None], pa.uuid()), ["00000000-0000-0000-0000-000000000001", "a.arrow:1"]),
        (pa.array([datetime.date(2024, 1, 2), None]), ["2024-01-02", "a.arrow:1"]),
    ],
)
def test_ids_of_many_types_become_text(tmp_path, ids, names):
    assert read(store(tmp_path, id=ids, text=["a", "b"]))["id"].to_list() == names


@pytest.mark.parametrize("column", ["id", "source"])
@pytest.mark.parametrize("values", [[b"x"], [["x"]], [{"a": 1}], [datetime.timedelta(1)]])
def test_a_name_of_bytes_or_of_nested_values_is_refused(tmp_path, column, values):
    with pytest.raises(SchemaError, match=rf"a.arrow: {column} is .*, not text or numbers. Write it as"):
        read(store(tmp_path, **{column: pa.array(values), "text": ["t"]}))


@pytest.mark.parametrize(
    "tokens",
    [
        pa.array([3, None], pa.uint8()),
        pa.array([3, None], pa.int16()),
        pa.array([3, None], pa.uint64()),
        pa.array([3.0, None]),
        pa.array([3.0, None], pa.float16()),
        pa.array([decimal.Decimal("3.00"), None]),
        pa.array([3, None]).dictionary_encode(),
    ],
)
def test_counts_of_tokens_of_any_width_are_read(tmp_path, tokens):
    frame = read(store(tmp_path, tokens=tokens, text=["a", "12345678"]))
    assert frame["tokens"].to_list() == [3, 2]
    assert frame.schema["tokens"] == pl.Int64


@pytest.mark.parametrize(
    ("tokens", "value"),
    [
        (pa.array([1, -5]), "-5"),
        (pa.array([1, 2.5]), "2.5"),
        (pa.array([1, float("nan")]), "nan"),
        (pa.array([1, float("inf")]), "inf"),
        (pa.array([1, 1e300]), r"1e\+300"),
        (pa.array([1, 2**63], pa.uint64()), str(2**63)),
        (pa.array([1, 2**40 + 1]), str(2**40 + 1)),
        (pa.array([decimal.Decimal("1"), decimal.Decimal("2.5")]), "2.5"),
    ],
)
def test_a_count_that_cannot_be_one_is_refused_with_its_row(tmp_path, tokens, value):
    texts = pa.array(["a", "b"])
    with pytest.raises(SchemaError, match=f"a.arrow: tokens is {value} in row 1. It must be a whole number from 0 to"):
        read(store(tmp_path, tokens=tokens, text=texts))
    with pytest.raises(SchemaError, match=f"tokens is {value} in the row with id 'r1'"):
        read(store(tmp_path, id=["r0", "r1"], tokens=tokens, text=texts))


@pytest.mark.parametrize("tokens", [pa.array(["3"]), pa.array([[3]]), pa.array([True])])
def test_tokens_that_are_no_numbers_are_refused(tmp_path, tokens):
    with pytest.raises(SchemaError, match="tokens is .*, not whole numbers"):
        read(store(tmp_path, tokens=tokens, text=["a"]))


VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
BYTES = [row.tobytes() for row in VECTORS]
VECTOR_COLUMNS = {
    "fixed-size binary": pa.array(BYTES, pa.binary(16)),
    "binary": pa.array(BYTES),
    "large_binary": pa.array(BYTES, pa.large_binary()),
    "binary_view": pa.array(BYTES, pa.binary_view()),
    "dictionary of binary": pa.array(BYTES).dictionary_encode(),
    "list of double": pa.array(VECTORS.tolist()),
    "large_list": pa.array(VECTORS.tolist(), pa.large_list(pa.float32())),
    "fixed-size list": pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 4)),
    "list_view": pa.array(VECTORS.tolist(), pa.list_view(pa.float32())),
    "half floats": pa.array(VECTORS.astype(np.float16).tolist(), pa.list_(pa.float16())),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS),
    "decimals": pa.array(
        [[decimal.Decimal(str(x)) for x in row] for row in VECTORS.tolist()], pa.list_(pa.decimal128(9, 3))
    ),
}


@pytest.mark.parametrize("kind", VECTOR_COLUMNS)
@pytest.mark.parametrize("start", [0, 1])
def test_every_kind_of_vector_is_read_as_float32(tmp_path, kind, start):
    frame = read(store(tmp_path, **{"emb.x": VECTOR_COLUMNS[kind]}), "emb.x", reading=Reading(dtype=""), start=start)
    assert frame.schema["emb.x"] == pl.Array(pl.Float32, 4)
    assert np.array_equal(frame["emb.x"].to_numpy(), VECTORS[start:])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (pa.array([b"12345678", b"1234"]), "vectors of 4 and of 8 bytes; all must have one length"),
        (pa.array([b"123456", b"123456"]), "6 bytes, which may|6 bytes, which is no whole number|float16"),
        (pa.array([b"12345", b"12345"]), "emb.x is binary of 5 bytes, which is no whole number of float32 numbers"),
        (pa.nulls(2), "emb.x has 2 null rows"),
        (pa.array([[1.0], None]), "emb.x has 1 null rows"),
        (pa.array(["a", "b"]), "emb.x is string, not vectors. Use lists of numbers"),
        (pa.array([["a"], ["b"]]), "not vectors"),
        (pa.array([[1.0, None], [1.0, 2.0]]), "NaN, infinite or null in 1 rows"),
    ],
)
def test_a_column_that_holds_no_vectors_is_refused(tmp_path, vectors, message):
    shard = store(tmp_path, **{"emb.x": vectors})
    if message.startswith("6 bytes"):
        assert read(shard, "emb.x").schema["emb.x"] == pl.Array(pl.Float32, 3)
        return
    with pytest.raises(SchemaError, match=message):
        read(shard, "emb.x")


@pytest.mark.parametrize(
    "probabilities",
    [
        pa.array([[0.25, 0.5, 0.25]], pa.list_(pa.float32(), 3)),
        pa.array([[0.25, 0.5, 0.25]], pa.list_view(pa.float64())),
        pa.array([{"10": 0.25, "2": 0.5, "1": 0.25}]),
    ],
)
def test_probabilities_are_lists_and_a_struct_names_its_classes(tmp_path, probabilities):
    frame = read(store(tmp_path, **{"probs.0": probabilities}), "probs.0")
    assert frame["probs.0"].to_list() == [[0.25, 0.5, 0.25]]


@pytest.mark.parametrize(
    "probabilities", [pa.array([0.5]), pa.array([["a"]]), pa.array([{"a": "b"}]), pa.array([b"x"])]
)
def test_probabilities_of_other_types_are_refused(tmp_path, probabilities):
    with pytest.raises(SchemaError, match="probs.0 is .*, not lists of numbers. Write one list for each row"):
        read(store(tmp_path, **{"probs.0": probabilities}), "probs.0")


def test_a_column_that_is_there_twice_is_refused_only_if_it_is_read(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["id", "text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SchemaError, match="has two columns 'text'. Rename one of them"):
        read(Shard(tmp_path / "a.parquet", "a.parquet"), "text")
    other = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["text", "x", "x"])
    pq.write_table(other, tmp_path / "b.parquet")
    assert read(Shard(tmp_path / "b.parquet", "b.parquet"), "text")["text"].to_list() == ["a"]


def test_a_text_inside_a_struct_is_named(tmp_path):
    with pytest.raises(SchemaError, match="meta has a field text: write that as a column of its own"):
        read(store(tmp_path, meta=pa.array([{"text": "x"}])), "text")


def test_long_values_of_a_dictionary_are_decoded_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.tables.reading.PIECE_BYTES", 1000)
    column = pa.array(["x" * 400, "y"] * 50).dictionary_encode()
    sizes = [b.height for b in batches(store(tmp_path, text=column), ("text",), size=1000)]
    assert sum(sizes) == 100
    assert max(sizes) == 4


def test_class_names_that_are_numbers_come_first_and_by_value():
    names = ["10", "9", "-1", "1.5", "01", "1", "b", "a", "+2", "nan", "1_0", "٣"]
    assert in_order(names) == ["-1", "01", "1", "1.5", "+2", "9", "10", "1_0", "a", "b", "nan", "٣"]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["0", "11", "3"], {"0": 0, "11": 11, "3": 3}),
        (["0.0", "2.0"], {"0.0": 0, "2.0": 2}),
        (["1", "01"], None),
        (["-1", "1"], None),
        (["0", "a"], None),
        (["0.5"], None),
    ],
)
def test_words_that_are_whole_numbers_are_class_numbers(names, numbers):
    assert class_numbers(names) == numbers


def test_a_column_that_is_read_only_to_count_rows_may_have_any_type(tmp_path):
    for column in (pa.array([[1], [2]]), pa.array([b"x", b"y"]), run_end_encoded(["a", "b"], pa.string())):
        assert read(store(tmp_path, label=column)).height == 2
    assert read(store(tmp_path, **{"emb.x": pa.nulls(2)})).height == 2
