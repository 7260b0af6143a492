"""Files on whose rows a scorer cannot learn: set aside alone, and what is learned is as if they were not there."""

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import documents, one_line, tree

from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.scoring import score
from curate.scoring.learning import corpus_parts
from curate.scoring.reports import status
from curate.tables.corpus import Corpus

# A scorer that learns the mean length of texts by part, and fails on some rows in the way that its option says.
OWN = """
import os, signal
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import polars as pl

LEARNS_ADDED_FILES = False

@dataclass(frozen=True)
class Mean:
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    schema: ClassVar = {"score.mean": pl.Float64()}
    needs: ClassVar = ("text",)
    meanings: ClassVar = {"score.mean": "quality"}

    @property
    def arrays(self):
        return {"mean": self.mean}

    def __call__(self, batch):
        return pl.DataFrame({"score.mean": batch["text"].str.len_chars().cast(pl.Float64) - float(self.mean[0])})


def lengths(how, rows):
    total, count = 0, 0
    for batch in rows.batches():
        odd = batch["text"].fill_null("").str.contains("odd").any()
        if odd and how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if odd:
            raise ZeroDivisionError("an odd row")
        total += int(batch["text"].str.len_chars().sum())
        count += batch.height
    return {"total": np.array(total), "count": np.array(count)}


def table(how, rows):
    result = lengths(how, rows)
    return pl.DataFrame({"key": [1], "total": [int(result["total"])], "count": [int(result["count"])]},
        schema={"key": pl.UInt64, "total": pl.Int64, "count": pl.Int64})


def summed(frame):
    return {"total": np.array(frame["total"].sum()), "count": np.array(frame["count"].sum())}


def learn(corpus, *, how="map"):
    if how == "exchange":
        results = list(corpus.exchange(partial(table, how), "key", summed, name="all", splits=1, needs=("text",)))
    else:
        results = list(corpus.map(partial(lengths, how), ("text",), keep="lengths" if how == "keep" else ""))
    return Mean(np.array([sum(int(r["total"]) for r in results) / max(1, sum(int(r["count"]) for r in results))]))
"""


