"""Examples on disk: every format gives the same batches, whatever its inner layout."""

import gzip
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from conftest import documents
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.tables import batches as tables
from curate.tables.batches import FORMATS, Reading, Shard, batches, inputs, shards
from curate.tables.columns import vectors


def store(frame: pl.DataFrame, path, group: int = 7) -> Shard:
    """Write a frame in the format of the path's name."""
    name, table = (
        path.name,
        frame.to_arrow().cast(
            pa.schema(
                [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in frame.to_arrow().schema]
            )
        ),
    )
    lines = "".join(json.dumps(row) + "\n" for row in frame.to_dicts()).encode()
    if name.split(".")[1] in ("csv", "tsv"):
        lines = frame.write_csv(separator="," if ".csv" in name else "\t").encode()
    if name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=group)
    elif name.endswith((".arrow", ".arrows", ".feather")):
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=group)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    elif name.endswith(".zst"):
        path.write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    else:
        path.write_bytes(lines)
    return Shard(path, path.name)


def read(shard, *arguments, **keywords) -> pl.DataFrame:
    return pl.concat(list(batches(shard, *arguments, **keywords)))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_batches(tmp_path, suffix):
    frame = documents(50).with_columns(
        pl.Series("tokens", range(50)), source=pl.lit("s"), text=pl.col("text") + "\tü\n𝄞\"'"
    )
    result = list(batches(store(frame, tmp_path / f"x{suffix}"), ("text",), reading=Reading(batch_rows=16)))
    assert [b.height for b in result] == [16, 16, 16, 2]
    assert pl.concat(result).equals(frame.select("id", "source", "tokens", "text"))
    assert pl.concat(result).schema == {"id": pl.String, "source": pl.String, "tokens": pl.Int64, "text": pl.String}


@given(
    n=st.integers(1, 60),
    group=st.integers(1, 70),
    rows=st.integers(1, 70),
    suffix=st.sampled_from([".parquet", ".arrow", ".jsonl"]),
)
def test_batches_have_exactly_the_rows_asked_whatever_the_row_groups(tmp_path, n, group, rows, suffix):
    frame = documents(n)
    result = list(batches(store(frame, tmp_path / f"x{suffix}", group), ("text",), reading=Reading(batch_rows=rows)))
    assert [b.height for b in result] == [rows] * (n // rows) + [n % rows] * (n % rows > 0)
    assert pl.concat(result).select("id", "text").equals(frame)


@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=1, max_size=12))
def test_any_text_survives_parquet_and_jsonl(tmp_path, texts):
    frame = pl.DataFrame(
        {"id": [str(i) for i in range(len(texts))], "text": texts}, schema={"id": pl.String, "text": pl.String}
    )
    for suffix in (".parquet", ".jsonl"):
        if suffix == ".jsonl" and all(t is None for t in texts):
            continue
        assert read(store(frame, tmp_path / f"x{suffix}"), ("text",))["text"].to_list() == texts


