"""Kept rows come out as they went in: same columns, types, format and order, in shards of the asked size."""

import decimal
import gzip
import json

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from curate.errors import SchemaError
from curate.pruning import prune
from curate.pruning.kept_rows import write_kept
from curate.scoring import score
from curate.tables import batches, cutting


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".arrow"])
def test_kept_rows_are_the_input_rows(tmp_path, suffix):
    frame = pl.DataFrame(
        {"text": [f"word {'x' * i}" for i in range(25)], "label": range(25), "extra": [i / 2 for i in range(25)]}
    )
    data = tmp_path / "data" / "source=web"
    data.mkdir(parents=True)
    path = data / f"a{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    elif suffix == ".arrow":
        frame.write_ipc(path, compat_level=pl.CompatLevel.oldest())
    elif suffix == ".jsonl":
        frame.write_ndjson(path)
    elif suffix == ".jsonl.gz":
        path.write_bytes(gzip.compress(frame.write_ndjson().encode()))
    else:
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(frame.write_ndjson().encode())
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.6)
    assert write_kept(tmp_path / "scores", tmp_path / "kept", tmp_path / "out", shard_rows=4) == 15
    parts = sorted((tmp_path / "out" / "source=web").iterdir())
    assert [p.name for p in parts] == [f"a-{i:05d}{suffix}" for i in range(4)]
    back = [pl.from_arrow(b) for p in parts for b in batches.record_batches(batches.Shard(p, p.name))]
    assert [b.height for b in back] == [4, 4, 4, 3]
    assert pl.concat(back).equals(frame.tail(15))
    if suffix == ".parquet":
        assert pq.read_schema(parts[0]).equals(pq.read_schema(path))


ENCODED = pa.array(["a", "b", "b", None, "e"])
COLUMNS = {
    "string_view": pa.array(["a", "b" * 40, None, "d", "e"], pa.string_view()),
    "binary_view": pa.array([b"a", b"b" * 40, None, b"d", b"e"], pa.binary_view()),
    "list_view": pa.array([[1], [2, 3], None, [], [5]], pa.list_view(pa.int32())),
    "dictionary": ENCODED.dictionary_encode(),
    "dictionary_of_views": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 1, 0]), pa.array(["a", "b" * 40], pa.string_view())
    ),
    "run_ends": pc.run_end_encode(ENCODED),
    "struct_of_views": pa.array([{"x": str(i)} for i in range(5)], pa.struct([("x", pa.string_view())])),
    "lists_of_views": pa.array([["a"], [], None, ["b"], ["c"]], pa.list_(pa.string_view())),
    "uuid": pa.array([bytes([i] * 16) for i in range(5)], pa.uuid()),
    "timestamp": pa.array(range(0, 5000, 1000), pa.timestamp("ns", "Asia/Kolkata")),
    "decimal": pa.array([decimal.Decimal(i) for i in range(5)], pa.decimal128(30, 4)),
    "map": pa.array([[("k", i)] for i in range(5)], pa.map_(pa.string(), pa.int8())),
    "duration": pa.array(range(5), pa.duration("us")),
    "half": pa.array([0.5, None, 1.5, 2.5, 3.5], pa.float16()),
    "null": pa.nulls(5),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_every_type_of_column_survives(tmp_path, kind, suffix):
    table = pa.table({"text": ["w" * i for i in range(5)], "extra": COLUMNS[kind]})
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / f"a{suffix}"
    if suffix == ".parquet":
        if kind in ("run_ends", "dictionary_of_views"):
            pytest.skip("Parquet has no such columns")
        pq.write_table(table, path)
    else:
        make = pa.ipc.new_file if suffix == ".arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table)
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores", on_error="fail")
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.6)
    assert write_kept(tmp_path / "scores", tmp_path / "kept", tmp_path / "out") == 3
    part = batches.Shard(tmp_path / "out" / f"a-00000{suffix}", "a")
    back = pa.Table.from_batches(batches.record_batches(part))
    assert back.schema.equals(table.schema)
    assert back["extra"].to_pylist() == table["extra"].to_pylist()[2:]


def test_rows_in_any_pattern_are_kept_in_order():
    views = pa.record_batch({"x": pa.array([str(i) for i in range(70)], pa.string_view())})
    for pattern in (range(0), range(70), range(0, 70, 2), (0, 1, 5, 68, 69), (69,)):
        mask = pa.array([i in pattern for i in range(70)])
        assert cutting.kept(views, mask).column(0).to_pylist() == [str(i) for i in pattern]


def test_the_job_materializes(tmp_path):
    from pipelines import prune as job

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("".join(json.dumps({"text": "w" * i}) + "\n" for i in range(1, 11)))
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    job.main(tmp_path / "scores", by="score.length", keep=0.5, out=tmp_path / "kept", materialize=True)
    lines = (tmp_path / "kept" / "rows" / "a-00000.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["text"]) for line in lines] == [6, 7, 8, 9, 10]


def test_rows_of_an_earlier_pruning_go(tmp_path):
    """Six files of an earlier call become two; what this module did not write stays."""
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        pl.DataFrame({"text": ["w" * i for i in range(1, 13)]}).write_parquet(tmp_path / "data" / f"{name}.parquet")
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    for keep, files in ((0.9, 6), (0.25, 2)):
        prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=keep)
        total = write_kept(tmp_path / "scores", tmp_path / "kept", tmp_path / "out", shard_rows=4)
        (tmp_path / "out" / "notes-2020.parquet").write_bytes(b"mine")
        parts = sorted((tmp_path / "out").glob("[ab]-*.parquet"))
        assert len(parts) == files
        assert sum(pl.read_parquet(path).height for path in parts) == total
    assert (tmp_path / "out" / "notes-2020.parquet").read_bytes() == b"mine"


def test_the_folder_of_the_inputs_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    pl.DataFrame({"text": ["a", "b"]}).write_parquet(tmp_path / "data" / "a.parquet")
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.5)
    with pytest.raises(SchemaError, match="the input .* is there. Give another --out"):
        write_kept(tmp_path / "scores", tmp_path / "kept", tmp_path / "data")
