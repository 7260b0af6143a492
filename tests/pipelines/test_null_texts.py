"""Rows without text never reach a training set, and a source without tokens is left out; both are said."""

import json

import polars as pl
import pytest

from curate.errors import SchemaError
from curate.pruning import make_pools
from curate.scoring import score
from curate.training_set.job import materialize


def written(path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".arrow":
        frame.write_ipc(path)
    else:
        frame.write_ndjson(path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("scores", [False, True])
def test_rows_without_text_are_not_drawn(tmp_path, suffix, tokens, scores):
    frame = pl.DataFrame(
        {"id": [f"r{i}" for i in range(9)], "text": [None if i % 3 == 0 else "w" * 8 for i in range(9)]}
    )
    if tokens:
        frame = frame.with_columns(tokens=pl.Series([2] * 9))
    written(tmp_path / "data" / f"a{suffix}", frame)
    if scores:
        score.score(str(tmp_path / "data"), "length", tmp_path / "scores", on_error="fail")
        pools = make_pools.pools(tmp_path / "scores")
        assert [pool.tokens for pool in pools] == [18 if tokens else 12]
        pools.save(tmp_path / "pools.json")
    else:
        entry = {"name": "data", "tokens": 18 if tokens else 12, "where": [str(tmp_path / "data")]}
        (tmp_path / "pools.json").write_text(json.dumps({"format": 1, "pools": [entry]}))
    result = materialize(tmp_path / "pools.json", tmp_path / "train")
    rows = pl.read_parquet(tmp_path / "train" / "part-*.parquet")
    assert sorted(rows["id"]) == ["r1", "r2", "r4", "r5", "r7", "r8"]
    assert rows["text"].null_count() == 0
    assert result.notes == ("3 rows of pool 'data' are not drawn, because their text is null",)
    assert json.loads((tmp_path / "train" / "index.json").read_text())["notes"] == list(result.notes)
    # The same call again reads what it recorded.
    assert materialize(tmp_path / "pools.json", tmp_path / "train").notes == result.notes


def test_a_pool_of_null_texts_alone_is_refused(tmp_path):
    frame = pl.DataFrame({"id": ["a"], "text": [None], "tokens": [5]}, schema_overrides={"text": pl.String})
    written(tmp_path / "data" / "a.parquet", frame)
    entry = {"name": "data", "tokens": 5, "where": [str(tmp_path / "data")]}
    (tmp_path / "pools.json").write_text(json.dumps({"format": 1, "pools": [entry]}))
    with pytest.raises(SchemaError, match=r"pool 'data' has no rows with text \(all 1 texts are null\)"):
        materialize(tmp_path / "pools.json", tmp_path / "train")


def sources(tmp_path):
    """Source a has texts, of source b all are empty or null, and one half of c is empty."""
    texts = {"a": ["one two three"] * 6, "b": ["", None] * 3, "c": [""] * 3 + ["one two three four five"] * 3}
    for name, values in texts.items():
        frame = pl.DataFrame(
            {"id": [f"{name}{i}" for i in range(6)], "text": values}, schema_overrides={"text": pl.String}
        )
        written(tmp_path / "data" / name / "x.parquet", frame)
    return tmp_path / "data"


@pytest.mark.parametrize("by", [[], ["--by", "score.length", "--bins", "2"]])
def test_a_source_without_tokens_has_no_pool(tmp_path, by, cli):
    data, scores, out = sources(tmp_path), tmp_path / "scores", tmp_path / "pools.json"
    cli("score", str(data), "--scorer", "length", "--out", str(scores))
    done = cli("pools", str(scores), "--out", str(out), *by)
    assert "note: source 'b' is left out: all its texts are empty or null" in done.err
    pools = {pool["name"]: pool["tokens"] for pool in json.loads(out.read_text())["pools"]}
    assert pools == ({"a": 24, "c.2": 18} if by else {"a": 24, "c": 18})
    assert ("pool 'c.1' is left out: all its 3 texts are empty or null" in done.err) == bool(by)


def test_scores_without_any_token_make_no_pools(tmp_path):
    written(tmp_path / "data" / "a.parquet", pl.DataFrame({"id": ["a", "b"], "text": ["", ""]}))
    score.score(str(tmp_path / "data"), "length", tmp_path / "scores")
    with pytest.raises(SchemaError, match="has no tokens: all texts of 1 source are empty or null"):
        make_pools.pools(tmp_path / "scores")


def pools_json(path, *names: str) -> None:
    entries = [{"name": name, "tokens": 100, "where": [str(path.parent / "data" / name)]} for name in names]
    path.write_text(json.dumps({"format": 1, "pools": entries}))


def test_pilots_train_on_texts_only_and_leave_out_a_pool_without(tmp_path, cli):
    texts = {
        "a": ["one two three four five"] * 120 + [None] * 3,
        "b": ["six seven eight nine ten"] * 120,
        "c": ["", None],
    }
    for name, values in texts.items():
        frame = pl.DataFrame({"text": values}, schema={"text": pl.String})
        written(tmp_path / "data" / name / "x.parquet", frame)
    pools_json(tmp_path / "pools.json", "a", "b", "c")
    out = tmp_path / "runs.parquet"
    done = cli("pilot", tmp_path / "pools.json", "--runs", 3, "--params", 1e3, "--tokens", 1e3, "--out", out)
    assert done.code == 0, done
    assert "note: pool 'c' is left out: all its texts are empty or null" in done.err
    assert "note: 3 rows of pool 'a' are not trained on, because their text is null" in done.err
    columns = pl.read_parquet(out).columns
    assert {"weight.a", "weight.b", "loss.a"} <= set(columns)
    assert "weight.c" not in columns


def test_select_leaves_out_a_source_without_text(tmp_path, cli):
    texts = {"a": "one two three", "b": "six seven eight", "c": ""}
    for name, word in texts.items():
        values = [f"{word} {i}" if word else word for i in range(20)]
        written(tmp_path / "data" / name / "x.parquet", pl.DataFrame({"text": values}))
    written(tmp_path / "target.parquet", pl.DataFrame({"text": [f"one two {i}" for i in range(20)]}))
    out = tmp_path / "plan.json"
    words = ("--target", tmp_path / "target.parquet", "--budget", 100, "--encoder", "hashed:width=16", "--out", out)
    done = cli("select", tmp_path / "data", *words)
    assert done.code == 0, done
    assert "source 'c' is left out: all its texts are empty or null" in done.out + done.err
    assert {pool["name"] for pool in json.loads(out.read_text())["pools"]} == {"a", "b"}