@given(st.lists(st.one_of(st.none(), st.text(max_size=9)), min_size=1, max_size=9))
def test_tokens_fall_back_to_a_quarter_of_the_bytes(tmp_path, texts):
    shard = store(pl.DataFrame({"text": texts}, schema={"text": pl.String}), tmp_path / "x.parquet")
    assert read(shard)["tokens"].to_list() == [-(-len((t or "").encode()) // 4) for t in texts]


def test_ids_default_to_path_and_row(tmp_path):
    (tmp_path / "deep").mkdir()
    store(documents(5).drop("id"), tmp_path / "deep" / "x.parquet")
    (shard,) = shards([str(tmp_path)])
    assert read(shard, reading=Reading(batch_rows=2))["id"].to_list() == [f"deep/x.parquet:{i}" for i in range(5)]


def test_numeric_ids_become_strings_and_tokens_integers(tmp_path):
    frame = pl.DataFrame({"id": [7, 8], "tokens": [1.0, 2.0], "text": ["a", "b"]})
    result = read(store(frame, tmp_path / "x.parquet"))
    assert result["id"].to_list() == ["7", "8"]
    assert result["tokens"].to_list() == [1, 2]


@pytest.mark.parametrize("column", ["id", "source", "tokens"])
def test_a_null_in_a_system_column_is_filled_or_refused(tmp_path, column):
    """A null id, source or token count breaks hashing, grouping and counting later: it may not pass the door."""
    frame = documents(3).with_columns(tokens=pl.Series([4, 5, 6]), source=pl.lit("s"))
    frame = frame.with_columns(pl.when(pl.int_range(3) != 1).then(column).alias(column))
    try:
        result = read(store(frame, tmp_path / "x.parquet"))
    except SchemaError as error:
        assert column in str(error)
    else:
        assert result[column].null_count() == 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_null_is_filled_as_if_the_column_were_not_there(tmp_path, suffix):
    frame = documents(5).with_columns(tokens=pl.Series([4, 5, 6, 7, 8]), source=pl.lit("s"))
    has_value = pl.int_range(5) != 3
    shard = store(
        frame.with_columns(pl.when(has_value).then(c).alias(c) for c in ("id", "source", "tokens")),
        tmp_path / f"x{suffix}",
    )
    result = [read(shard, needs, reading=Reading(batch_rows=2)).row(3, named=True) for needs in ((), ("text",))]
    size = -(-len(frame["text"][3].encode()) // 4)
    for row in result:
        assert (row["id"], row["source"], row["tokens"]) == (f"x{suffix}:3", tmp_path.name, size)
    assert read(shard)["tokens"].to_list() == [4, 5, 6, size, 8]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_without_any_column_of_ours_has_its_rows(tmp_path, suffix):
    result = list(
        batches(store(pl.DataFrame({"label": [1, 2, 3]}), tmp_path / f"x{suffix}"), reading=Reading(batch_rows=2))
    )
    assert [b.height for b in result] == [2, 1]
    assert result[0].columns == ["id", "source", "tokens"]


def test_source_is_the_column_the_hive_folder_or_the_folder(tmp_path):
    for folder in ("source=web/part=1", "plain"):
        (tmp_path / folder).mkdir(parents=True)
        store(documents(2), tmp_path / folder / "x.parquet")
    store(documents(2).with_columns(source=pl.lit("own")), tmp_path / "source=web" / "y.parquet")
    result = {s.relative: read(s)["source"].unique().to_list() for s in shards([str(tmp_path)])}
    assert result == {
        "plain/x.parquet": ["plain"],
        "source=web/part=1/x.parquet": ["web"],
        "source=web/y.parquet": ["own"],
    }


def test_no_text_counts_one_token_a_row(tmp_path):
    assert read(store(pl.DataFrame({"label": [1, 2]}), tmp_path / "x.parquet"))["tokens"].to_list() == [1, 1]


def test_another_text_column(tmp_path):
    shard = store(documents(4).rename({"text": "body"}), tmp_path / "x.parquet")
    result = read(shard, ("text",), reading=Reading(text_column="body"))
    assert result["text"].to_list() == documents(4)["text"].to_list()
    with pytest.raises(SchemaError, match=r"no column 'text'; it has id, body.*--text-column"):
        read(shard, ("text",))


VECTORS = np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)


@pytest.mark.parametrize("kind", ["list32", "list16", "binary"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_embeddings_of_each_kind(tmp_path, kind, suffix):
    flat = pa.array(VECTORS.ravel())
    column = {
        "list32": lambda: pa.FixedSizeListArray.from_arrays(flat, 6),
        "list16": lambda: pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.astype(np.float16).ravel()), 6),
        "binary": lambda: pa.array([row.tobytes() for row in VECTORS], type=pa.binary(24)),
    }[kind]()
    path = tmp_path / f"x{suffix}"
    table = pa.table({"id": [str(i) for i in range(11)], "emb.e": column})
    pq.write_table(table, path, row_group_size=3) if suffix == ".parquet" else pyarrow.feather.write_feather(
        table, path, chunksize=3
    )
    for rows in (1, 4, 100):
        result = read(Shard(path, path.name), ("emb.e",), reading=Reading(batch_rows=rows))
        assert result.schema["emb.e"] == pl.Array(pl.Float32, 6)
        expected = VECTORS.astype(np.float16).astype(np.float32) if kind == "list16" else VECTORS
        assert np.array_equal(result["emb.e"].to_numpy(), expected)


def binary_file(path, rows, numbers, metadata=None, whole=None):
    """Write vectors as fixed-size binary of these numbers, with the metadata of the field and of the file."""
    values = [row.tobytes() for row in rows.astype(numbers)]
    kind = pa.binary(len(values[0]))
    schema = pa.schema([pa.field("id", pa.string()), pa.field("emb.e", kind, metadata=metadata)], metadata=whole)
    table = pa.Table.from_arrays([pa.array([str(i) for i in range(len(rows))]), pa.array(values, kind)], schema=schema)
    pq.write_table(table, path) if path.suffix == ".parquet" else pyarrow.feather.write_feather(table, path)
    return Shard(path, path.name)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("numbers", ["float16", "float32"])
def test_binary_vectors_are_read_as_what_the_metadata_or_the_job_says(tmp_path, suffix, numbers):
    expected = VECTORS.astype(numbers).astype(np.float32)
    shard = binary_file(tmp_path / f"a{suffix}", VECTORS, numbers, {"dtype": numbers})
    assert np.array_equal(read(shard, ("emb.e",), reading=Reading(batch_rows=2))["emb.e"].to_numpy(), expected)
    shard = binary_file(tmp_path / f"b{suffix}", VECTORS, numbers)
    reading = Reading(batch_rows=2, dtype=numbers)
    assert np.array_equal(read(shard, ("emb.e",), reading=reading)["emb.e"].to_numpy(), expected)


def test_float16_in_binary_is_refused_where_nothing_says_so(tmp_path):
    shard = binary_file(tmp_path / "a.parquet", VECTORS, "float16")
    with pytest.raises(
        SchemaError, match=r"a\.parquet: emb\.e is fixed-size binary of 12 bytes, which may be 6 float16 or 3"
    ):
        read(shard, ("emb.e",))
    with pytest.raises(SchemaError, match="metadata dtype=int8. Write float32 or float16"):
        read(binary_file(tmp_path / "b.parquet", VECTORS, "float16", {"dtype": "int8"}), ("emb.e",))
    with pytest.raises(SchemaError, match="dtype=int8 is not a type of vectors"):
        read(shard, ("emb.e",), reading=Reading(dtype="int8"))
    odd = binary_file(tmp_path / "c.parquet", VECTORS[:, :5], "float16")  # 10 bytes are no whole number of float32
    assert read(odd, ("emb.e",))["emb.e"].to_numpy().shape == (11, 5)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 16.0, 1e3])