@pytest.fixture
def data(tmp_path):
    """Six small files in one or several bundles. Two have an odd row."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abcdef":
        texts = [f"text {i} of {name}{' odd' if name + str(i) in ('b3', 'e1') else ''} " * 9 for i in range(5)]
        lines = [json.dumps({"id": f"{name}{i}", "text": text}) for i, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "own.py").write_text(OWN)
    return folder


def scores(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(out).items() if name.endswith(".scores.parquet")}


def without(data: Path, names: tuple[str, ...]) -> Path:
    # The name of the folder is the source of the rows.
    folder = data.parent / "without" / data.name
    folder.mkdir(parents=True)
    for path in data.iterdir():
        if path.name not in names:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("bundled", [True, False])
@pytest.mark.parametrize("how", ["map", "keep", "exchange"])
def test_files_on_which_a_scorer_cannot_learn_are_set_aside(data, tmp_path, monkeypatch, how, bundled):
    if not bundled:
        monkeypatch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", 1)
    specs = ("duplicates", f"{tmp_path / 'own.py'}:Mean:how={how}", "embedding:width=16", "semdedup:k=2")
    scored = score.score(data, specs, tmp_path / "out")
    assert scored.rows == 20
    assert list(scored.quarantined) == ["b.jsonl", "e.jsonl"]
    assert scored.quarantined["b.jsonl"] == f"{data / 'b.jsonl'}: ZeroDivisionError: an odd row"
    good = without(data, ("b.jsonl", "e.jsonl"))
    score.score(good, specs, tmp_path / "calm")
    assert scores(tmp_path / "out") == scores(tmp_path / "calm")
    kept = [path for path in (tmp_path / "out" / "_curate" / "duplicates").rglob("*.npz")]
    assert {path.parent.name for path in kept} == {"duplicates", "signatures", "links", "merges"}
    (folder,) = (path for path in tmp_path.glob("out/_curate/parts/learning") if any(path.iterdir()))
    assert len(list(folder.iterdir())) == 1, "the cache of the own scorer"
    (folder / "density-0123456789abcdef").mkdir()
    (folder / "density-0123456789abcdef" / "origin.txt").write_text("of a job before")
    # Repaired, the files are scored by the same command, and compared with the older files.
    for name in "be":
        path = data / f"{name}.jsonl"
        path.write_text(path.read_text().replace("odd", "even"))
    copy = json.loads((data / "a.jsonl").read_text().splitlines()[0])
    with (data / "b.jsonl").open("a") as file:
        file.write(json.dumps({**copy, "id": "copy"}) + "\n")
    before = scores(tmp_path / "out")
    states = {row["shard"]: row for row in status.status(tmp_path / "out")}
    assert states["b.jsonl"]["why"].startswith("the file was changed since it was set aside")
    again = score.score(data, specs, tmp_path / "out")
    assert again.rows == 11 and not again.quarantined
    assert len(list(folder.iterdir())) == 1, "the cache of a scorer that the job has not"
    assert before.items() <= scores(tmp_path / "out").items()
    repaired = pl.read_parquet(tmp_path / "out" / "b.jsonl.scores.parquet")
    assert repaired.filter(pl.col("id") == "copy")["score.duplicates"].to_list() == [0.0]


def test_with_fail_the_job_stops_at_the_first_failure(data, tmp_path):
    with pytest.raises(SchemaError, match="own.py:Mean failed while it learned .ZeroDivisionError: an odd row."):
        score.score(data, f"{tmp_path / 'own.py'}:Mean", tmp_path / "out", on_error="fail")


def test_if_every_file_fails_the_job_does(data, tmp_path, cli):
    for path in data.iterdir():
        path.write_text(path.read_text().replace("text 2", "odd"))
    line = one_line(cli("score", data, "--scorer", f"{tmp_path / 'own.py'}:Mean", "--out", tmp_path / "out"))
    assert line == f"curate: {data / 'a.jsonl'}: ZeroDivisionError: an odd row"


def test_a_file_that_ends_the_workers_that_learn_from_it_is_set_aside(data, tmp_path):
    (data / "e.jsonl").unlink()
    scored = score.score(data, f"{tmp_path / 'own.py'}:Mean:how=dies", tmp_path / "out", engine=Local(2))
    assert scored.rows == 20
    (reason,) = scored.quarantined.values()
    assert reason.startswith(f"{data / 'b.jsonl'}: the worker process ended each of the 3 times")
    score.score(without(data, ("b.jsonl",)), f"{tmp_path / 'own.py'}:Mean:how=dies", tmp_path / "calm")
    assert scores(tmp_path / "out") == scores(tmp_path / "calm")


def test_a_new_file_that_fails_leaves_the_older_scores(data, tmp_path):
    specs = ("duplicates", "embedding:width=16", "semdedup:k=2", f"{tmp_path / 'own.py'}:Mean")
    good = without(data, ("b.jsonl", "e.jsonl", "f.jsonl"))
    own = tmp_path / "own.py"
    own.write_text(OWN.replace("LEARNS_ADDED_FILES = False", "LEARNS_ADDED_FILES = True"))
    for out in ("out", "calm"):
        score.score(good, specs, tmp_path / out)
    (good / "f.jsonl").write_bytes((data / "f.jsonl").read_bytes())
    score.score(good, specs, tmp_path / "calm")
    (good / "b.jsonl").write_bytes((data / "b.jsonl").read_bytes())
    scored = score.score(good, specs, tmp_path / "out")
    assert scored.rows == 5 and list(scored.quarantined) == ["b.jsonl"]
    assert scores(tmp_path / "out") == scores(tmp_path / "calm")
    states = {row["shard"]: row["state"] for row in status.status(tmp_path / "out")}
    assert states["b.jsonl"] == "quarantined" and states["f.jsonl"] == "done"


def test_vectors_of_another_length_are_set_aside_before_scorers_learn(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for i in range(4):
        width = 3 if i == 2 else 4
        vectors = [[float(j + k) % 7 + 1 for k in range(width)] for j in range(20)]
        frame = documents(20, 20 * i).with_columns(pl.Series("emb.x", vectors, pl.List(pl.Float32)))
        frame.write_parquet(data / f"{i}.parquet")
        frame.write_ndjson(data / f"{i}.jsonl") if i > 1 else None
    scored = score.score(data, ("prototypes:k=3,embedding=emb.x",), tmp_path / "out")
    assert sorted(scored.quarantined) == ["2.jsonl", "2.parquet"]
    assert "vectors of 3 numbers" in scored.quarantined["2.parquet"]
    assert scored.rows == 80


def test_a_job_that_was_killed_while_it_learns_is_shown_by_status(data, tmp_path, cli, monkeypatch):
    class Killed(BaseException):
        """Stands for the end of a process."""

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Corpus, "map", killed)
        score.score(data, "duplicates", tmp_path / "out")
    told = cli("status", tmp_path / "out")
    assert told.code == 0
    assert told.out.startswith("0 of 6 files done\n6 to do\nthe job has not ended: run the same `curate score` again")


def test_a_learner_that_is_added_to_a_finished_job_is_named_alone(corpus, tmp_path):
    score.score(corpus, "duplicates", tmp_path / "out")
    with pytest.raises(Interrupted) as stop:
        score.score(corpus, ("duplicates", "repetition"), tmp_path / "out")
    assert "scorers changed (duplicates -> duplicates, repetition)" in str(stop.value)
    assert "formats" not in str(stop.value)
