"""Bad lines are set aside alone, counted and recorded, and every later job skips the same ones."""

import gzip
import json

import polars as pl
import pyarrow as pa
import pytest
from conftest import tree

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pool.pool import read_pools
from curate.pruning import prune
from curate.scoring import parts, score, worker
from curate.scoring.reports import status
from curate.tables import scored
from curate.tables.scored_inputs import line_losses

BAD = ("no JSON", '{"id": "x", "text": 5}', '{"id": "x", "text": "\\ud800"}')


def lines(rows: int, bad: dict[int, str]) -> list[str]:
    good = [json.dumps({"id": f"r{i}", "text": f"row {i} " + "word " * (i % 7), "n": i / 2}) for i in range(rows)]
    return [bad.get(i, line) for i, line in enumerate(good)]


@pytest.fixture
def data(tmp_path):
    """Two files of 2,000 lines, of which the first, the last and some in the middle are bad: 1.5 per mille."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(lines(2000, {0: BAD[0], 999: BAD[1], 1000: BAD[2], 1999: BAD[0]})))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines(2000, {})).encode()))
    (folder / "c.jsonl").write_text("\n".join(["", *lines(2000, {7: BAD[1], 8: "", 1500: "[]"})]))
    return folder


def test_a_job_that_loses_too_many_lines_stops_and_goes_on_with_a_larger_share(cli, data, tmp_path):
    command = ("score", data, "--scorer", "length", "--out", tmp_path / "out")
    refused = cli(*command, "--max-bad", "0.0009")
    assert "6 of 5999 lines cannot be read, more than --max-bad 0.0009 allows" in refused.err
    assert f"The first: {data}/a.jsonl, line 1: it is not JSON" in refused.err
    assert "--max-bad 0.0011" in refused.err
    # What is finished is kept, so that nothing is scored again.
    went_on = cli(*command, "--max-bad", "0.0011", "--json")
    record = json.loads(went_on.out)
    assert record["rows"] == 0
    assert record["bad_lines"] == {"a.jsonl": 4, "c.jsonl": 2}
    assert "warning: 6 of 5999 lines in 2 files cannot be read and were set aside" in went_on.err
    cli(*command, "--max-bad", "2")


def test_a_part_of_a_job_that_lost_too_many_lines_names_them(cli, data, tmp_path):
    scores = tmp_path / "out"
    assert cli("score", data, "--scorer", "length", "--out", scores).code == 1
    assert "the job has not ended: run the same `curate score` again" in cli("status", scores).out
    prune = ("prune", scores, "--by", "score.length", "--keep", 0.5, "--out", tmp_path / "kept")
    assert "is not finished: 3 of 3 files scored, but the job did not come to its end" in cli(*prune).err
    output = cli(*prune, "--partial", "--json")
    assert "warning: 6 bad lines were set aside and not scored in " in output.err
    assert json.loads(output.out)["left_out"]["bad_lines"] == {"a.jsonl": 4, "c.jsonl": 2}


def test_the_record_names_every_bad_line_and_rows_have_the_numbers_of_their_lines(data, tmp_path):
    out = tmp_path / "out"
    result = score.score([str(data)], ["length"], out, max_bad=0.01)
    assert result.rows == 5993
    table = line_losses.table(out, "a.jsonl")
    assert table["row"].to_list() == [0, 999, 1000, 1999]
    assert table["reason"][1] == "line 1000: text is 5; it must be text or null"
    assert line_losses.table(out, "c.jsonl")["reason"].to_list() == [
        "line 9: text is 5; it must be text or null",
        "line 1502: it is a list of 0, not an object",
    ]
    assert line_losses.table(out, "b.jsonl.gz").is_empty()
    (row,) = [row for row in status.status(out) if row["shard"] == "a.jsonl"]
    assert row["state"] == "done"
    assert "4 lines set aside, the first: line 1: it is not JSON" in row["why"]


@pytest.mark.parametrize("stop_at", [1, 6, 12, 18])
def test_a_killed_job_continues_to_the_same_bytes(data, tmp_path, monkeypatch, stop_at):
    monkeypatch.setattr(parts, "PART_ROWS", 100)
    monkeypatch.setattr(parts, "SMALL_BYTES", 0)
    options = {"scorers": ("length", "compression"), "batch_rows": 32, "max_bad": 0.01}
    score.score([str(data)], out=tmp_path / "calm", **options)
    whole, seen = worker.apply, []

    def dies(scorers, batch):
        seen.append(batch.height)
        if len(seen) == 10 * stop_at:
            raise KeyboardInterrupt
        return whole(scorers, batch)

    monkeypatch.setattr(worker, "apply", dies)
    with pytest.raises(KeyboardInterrupt):
        score.score([str(data)], out=tmp_path / "out", **options)
    monkeypatch.setattr(worker, "apply", whole)
    score.score([str(data)], out=tmp_path / "out", **options)
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


def test_workers_change_no_byte(data, tmp_path):
    for workers in (1, 2):
        score.score([str(data)], ["length"], tmp_path / str(workers), max_bad=0.01, engine=Local(workers))
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_restart_forgets_the_bad_lines_of_a_repaired_file(data, tmp_path):
    out = tmp_path / "out"
    score.score([str(data)], ["length"], out, max_bad=0.01)
    (data / "a.jsonl").write_text("\n".join(lines(2000, {})))
    result = score.score([str(data)], ["length"], out, max_bad=0.01, restart=True)
    assert result.bad_lines == {"c.jsonl": 2}
    assert line_losses.table(out, "a.jsonl").is_empty()


def test_later_jobs_read_the_rows_that_were_scored(data, tmp_path):
    score.score([str(data)], ["length"], tmp_path / "out", max_bad=0.01)
    prune.prune(tmp_path / "out", tmp_path / "kept", by="score.length", keep=0.5, materialize=True)
    decisions = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "kept").glob("*.keep.parquet"))])
    kept = decisions.filter("keep")["id"].to_list()
    materialized = []
    for path in sorted((tmp_path / "kept" / "rows" / "data").iterdir()):
        materialized += [json.loads(line)["id"] for line in path.read_bytes().splitlines()]
    assert materialized == kept
    pools = read_pools(tmp_path / "kept" / "pools.json")
    pooled = [batch for pool in pools for batch in scored.pool_batches(pool, ("text",))]
    frame = pl.concat(pooled)
    assert frame["id"].to_list() == kept
    assert all(text.startswith(f"row {name[1:]} ") for name, text in frame.select("id", "text").iter_rows())


def test_removed_duplicates_are_compared_with_their_own_texts(tmp_path):
    (tmp_path / "data").mkdir()
    texts = [f"the {word} house stands on a hill near the river and has {word} windows" for word in ("red", "blue")]
    rows = [json.dumps({"id": f"r{i}", "text": texts[i % 2]}) for i in range(40)]
    (tmp_path / "data" / "a.jsonl").write_text("\n".join([*rows[:5], "no JSON", *rows[5:]]))
    score.score([str(tmp_path / "data")], ["duplicates"], tmp_path / "out", max_bad=0.1)
    pruned = prune.prune(
        tmp_path / "out", tmp_path / "kept", by="score.duplicates", keep=0.5, rule="threshold", max_source_removal=1
    )
    assert pruned.verified is not None
    assert pruned.verified.height == 16
    assert (pruned.verified["similarity"] == 1).all()


def test_materialize_draws_the_scored_rows(cli, data, tmp_path):
    cli("score", data, "--scorer", "length", "--max-bad", "0.01", "--out", tmp_path / "out")
    cli("pools", tmp_path / "out", "--out", tmp_path / "pools.json")
    cli("materialize", tmp_path / "pools.json", "--out", tmp_path / "train")
    rows = pl.concat([pl.read_parquet(path) for path in (tmp_path / "train").glob("part-*.parquet")])
    assert rows.height == 5993
    assert all(text.startswith(f"row {name[1:]} ") for name, text in rows.select("id", "text").iter_rows())


def test_scorers_learn_from_the_lines_that_are_scored_and_too_many_bad_ones_stop_them_first(data, tmp_path):
    with pytest.raises(SchemaError, match="6 of 5999 lines cannot be read"):
        score.score([str(data)], ["perplexity"], tmp_path / "out", max_bad=0.0005)
    assert not list((tmp_path / "out").glob("*.scores.parquet"))
    assert score.score([str(data)], ["perplexity"], tmp_path / "out", max_bad=0.01).rows == 5993


def test_a_wrong_label_is_bad_while_learning_and_while_scoring(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [json.dumps({"text": "w" * i, "label": i % 2}) for i in range(1, 60)]
    (tmp_path / "data" / "a.jsonl").write_text("\n".join([*rows, json.dumps({"text": "x", "label": "one"})]))
    result = score.score([str(tmp_path / "data")], ["length"], tmp_path / "out", max_bad=0.1)
    assert result.bad_lines == {"a.jsonl": 1}


def test_a_text_in_another_encoding_or_of_another_kind_costs_the_file_and_not_the_job(cli, data, tmp_path):
    (data / "u.jsonl").write_bytes('{"text": "a"}\n'.encode("utf-16"))
    (data / "w.jsonl").write_text("just words\nand more\n")
    done = cli("score", data, "--scorer", "length", "--max-bad", "0.01", "--out", tmp_path / "out")
    assert "2 of 5 files were set aside" in done.err
    assert "UTF-16" in done.err


def test_the_dry_run_names_bad_lines(cli, data, tmp_path):
    told = cli("score", data, "--scorer", "length", "--dry-run", "--out", tmp_path / "out").out
    assert "line 1: it is not JSON" in told


@pytest.mark.parametrize(
    "ending", [".jsonl", ".ndjson", ".json", ".json.gz", ".ndjson.zst", ".JSONL", ".json as array"]
)
def test_kept_rows_are_the_bytes_that_came_in(cli, tmp_path, ending):
    rows = [
        '{"text":"ww",  "n": 1.50, "big": 123456789012345678901}',
        '{ "text": "\\u0077ww", "x": NaN }',
        '{"text": "w"}',
    ]
    array = ending.endswith("array")
    ending = ending.split()[0]
    body = ("[" + ", ".join(rows) + "]") if array else "\r\n".join(["", *rows])
    pack = {"gz": gzip.compress, "zst": lambda x: pa.compress(x, codec="zstd", asbytes=True)}
    packing = ending.split(".")[-1]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"a{ending}").write_bytes(pack.get(packing, bytes)(body.encode()))
    cli("score", tmp_path / "data", "--scorer", "length", "--out", tmp_path / "out")
    cli(
        "prune", tmp_path / "out", "--by", "score.length", "--keep", "0.67", "--materialize", "--out", tmp_path / "kept"
    )
    with pa.input_stream(
        next((tmp_path / "kept" / "rows" / "data").iterdir()), compression={"gz": "gzip", "zst": "zstd"}.get(packing)
    ) as stream:
        kept = stream.read().decode()
    if array:
        assert kept == f"{rows[0]}\n{rows[1]}\n"
    else:
        assert kept == f"{rows[0]}\r\n{rows[1]}\r\n"


def test_csv_and_tsv_are_scored_and_become_parquet(cli, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text(
        '\ufeffid,text,n\n1,"a, ""b""\nc",05\n2,short,\n3,too,many,fields\n4,\u00e9,7\n'
    )
    (tmp_path / "data" / "a.tsv").write_text("id\ttext\n5\tw\n6\twwww\n")
    (tmp_path / "data" / "a.parquet").write_bytes(b"")
    pl.DataFrame({"id": ["7"], "text": ["wwwwwwwww"]}).write_parquet(tmp_path / "data" / "a.parquet")
    done = cli("score", tmp_path / "data", "--scorer", "length", "--max-bad", "0.2", "--out", tmp_path / "out")
    assert "a.csv, row 3 (to line 5): it has 4 fields, and the header has 3" in done.err
    pruned = cli(
        *("prune", tmp_path / "out", "--by", "score.length", "--keep", "1"),
        *("--materialize", "--out", tmp_path / "kept"),
    )
    assert pruned.code == 0, pruned.err
    (path,) = (tmp_path / "kept" / "rows" / "data").iterdir()
    assert path.name == "rows-00000.parquet"
    rows = pl.read_parquet(path).filter(pl.col("id").is_in(["1", "2", "4"]))
    assert rows.rows() == [("1", 'a, "b"\nc', "05"), ("2", "short", None), ("4", "é", "7")]