@pytest.mark.parametrize("kind", ["normal", "unit", "counts", "sparse", "signs"])
def test_bytes_tell_float32_from_float16(kind, scale):
    x = np.random.default_rng(0).normal(size=(200, 16))
    x = {
        "normal": lambda: x,
        "unit": lambda: x / np.linalg.norm(x, axis=1, keepdims=True),
        "counts": lambda: np.round(np.abs(x) * 5),
        "sparse": lambda: np.where(x > 1, x, 0),
        "signs": lambda: np.sign(x),
    }[kind]()
    x[7, 3] = np.nan  # the reader names such a row later
    assert vectors.looks_like_float32((x * scale).astype(np.float32).view(np.uint8).ravel())
    assert not vectors.looks_like_float32((x * scale).astype(np.float16).view(np.uint8).ravel())


def test_files_of_earlier_versions_hold_float32(tmp_path):
    """They have no metadata of the field, but that of the file; here the bytes alone would not tell."""
    wide = np.tile(np.float32([1e-30, 1e30]), (11, 3))
    read(binary_file(tmp_path / "a.parquet", wide, "float32", whole={"curate": '{"format": 1}'}), ("emb.e",))
    with pytest.raises(SchemaError, match="look like float16"):
        read(binary_file(tmp_path / "b.parquet", wide, "float32"), ("emb.e",))


