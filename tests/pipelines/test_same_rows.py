"""Every job that reads scored rows refuses a file with other rows, and accepts the same rows in any file."""

import json
import os
import shutil
import time
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import documents, one_line

from curate.storage import manifest

ROWS = ("--materialize", "--format", "parquet")  # the inputs are of two formats


@pytest.fixture
def work(tmp_path, monkeypatch, cli):
    """A folder with three files, scored by two scorers of which one learns, then pruned and made to pools."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(2):
        documents(40, 40 * i).write_parquet(f"in/{i}.parquet")
    documents(40, 80).write_ndjson("in/2.jsonl")
    documents(20, 200).write_ndjson("target.jsonl")
    cli("score", "in", "--scorer", "length", "--scorer", "dsir:target=target.jsonl", "--out", "scores")
    cli("prune", "scores", "--by", "score.length", "--keep", 0.5, "--out", "kept", *ROWS)
    cli("pools", "scores", "--kept", "kept", "--out", "pools.json")
    return tmp_path


def reversed_rows(path):
    """Write the same number of other rows."""
    frame = (pl.read_parquet if path.suffix == ".parquet" else pl.read_ndjson)(path)
    frame = frame.with_columns(pl.col("text").reverse())
    (frame.write_parquet if path.suffix == ".parquet" else frame.write_ndjson)(path)


def keeping_size_and_time(path):
    """Write other rows of the same size, and set the old time of the file."""
    before, content = path.stat(), path.read_text()
    path.write_text(content.replace("the", "eth"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


LATER = {
    "score": ("score", "in", "--scorer", "length", "--scorer", "dsir:target=target.jsonl", "--out", "scores"),
    "prune": ("prune", "scores", "--by", "score.length", "--keep", "0.5", "--out", "kept2"),
    "rows": ("prune", "scores", "--by", "score.length", "--keep", "0.5", "--out", "kept2", *ROWS),
    "pools": ("pools", "scores", "--kept", "kept", "--out", "pools2.json"),
    "materialize": ("materialize", "pools.json", "--out", "train"),
    "pilot": ("pilot", "pools.json", "--runs", "2", "--params", "1e4", "--tokens", "2e3", "--out", "runs.parquet"),
    "report": ("report", ".", "--out", "report.html"),
}


@pytest.mark.parametrize("job", LATER)
@pytest.mark.parametrize(
    ("name", "change"),
    [("0.parquet", reversed_rows), ("2.jsonl", reversed_rows), ("2.jsonl", keeping_size_and_time)],
)
def test_other_rows_are_refused(work, cli, job, name, change):
    change(Path("in") / name)
    line = one_line(cli(*LATER[job]))
    assert name in line
    assert "changed" in line


def touched(path):
    os.utime(path)


def copied(path):
    shutil.copyfile(path, "copy")
    Path("copy").replace(path)


def rewritten(path):
    """Write the same rows with other row groups, compression, types of strings, and one more column."""
    if path.suffix != ".parquet":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({"more": 1, **line}, indent=None) + "\n" for line in lines))
        return
    frame = pl.read_parquet(path).with_columns(more=pl.lit(1))
    pq.write_table(frame.to_arrow(), path, compression="gzip", row_group_size=7)


@pytest.mark.parametrize("change", [touched, copied, rewritten])
def test_the_same_rows_are_accepted_and_nothing_is_done_again(work, cli, change):
    expected = {name: Path(name).read_bytes() for name in ("pools.json", "kept/pools.json")}
    for name in ("0.parquet", "1.parquet"):
        change(Path("in") / name)
    assert json.loads(cli(*LATER["score"], "--json").out)["rows"] == 0
    for job in ("prune", "pools", "materialize", "report"):
        assert cli(*LATER[job]).code == 0
    assert Path("pools2.json").read_bytes() == expected["pools.json"]
    assert Path("kept2/pools.json").read_bytes().replace(b"kept2", b"kept") == expected["kept/pools.json"]


def test_a_touched_input_is_read_once_and_then_believed(work, cli, monkeypatch):
    from curate.tables.scored_inputs import scored_rows

    read = []
    row_blocks = scored_rows.row_blocks
    monkeypatch.setattr(
        scored_rows, "row_blocks", lambda shard, *others: read.append(shard.relative) or row_blocks(shard, *others)
    )
    cli(*LATER["score"])
    assert read == []
    touched(Path("in/0.parquet"))
    cli(*LATER["score"])
    assert read == ["0.parquet"]
    cli(*LATER["score"])
    cli(*LATER["prune"])
    assert read == ["0.parquet"]


def test_an_entry_of_format_2_is_compared_by_its_bytes(work, cli):
    for path in Path("scores/_curate/score").glob("*.json"):
        entry = json.loads(path.read_text())
        source = Path("in") / entry["shard"]
        entry |= {"format": 2, "input": manifest.content_hash(source)}
        path.write_text(json.dumps({key: value for key, value in entry.items() if key not in ("columns", "spans")}))
    touched(Path("in/0.parquet"))
    assert json.loads(cli(*LATER["score"], "--json").out)["rows"] == 0
    assert cli(*LATER["prune"]).code == 0
    time.sleep(0.01)
    reversed_rows(Path("in/0.parquet"))
    assert "changed" in one_line(cli(*LATER["prune"]))


def test_a_line_that_was_repaired_is_not_left_out_for_ever(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"id": f"r{i}", "text": f"text {i}"}) for i in range(20)]
    command = ("score", "a.jsonl", "--scorer", "length", "--out", "scores", "--max-bad", "0.1")
    Path("a.jsonl").write_text("\n".join([*rows, '{"id": "bad"', *rows]) + "\n")
    assert "1 of 41 lines cannot be read" in cli(*command).err
    os.utime("a.jsonl")
    assert cli(*command).code == 0
    Path("a.jsonl").write_text("\n".join([*rows, '{"id": "good", "text": "x"}', *rows]) + "\n")
    output = cli(*command)
    assert output.code == 1
    assert "a.jsonl changed" in one_line(output)
    assert "--restart" in output.err
    assert cli(*command, "--restart").code == 0
    assert pl.read_parquet("scores/a.jsonl.scores.parquet").height == 41
