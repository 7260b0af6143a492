"""The functions prune and pools: the same files as the commands write, results that show themselves, no torch."""

import json

import polars as pl
import pytest
from conftest import console, tree

from curate.pool.pool import load_pools
from curate.pruning.make_pools import pools
from curate.pruning.prune import prune
from curate.scoring import score


@pytest.fixture
def scored(corpus, tmp_path):
    """Scores of 100 documents, 60 of source a and 40 of b."""
    score.score([str(corpus)], ("length", "compression"), tmp_path / "scores")
    return tmp_path / "scores"


def test_the_function_writes_what_the_command_writes(scored, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meaning = {"compression": "hardness"}
    options = {"by": "score.compression", "keep": 0.5, "rule": "easy", "meaning": meaning, "trim": 0.1}
    pruned = prune("scores", "kept", materialize=True, **options)
    files = tree(tmp_path / "kept")
    done = cli(
        "prune",
        "scores",
        "--by",
        "score.compression",
        "--keep",
        0.5,
        "--rule",
        "easy",
        "--meaning",
        "compression=hardness",
        "--trim",
        0.1,
        "--materialize",
        "--out",
        "kept",
        "--json",
    )
    assert json.loads(done.out) == json.loads(json.dumps(pruned.record()))
    assert tree(tmp_path / "kept") == files
    assert {"pools.json", "rows/README.md"} < set(files)
    assert any(name.startswith("rows/data/") for name in files)


def test_a_result_shows_itself(scored, tmp_path):
    meaning = {"compression": "easiness"}
    options = {"by": "score.compression", "keep": 0.5, "rule": "auto", "dimension": 20, "meaning": meaning}
    pruned = prune(scored, tmp_path / "kept", **options)
    assert repr(pruned).startswith(f"Pruned by {pruned.rule.name}: 50 of 100 rows kept in ")
    assert "<table" in pruned._repr_html_()
    assert "by theory, the hardest" in pruned._repr_html_()
    assert pruned.sentence in pruned._repr_html_()
    assert pruned.record()["meaning"] == pruned.rule.meaning == "easiness"
    assert {row["source"] for row in pruned.chart().to_dict()["datasets"].popitem()[1]} == {"a", "b"}
    assert [pool.name for pool in pruned.pools] == ["a", "b"]
    assert pruned.warnings == ()


def test_nothing_kept_has_no_pools_and_a_warning(scored, tmp_path):
    pruned = prune(scored, tmp_path / "kept", by="score.length", keep=1e9, rule="threshold", max_source_removal=1)
    assert pruned.pools is None
    assert pruned.warnings == (f"nothing is kept: there is no {tmp_path / 'kept' / 'pools.json'}",)


def test_kept_rows_without_tokens_are_not_called_nothing(tmp_path):
    pl.DataFrame({"text": ["a", "b c"], "tokens": [0, 0]}).write_parquet(tmp_path / "a.parquet")
    score.score([str(tmp_path / "a.parquet")], ("length",), tmp_path / "scores")
    pruned = prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.5)
    assert pruned.warnings == (f"the kept rows have no tokens: there is no {tmp_path / 'kept' / 'pools.json'}",)


def test_pools_are_a_collection_that_saves_what_the_command_saves(scored, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    three = pools("scores", by="score.length", bins=3)
    three.save("function.json")
    done = cli("pools", "scores", "--by", "score.length", "--bins", 3, "--out", "command.json", "--json")
    assert json.loads(done.out) == {**three.record(), "out": "command.json"}
    assert (tmp_path / "function.json").read_bytes() == (tmp_path / "command.json").read_bytes()
    assert tuple(three) == load_pools(tmp_path / "function.json")
    assert len(three) == len(three.table()) == len(list(three))
    assert three[0].name == three.table()["pool"][0]
    assert repr(three).startswith("Pools of 6009 tokens: a.1, a.2, a.3, b.1")
    assert "<table" in three._repr_html_()
    assert three.chart().to_dict()["mark"] == {"type": "bar"}


def test_results_are_given_on_in_place_of_folders(corpus, tmp_path):
    scores = score.score([str(corpus)], ("length",), tmp_path / "scores")
    pruned = prune(scores, tmp_path / "kept", by="score.length", keep=0.5)
    assert pools(scores, kept=pruned) == pools(tmp_path / "scores", kept=tmp_path / "kept") == pruned.pools


def test_pools_are_of_sources_where_no_score_is_named(scored):
    assert pools(scored) == pools(scored, by="source", bins=3)
    assert [pool.name for pool in pools(scored)] == ["a", "b"]


def test_pruning_works_where_torch_is_not_installed(scored, without_torch):
    theory = ["--keep", 0.5, "--rule", "auto", "--dimension", 9, "--meaning", "length=hardness"]
    for words in (["prune", scored, *theory, "--out", "kept"], ["pools", scored, "--out", "pools.json"]):
        done = without_torch(*console(*words, "--by", "score.length"))
        assert done.returncode == 0, done.stderr


def test_a_table_of_pools_has_whole_numbers(scored):
    assert pools(scored).table().schema == {"pool": pl.String, "tokens": pl.Int64, "examples": pl.Int64}