@pytest.mark.parametrize(
    "bad",
    [pa.array([[1.0], [1.0, 2.0]]), pa.array(["a", "b"]), pa.array([[1.0, 2.0], None], type=pa.list_(pa.float32(), 2))],
)
def test_other_embeddings_are_refused(tmp_path, bad):
    pq.write_table(pa.table({"emb.e": bad}), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=r"x\.parquet: emb\.e"):
        read(Shard(tmp_path / "x.parquet", "x.parquet"), ("emb.e",))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lists_of_one_length_are_vectors(tmp_path, suffix):
    frame = pl.DataFrame({"emb.e": VECTORS.tolist()})
    assert isinstance(frame.schema["emb.e"], pl.List)
    result = read(store(frame, tmp_path / f"x{suffix}"), ("emb.e",), reading=Reading(batch_rows=4))
    assert result.schema["emb.e"] == pl.Array(pl.Float32, 6)
    assert np.array_equal(result["emb.e"].to_numpy(), VECTORS)


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_vectors_of_two_lengths_are_refused_with_both(tmp_path, suffix, rows):
    shard = store(pl.DataFrame({"emb.e": [[1.0, 2.0], [1.0, 2.0, 3.0]]}), tmp_path / f"x{suffix}")
    lines = r"line 2: emb\.e is a list of 3; it must be a list of 2 finite numbers"
    match = lines if suffix == ".jsonl" else r"emb\.e has vectors of 2 and of 3 numbers"
    with pytest.raises(SchemaError, match=match):
        read(shard, ("emb.e",), reading=Reading(batch_rows=rows))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("ids", [True, False])
def test_a_vector_that_is_no_number_names_its_row(tmp_path, bad, ids):
    vectors = VECTORS.copy()
    vectors[7, 2] = bad
    frame = documents(11).with_columns(pl.Series("emb.e", vectors, dtype=pl.Array(pl.Float32, 6)))
    shard = store(frame if ids else frame.drop("id"), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=rf"x\.parquet: emb\.e is NaN.*'{'d7' if ids else 'x.parquet:7'}'"):
        read(shard, ("emb.e",), reading=Reading(batch_rows=3))


