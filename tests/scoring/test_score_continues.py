"""A new release continues the jobs of an old one; a changed format, or another file of the user's own, does not."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
from conftest import documents, tree

from curate.errors import Interrupted
from curate.scorers import embedding, length, prototypes
from curate.scoring import run, score, specs
from curate.scoring.reports import status
from curate.storage.files import text_hash
from curate.tables.reading import Reading
from curate.tables.shards import Shard

SPECS = ("length", "embedding:width=16", "prototypes:k=3")


def rewritten(path: Path, change) -> dict:
    record = json.loads(path.read_text())
    path.write_text(json.dumps(change(record)))
    return record


def age(out: Path) -> None:
    """Turn the records of a score folder into those that version 0.0.1 wrote, in format 1."""
    folder = out / "_curate"

    def old_job(record):
        kept = {key: value for key, value in record.items() if key not in ("formats", "format")}
        return kept | {"version": "0.0.1", "code": {"scorers/length": "0123456789"}}

    job = rewritten(folder / "score.json", old_job)
    for path in [*folder.glob("score/**/*.json"), *folder.glob("parts/**/begun.json")]:
        rewritten(
            path, lambda r: {key: r[key] for key in r if key != "format"} | {"config": "0123", "version": "0.0.1"}
        )
    for path in folder.glob("learned/*.json"):
        record = rewritten(
            path, lambda r: {key: value for key, value in r.items() if key in ("scorer", "inputs", "aside", "notes")}
        )
        position, name, _ = path.stem.split("-")
        read = tuple(job["scorers"][: int(position) + 1])
        key = ("0.0.1", read, job["text_column"], job["batch_rows"], sorted(record["inputs"].items()))
        for part in (path, path.with_suffix(".npz")):
            part.rename(path.with_name(f"{position}-{name}-{text_hash(repr(key))[:16]}{part.suffix}"))


def scores(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")}


def test_a_folder_of_version_0_0_1_continues(corpus, tmp_path, monkeypatch):
    # as if these two had not changed since version 0.0.1
    monkeypatch.setattr(embedding, "FORMAT", 1)
    monkeypatch.setattr(prototypes, "FORMAT", 1)
    out = tmp_path / "out"
    score.score([str(corpus)], SPECS, out)
    whole = scores(out)
    age(out)
    (out / "source=a" / "0.parquet.scores.parquet").unlink()
    assert {row["state"] for row in status.status(out)} == {"done", "to do"}
    assert status.learned(out) == []
    assert score.score([str(corpus)], SPECS, out).rows == 20
    assert scores(out) == whole
    assert score.score([str(corpus)], SPECS, out).rows == 0, "the records are of the present format now"


def test_an_old_folder_is_refused_for_other_arguments(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], ("length",), out)
    age(out)
    before = tree(out)
    with pytest.raises(Interrupted, match=r"scorers changed \(length -> compression\)"):
        score.score([str(corpus)], ("compression",), out)
    assert tree(out) == before


def test_old_entries_are_not_believed_once_their_record_is_replaced(corpus, tmp_path):
    out = tmp_path / "out"
    score.score([str(corpus)], ("length",), out)
    age(out)
    (tmp_path / "other").mkdir()
    documents(3).write_parquet(tmp_path / "other" / "x.parquet")
    score.score([str(tmp_path / "other")], ("compression",), out)
    with pytest.raises(Interrupted, match="configuration changed"):
        score.score([str(corpus)], ("compression",), out)


def test_an_old_part_of_a_long_file_continues(tmp_path, monkeypatch):
    from curate.scoring import parts, worker

    monkeypatch.setattr(parts, "PART_ROWS", 100)
    monkeypatch.setattr(parts, "SMALL_BYTES", 0)
    documents(500).write_parquet(tmp_path / "x.parquet")
    out, whole, batches = tmp_path / "out", worker.apply, []

    def dies(scorers, batch):
        batches.append(batch.height)
        if len(batches) == 12:
            raise KeyboardInterrupt
        return whole(scorers, batch)

    monkeypatch.setattr(worker, "apply", dies)
    with pytest.raises(KeyboardInterrupt):
        score.score(tmp_path / "x.parquet", "length", out, batch_rows=32)
    monkeypatch.setattr(worker, "apply", whole)
    age(out)
    assert score.score(tmp_path / "x.parquet", "length", out, batch_rows=32).rows < 500
    assert [row["state"] for row in status.status(out)] == ["done"]


@pytest.mark.parametrize("old", [True, False])
def test_a_changed_format_of_a_scorer_is_refused_in_one_line(corpus, tmp_path, monkeypatch, old):
    out = tmp_path / "out"
    score.score([str(corpus)], ("length",), out)
    if old:
        age(out)
    before = tree(out)
    monkeypatch.setattr(length, "FORMAT", 2, raising=False)
    with pytest.raises(Interrupted, match=r"formats changed \(length 1 -> length 2\)\. Give --restart") as caught:
        score.score([str(corpus)], ("length",), out)
    assert "\n" not in str(caught.value)
    assert tree(out) == before
    assert "formats changed" in status.status(out)[0]["why"]
    assert score.score([str(corpus)], ("length",), out, restart=True).rows == 100


def test_formats_name_every_scorer_and_encoder(monkeypatch):
    assert specs.formats(SPECS) == {
        "score_files": 1,
        "length": 1,
        "embedding": 3,
        "encoders/hashed": 1,
        "prototypes": 3,
    }
    monkeypatch.setattr(length.Length, "FORMAT", 3, raising=False)
    assert specs.formats(("length",))["length"] == 3


def test_the_source_code_of_our_scorers_is_not_compared(corpus, tmp_path):
    score.score([str(corpus)], SPECS, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "_curate" / "score.json").read_text())
    assert record.keys() == {
        "batch_rows",
        "data",
        "document_bytes",
        "format",
        "formats",
        "scorers",
        "text_column",
        "tokens",
    }


def test_a_scorer_file_of_the_users_own_is_compared_by_its_content(corpus, tmp_path, monkeypatch):
    own = tmp_path / "mine.py"
    own.write_text("first")
    first = specs.own_files(["length", f"{own}:Mine"])
    assert list(first) == [str(own)]
    own.write_text("second")
    assert specs.own_files([f"{own}:Mine"]) != first
    monkeypatch.setattr(specs, "own_files", lambda names: {str(own): own.read_text()})
    score.score([str(corpus)], ("length",), tmp_path / "out")
    own.write_text("third")
    with pytest.raises(Interrupted, match=r"scorer files changed \(.*mine\.py second -> .*mine\.py third\)"):
        score.score([str(corpus)], ("length",), tmp_path / "out")


def test_a_learned_state_depends_on_the_files_that_its_scorer_reads(corpus, tmp_path, monkeypatch):
    """A target that changes before any row is scored must be learned from again."""
    target, out = tmp_path / "target.parquet", tmp_path / "out"
    documents(30, 500).write_parquet(target)
    spec = (f"dsir:target={target}",)
    monkeypatch.setattr(run, "run", lambda *_: 1 / 0)
    states = []
    for start in (500, 700):
        documents(30, start).write_parquet(target)
        with pytest.raises(ZeroDivisionError):
            score.score([str(corpus)], spec, out)
        states.append({path.name for path in (out / "_curate" / "learned").glob("*.npz")})
    assert len(states[0]) == 1 and len(states[1]) == 2


def test_score_files_carry_their_format(corpus, tmp_path):
    import pyarrow.parquet as pq

    score.score([str(corpus)], ("length",), tmp_path / "out")
    path = tmp_path / "out" / "source=a" / "0.parquet.scores.parquet"
    assert json.loads(pq.read_schema(path).metadata[b"curate"]) == {
        "format": 1,
        "meanings": {"score.length": "quality"},
    }
    assert pl.read_parquet(path).height == 20


def test_a_repaired_shard_is_scored_with_the_state_that_was_learned_without_it(corpus, tmp_path):
    victim, out = corpus / "source=a" / "2.parquet", tmp_path / "out"
    whole = victim.read_bytes()
    victim.write_bytes(b"damaged")
    assert score.score(corpus, SPECS, out).rows == 80
    (record,) = (out / "_curate" / "learned").glob("*.json")
    before = record.read_bytes()
    victim.write_bytes(whole)
    assert score.score(corpus, SPECS, out).rows == 20
    assert score.score(corpus, SPECS, out).rows == 0, "the state is good for every later call"
    assert record.read_bytes() == before, "it still says what was learned from"
    assert status.learned(out) == []


@pytest.mark.parametrize("change", ["touched", "other row groups", "other rows"])
def test_a_long_file_that_was_begun_continues_only_with_the_same_rows(tmp_path, monkeypatch, change):
    from curate.scoring import parts, worker
    from curate.tables.scored_inputs import scored_rows
    from curate.tables.scored_inputs.row_hash import BLOCK_ROWS

    monkeypatch.setattr(parts, "PART_ROWS", BLOCK_ROWS)
    monkeypatch.setattr(parts, "TASK_ROWS", 2 * BLOCK_ROWS)
    rows = 5 * BLOCK_ROWS + 100
    frame = pl.DataFrame({"text": [f"row {i}" for i in range(rows)]})
    data, out, calm = tmp_path / "x.parquet", tmp_path / "out", tmp_path / "calm"
    # Tasks end where blocks do, whatever the row groups are.
    frame.write_parquet(data, row_group_size=3001)
    score.score(data, "length", calm)
    whole, batches = worker.apply, []

    def dies(scorers, batch):
        batches.append(batch.height)
        if len(batches) == 4:
            raise KeyboardInterrupt
        return whole(scorers, batch)

    monkeypatch.setattr(worker, "apply", dies)
    with pytest.raises(KeyboardInterrupt):
        score.score(data, "length", out)
    monkeypatch.setattr(worker, "apply", whole)
    if change == "touched":
        os.utime(data)
    else:
        again = frame.with_columns(pl.col("text").reverse()) if change == "other rows" else frame
        again.write_parquet(data, row_group_size=999, compression="gzip")
    if change == "other rows":
        with pytest.raises(Interrupted, match=r"x\.parquet changed"):
            score.score(data, "length", out)
        return
    assert score.score(data, "length", out).rows == rows - 3 * BLOCK_ROWS
    assert scores(out) == scores(calm)
    entries = [json.loads((folder / "_curate/score/x.parquet.json").read_text()) for folder in (out, calm)]
    assert entries[0]["input"] == entries[1]["input"]
    # The hash of parts is that of the whole file.
    assert entries[0]["input"] == scored_rows.row_digest(Shard(data, "x.parquet"), entries[0]["columns"], Reading())
