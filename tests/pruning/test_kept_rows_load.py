"""`datasets`, DuckDB and Polars load the kept rows of every kind of input, whole and as a stream."""

import gzip
import json

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest
from loaders import rows_of_datasets, rows_of_duckdb, rows_of_polars

from curate.pruning.prune import prune
from curate.scoring import score

pytestmark = pytest.mark.filterwarnings("ignore")  # `datasets` and its libraries warn on import
ROWS = 12


def frame():
    return pl.DataFrame(
        {
            "text": [f"word {'x' * i}" for i in range(ROWS)],
            "label": pl.Series(range(ROWS), dtype=pl.Int32),
            "meta": [{"k": i, "tags": [str(i)]} for i in range(ROWS)],
        }
    )


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".parquet"):
        rows.write_parquet(path)
    elif path.name.endswith(".arrow"):
        rows.write_ipc(path, compat_level=pl.CompatLevel.newest())
    elif path.name.endswith(".csv"):
        rows.drop("meta", strict=False).write_csv(path)
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(rows.to_dicts(), indent=2))
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(rows.write_ndjson().encode()))
    else:
        rows.write_ndjson(path)


def pruned(tmp_path, **options):
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores", on_error="fail")
    options = {"by": "score.length", "keep": 0.5, "materialize": True, "shard_rows": 4, **options}
    prune(tmp_path / "scores", tmp_path / "kept", **options)
    return tmp_path / "kept" / "rows"


def loaded(folder, tmp_path):
    """Load a folder by all libraries; return the rows of `datasets`, after checking the texts of the others."""
    rows = rows_of_datasets(folder, tmp_path)
    texts = sorted(row["text"] for row in rows)
    assert sorted(row["text"] for row in rows_of_duckdb(folder)) == texts
    assert sorted(row["text"] for row in rows_of_polars(folder)) == texts
    return rows


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl", "a.jsonl.gz", "a.ndjson", "a.json"])
def test_the_kept_rows_of_one_input_load_as_they_were(tmp_path, name):
    write(tmp_path / "data" / name, frame())
    rows = loaded(pruned(tmp_path), tmp_path)
    assert rows == frame().tail(6).to_dicts()


def test_the_kept_rows_of_csv_load_as_text(tmp_path):
    write(tmp_path / "data" / "a.csv", frame())
    rows = loaded(pruned(tmp_path), tmp_path)
    assert rows == frame().tail(6).select("text", pl.col("label").cast(pl.String)).to_dicts()


def test_tables_whose_columns_differ_become_one_schema(tmp_path):
    write(tmp_path / "data" / "web" / "a.parquet", frame())
    wider = frame().with_columns(pl.col("label").cast(pl.Int64), meta=pl.struct(k=pl.lit(7), z=pl.lit("q")), extra=1.5)
    write(tmp_path / "data" / "web" / "b.parquet", wider)
    write(tmp_path / "data" / "books" / "c.arrow", frame().with_columns(pl.col("text").cast(pl.Categorical)))
    write(tmp_path / "data" / "d.csv", frame())
    rows = loaded(pruned(tmp_path), tmp_path)
    assert len(rows) == 24
    assert {row["label"] for row in rows} == set(range(6, 12))
    assert {row["extra"] for row in rows} == {None, 1.5}
    assert [row["meta"] for row in rows if row["extra"]] == [{"k": 7, "tags": None, "z": "q"}] * 6
    assert sum(row["meta"] is None for row in rows) == 6  # of the CSV


@pytest.mark.parametrize("format_name", ["parquet", "jsonl"])
def test_inputs_of_two_formats_become_the_named_one(tmp_path, format_name):
    write(tmp_path / "data" / "a.parquet", frame())
    write(tmp_path / "data" / "b.jsonl", frame().with_columns(extra=pl.lit("2019-04-25")))
    write(tmp_path / "data" / "c.jsonl.gz", frame())
    rows = loaded(pruned(tmp_path, format_name=format_name), tmp_path)
    plain = [{key: value for key, value in row.items() if key != "extra"} for row in rows]
    assert sorted(plain, key=lambda row: row["label"]) == sorted(
        3 * frame().tail(6).to_dicts(), key=lambda row: row["label"]
    )
    assert sum(row["extra"] is not None for row in rows) == 6


def test_json_lines_of_any_shape_load(tmp_path):
    """Columns of mixed types, columns that come late, and times: `datasets` alone would stop at each of them."""
    lines = [
        {"text": "a" * 40, "grade": 1, "date": "2019-04-25T12:57:54Z", "turns": [{"role": "u", "content": "x"}]},
        {"text": "b" * 40, "grade": "x", "date": "2019-04-25", "turns": []},
        {"text": "c" * 40, "grade": None, "extra": {"k": 1.5}, "nested": [[1], [2, 3]]},
        {"text": "d" * 40, "extra": {"k": 2, "other": True}, "empty": {}, "rate": float("nan")},
    ]
    (tmp_path / "data").mkdir()
    for i, part in enumerate((lines[:2], lines[2:])):
        (tmp_path / "data" / f"{i}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
    rows = rows_of_datasets(pruned(tmp_path, keep=1, shard_rows=2), tmp_path)
    assert [row["text"][0] for row in rows] == list("abcd")
    assert [row["grade"] for row in rows] == [1, "x", None, None]
    assert [row["extra"] for row in rows] == [None, None, {"k": 1.5, "other": None}, {"k": 2, "other": True}]
    assert rows[2]["nested"] == [[1], [2, 3]]
    assert rows[0]["turns"] == [{"role": "u", "content": "x"}]
    assert rows[0]["date"].year == 2019


NESTED = pa.array([{"x": str(i)} for i in range(ROWS)], pa.struct([("x", pa.string_view())]))
ENCODED = {
    "string_view": pa.array([str(i) for i in range(ROWS)], pa.string_view()),
    "list_view": pa.array([[i] for i in range(ROWS)], pa.list_view(pa.int32())),
    "dictionary": pa.array(["a", None] * 6).dictionary_encode(),
    "struct_of_views": NESTED,
    "map": pa.array([[("k", i)] for i in range(ROWS)], pa.map_(pa.string(), pa.int8())),
    "uuid": pa.array([bytes([i] * 16) for i in range(ROWS)], pa.uuid()),
    "null": pa.nulls(ROWS),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_columns_of_every_encoding_load(tmp_path, kind):
    table = pa.table({"text": frame()["text"].to_arrow(), "extra": ENCODED[kind]})
    (tmp_path / "data").mkdir()
    with pa.OSFile(str(tmp_path / "data" / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    rows = loaded(pruned(tmp_path), tmp_path)
    expected = table["extra"].to_pylist()[6:]
    if kind == "map":
        expected = [[{"key": key, "value": value} for key, value in pairs] for pairs in expected]
    assert [row["extra"] for row in rows] == [str(value) if kind == "uuid" else value for value in expected]