def test_our_files_store_embeddings_as_fixed_binary_and_round_trip(tmp_path):
    frame = documents(11).with_columns(
        pl.Series("emb.e", VECTORS, dtype=pl.Array(pl.Float32, 6)), source=pl.lit("s"), tokens=pl.lit(3)
    )
    assert tables.write(tmp_path / "x.parquet", [frame[:4], frame[4:]]) == 11
    field = pq.read_schema(tmp_path / "x.parquet").field("emb.e")
    assert field.type == pa.binary(24) and field.metadata[b"dtype"] == b"float32"
    result = read(Shard(tmp_path / "x.parquet", "x"), ("text", "emb.e"), reading=Reading(batch_rows=3))
    assert result["text"].equals(frame["text"])
    assert np.array_equal(result["emb.e"].to_numpy(), VECTORS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_corrupted_file_is_named_in_one_line(tmp_path, suffix):
    shard = store(documents(400), tmp_path / f"x{suffix}")
    damaged = bytearray(shard.path.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 2] = b"\xff" * (len(damaged) // 2 - len(damaged) // 3)
    damaged = damaged[:-20]
    shard.path.write_bytes(damaged)
    with pytest.raises(SchemaError, match=f"x{suffix}") as caught:
        read(shard, ("text",))
    assert "\n" not in str(caught.value)


def test_an_error_half_way_leaves_no_file(tmp_path):
    def broken():
        yield documents(3)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        tables.write(tmp_path / "x.parquet", broken())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SchemaError, match="nothing to write"):
        tables.write(tmp_path / "x.parquet", [])


def test_shards_are_found_in_folders_globs_and_files(tmp_path):
    for name in ("b/y.jsonl", "b/z.txt", "a/x.parquet", "a/.hidden.parquet", "_meta/w.parquet", "a/_w.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    root = str(tmp_path)
    assert [s.relative for s in shards([root])] == ["a/x.parquet", "b/y.jsonl"]
    assert [s.relative for s in shards([f"{root}/*/*.parquet"])] == ["a/x.parquet"]
    assert [s.relative for s in shards([f"{root}/**/*.jsonl"])] == ["b/y.jsonl"]
    assert [s.relative for s in shards([f"{root}/a/x.parquet", f"{root}/b"])] == ["x.parquet", "y.jsonl"]
    assert len(shards([root, root])) == 2


@pytest.mark.parametrize("data", ["nosuch", "nosuch/*.parquet", "."])
def test_nothing_found_is_an_error(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SchemaError, match="no input files at"):
        shards([data])


def test_two_files_with_one_output_are_refused(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        store(documents(2), tmp_path / folder / "x.parquet")
    with pytest.raises(SchemaError, match=r"would both write x\.parquet"):
        inputs([str(tmp_path / "a"), str(tmp_path / "b")])


def test_files_after_which_no_output_is_named_may_have_one_name(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        store(documents(2), tmp_path / folder / "x.parquet")
    store(documents(2), tmp_path / "a" / "y.parquet")
    items = [str(tmp_path / "b"), str(tmp_path / "a" / "x.parquet"), str(tmp_path / "a")]
    listed = shards(items)
    assert listed == shards(items[::-1])
    # Rows without an id are named after the relative path, which tells the two files apart.
    assert [shard.relative for shard in listed] == [
        str(tmp_path / "a/x.parquet"),
        str(tmp_path / "b/x.parquet"),
        "y.parquet",
    ]


def test_a_key_depends_on_id_and_seed_only():
    first, second = tables.keys(["a", "b"], 0), tables.keys(pl.Series(["b", "a"]), 0)
    assert first.tolist() == second[::-1].tolist()
    assert first.tolist() != tables.keys(["a", "b"], 1).tolist()
    assert first.dtype == np.uint64


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_save_a_small_frame(tmp_path, suffix):
    frame = pl.DataFrame({"run": ["a", "b"], "x": [1.5, 2.5]})
    tables.save(tmp_path / f"f{suffix}", frame)
    again = pl.read_csv(tmp_path / "f.csv") if suffix == ".csv" else pl.read_parquet(tmp_path / "f.parquet")
    assert again.equals(frame)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_without_rows_has_the_columns_it_was_given(tmp_path):
    schema = {"id": pl.String(), "emb.e": pl.Array(pl.Float32, 3), "score.x": pl.Float64()}
    assert tables.write(tmp_path / "x.parquet", [], schema=schema) == 0
    assert pl.read_parquet(tmp_path / "x.parquet").columns == list(schema)
    assert pq.read_schema(tmp_path / "x.parquet").field("emb.e").type == pa.binary(12)


def test_a_column_that_is_misspelled_is_told_by_the_nearest_name(tmp_path):
    """Only the column of texts has an option for its name."""
    pl.DataFrame({"text": ["a"], "domain": ["b"]}).write_parquet(tmp_path / "a.parquet")
    (shard,) = tables.shards([str(tmp_path)])
    with pytest.raises(SchemaError, match=r"no column 'domian'; it has text, domain. Did you mean domain\?$"):
        tables.require(shard, ["domian"])
    with pytest.raises(SchemaError, match=r"no column 'year'; it has text, domain. Name one of these$"):
        tables.require(shard, ["year"])
