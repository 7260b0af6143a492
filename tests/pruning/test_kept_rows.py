"""Kept rows come out as they went in: same columns, types, format and order, in shards of the asked size."""

import gzip
import json

import polars as pl
import pyarrow.parquet as pq
import pytest

from curate.errors import SchemaError
from curate.pruning import prune
from curate.pruning.kept_rows import write_kept
from curate.scoring import score
from curate.tables import batches


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
        import pyarrow as pa

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
