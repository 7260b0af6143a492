"""Examples of removed rows: the same for any order of the files, with values and text from scores and inputs."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import documents, tree
from score_folders import score_folder

from curate.pruning.prune import prune
from curate.pruning.removal_report import examples
from curate.scoring.score import score
from curate.tables import batches


@pytest.fixture(params=["parquet", "jsonl"])
def folder(request, tmp_path):
    """Two files of documents with a struct and another name of the column of texts."""
    frame = (
        documents(60)
        .rename({"text": "body"})
        .with_columns(meta=pl.struct(lang=pl.Series(["en", "de", None] * 20), url=pl.lit("u|v")), n=pl.int_range(60))
    )
    (tmp_path / "data").mkdir()
    for number, part in enumerate((frame[:25], frame[25:])):
        path = tmp_path / "data" / f"{number}.{request.param}"
        part.write_parquet(path) if request.param == "parquet" else part.write_ndjson(path)
    score([str(tmp_path / "data")], ("length",), tmp_path / "scores", text_column="body")
    return tmp_path


def test_examples_show_values_and_the_text(folder, cli):
    require = ("--require", "n < 40 OR body LIKE 'x%'", "--require", "meta.lang = 'en'")
    done = cli("prune", folder / "scores", *require, "--json", "--out", folder / "kept")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["total"]["kept"] == 14
    rows = {row["id"]: row for row in documents(60).to_dicts()}
    keys = {f"d{i}": batches.keys([f"d{i}"], 0)[0] for i in range(60)}
    for reason, removed in (
        ("n < 40 OR body LIKE 'x%'", [f"d{i}" for i in range(40, 60)]),
        ("meta.lang = 'en'", [f"d{i}" for i in range(40) if i % 3]),
    ):
        shown = [row for row in record["examples"] if row["reason"] == reason]
        assert [row["id"] for row in shown] == sorted(removed, key=keys.__getitem__)[:3]
        for row in shown:
            assert rows[row["id"]]["text"].startswith(row["text"])
            assert len(row["text"]) == 100
    first = next(row for row in record["examples"] if row["reason"].startswith("n <"))
    assert f"n = {first['id'][1:]}" in first["values"]
    page = (folder / "kept" / "removal.md").read_text()
    assert "| reason | rows | tokens |" in page
    assert page.count(first["id"]) >= 1
    lines = page.split("## Examples of removed rows")[1].splitlines()
    assert {line.count(" | ") for line in lines if "|" in line and "---" not in line} == {4}


def test_an_input_that_changed_is_refused(folder):
    path = next((folder / "data").glob("1.*"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception, match="changed|damaged|rows"):
        prune(folder / "scores", folder / "kept", require=["n < 40"])


def test_without_the_inputs_examples_have_no_text(tmp_path):
    frame = pl.DataFrame({"id": list("abcdef"), "source": "s", "tokens": 1, "score.x": [float(i) for i in range(6)]})
    scores = score_folder(tmp_path / "scores", frame, cuts=(2,))
    pruned = prune(scores, tmp_path / "kept", require=["score.x > 4"])
    assert set(pruned.removal.examples["text"]) == {""}
    assert all(value.startswith("score.x = ") for value in pruned.removal.examples["values"])


def test_places_do_not_depend_on_how_rows_are_cut(monkeypatch):
    monkeypatch.setattr(examples, "LOOKED_AT", 50)
    rows = pl.DataFrame({"id": [f"r{i}" for i in range(200)], "source": "s"})
    reasons = np.random.default_rng(0).integers(-1, 3, 200)
    tables = []
    for step in (200, 7, 1):
        places = examples.ExamplePlaces()
        for start in range(0, 200, step):
            places.add(rows[start : start + step], reasons[start : start + step], start, 0)
        tables.append(places.table)
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    keys = batches.keys(rows["id"], 0)
    for reason in range(3):
        among = np.flatnonzero(reasons == reason)[:50]
        expected = among[np.argsort(keys[among])[:3]]
        assert tables[0].filter(reason=reason)["row"].to_list() == expected.tolist()


def test_what_a_killed_prune_left_changes_nothing(tmp_path):
    frame = pl.DataFrame({"id": list("abcdef"), "source": "s", "tokens": 1, "score.x": [float(i) for i in range(6)]})
    scores = score_folder(tmp_path / "scores", frame, cuts=(2,))
    prune(scores, tmp_path / "kept", require=["score.x > 2"])
    calm = tree(tmp_path / "kept")
    left_over = tmp_path / "kept" / "_curate" / "requirements" / "linked"
    left_over.mkdir(parents=True)
    (left_over / "0.npz").write_bytes(b"half a file")
    (left_over.parent / "a.parquet.npy").write_bytes(b"half a file")
    prune(scores, tmp_path / "kept", require=["score.x > 2"])
    assert tree(tmp_path / "kept") == calm
