"""The scorer ``expression``: its values, the columns that it may read, and what it refuses."""

import json

import polars as pl
import pytest
from conftest import documents

import curate
from curate import open_sets
from curate.engines.local import Local
from curate.errors import CurateError, SchemaError

META = [{"url": f"u{i % 3}", "likes": i % 5 or None} for i in range(40)]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.parquet"
    documents(40).with_columns(meta=pl.Series(META), **{"weird, name": pl.Series(range(40))}).write_parquet(path)
    return path


def scores(out) -> pl.DataFrame:
    return pl.read_parquet(out / "rows.parquet.scores.parquet")


def test_it_reads_scores_and_columns_and_structs(rows, tmp_path):
    sql = "score.length / tokens + case when meta.url = 'u1, x=y' or meta.url = 'u1' then 10 else 0 end"
    spec = f"expression:name=ratio,meaning=quality,sql={sql}"
    curate.score(rows, [spec, "length"], tmp_path / "out")
    frame = scores(tmp_path / "out")
    expected = [
        length / tokens + (10 if meta["url"] == "u1" else 0)
        for length, tokens, meta in zip(frame["score.length"], frame["tokens"], META, strict=True)
    ]
    assert frame["score.ratio"].to_list() == pytest.approx(expected, abs=1e-12)


def test_a_chain_of_expressions_has_the_same_scores_in_any_order_and_for_any_workers(rows, tmp_path):
    specs = ["expression:name=b,sql=score.a * 2", "expression:name=a,sql=score.length + 1", "length"]
    curate.score(rows, specs, tmp_path / "first")
    curate.score(rows, specs[::-1], tmp_path / "second", engine=Local(2), batch_rows=7)
    first, second = scores(tmp_path / "first"), scores(tmp_path / "second")
    assert first.select(sorted(first.columns)).equals(second.select(sorted(second.columns)))
    assert first["score.b"].to_list() == ((first["score.length"] + 1) * 2).to_list()


def test_the_same_call_continues(rows, tmp_path):
    spec = "expression:name=n,sql=coalesce(meta.likes, 0)"
    assert curate.score(rows, spec, tmp_path / "out").rows == 40
    before = (tmp_path / "out" / "rows.parquet.scores.parquet").read_bytes()
    assert curate.score(rows, spec, tmp_path / "out").rows == 0
    assert (tmp_path / "out" / "rows.parquet.scores.parquet").read_bytes() == before
    with pytest.raises(CurateError, match="scorers"):
        curate.score(rows, spec + " + 1", tmp_path / "out")


def test_true_is_one_and_a_meaning_is_recorded_only_if_it_was_given(rows, tmp_path):
    result = curate.score(rows, 'expression:name=many,sql="weird, name" >= 20', tmp_path / "out")
    assert scores(tmp_path / "out")["score.many"].to_list() == [0.0] * 20 + [1.0] * 20
    assert not [text for text in result.warnings if "score.many" in text]
    with pytest.raises(CurateError, match="--meaning"):
        curate.prune(tmp_path / "out", by="score.many", keep=0.5, out=tmp_path / "kept")


@pytest.mark.parametrize(
    "spec, message",
    [
        ("expression:sql=tokens", "name='' and sql='tokens' are both needed"),
        ("expression:name=a b,sql=tokens", "letters, digits and _ only"),
        ("expression:name=n", "are both needed"),
        ("expression:name=n,meaning=good,sql=tokens", "'good' is not a meaning of a score"),
        ("expression:name=n,sql=tokens +", "is no SQL expression"),
        ("expression:name=n,sql=tokens many", "unexpected 'many' at its end"),
        ("expression:name=n,sql=sum(tokens)", "depends on other rows"),
        ("expression:name=n,sql=tokens > (select 1)", "has a subquery"),
        ("expression:name=n,sql=count(*)", "depends on other rows"),
        ("expression:name=n,sql=rank() over (order by tokens)", "has a window (OVER)"),
        ("expression:name=n,sql=lag(tokens) over (order by id)", "has a window (OVER)"),
        ("expression:name=n,sql=columns('score.*')", "stands for several columns"),
        ("expression:name=n,sql=read_csv('secret.csv')", "reads a file"),
        ("expression:name=n,sql=date_part('year', now())", "reads the clock"),
        ("expression:name=n,sql=score.n + 1", "reads score.n, which it makes itself"),
        ("expression:name=n,sql=tokns + 1", "names 'tokns', which is no column; did you mean 'tokens'?"),
        (
            "expression:name=n,sql=score.lenght + 1",
            "names 'score.lenght', which is no column; did you mean 'score.length'?",
        ),
        ("expression:name=n,sql=meta.url", "gives String, which is no number"),
        ("expression:name=n,sql=meta.nothing", "there is no field 'nothing'"),
        ("expression:name=n,sql=meta.likes", "is null in 8 rows, the first with id"),
        ("expression:name=n,sql=1 / (tokens - tokens)", "is inf in 40 rows"),
        ("expression:name=length,sql=tokens", "both make score.length. Leave one out"),
    ],
)
def test_what_it_refuses_is_one_line(spec, message, rows, tmp_path):
    with pytest.raises(CurateError) as caught:
        curate.score(rows, ["length", spec], tmp_path / "out", on_error="fail")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_no_number_stops_the_job(rows, tmp_path):
    """No file is set aside for it, since the expression has to change."""
    with pytest.raises(CurateError, match=r"^expression n \(meta.likes\) is null in 8 rows, the first with id"):
        curate.score(rows, "expression:name=n,sql=meta.likes", tmp_path / "out")


def test_two_that_read_each_other_are_refused(rows, tmp_path):
    with pytest.raises(SchemaError, match="read each other's columns"):
        curate.score(rows, ["expression:name=a,sql=score.b", "expression:name=b,sql=score.a"], tmp_path / "out")


def test_the_rest_of_the_text_is_the_sql():
    assert open_sets.parse("expression:name=a,sql=f(x, y:=2), sql=3") == (
        "expression",
        {"name": "a", "sql": "f(x, y:=2), sql=3"},
    )
    assert open_sets.parse("expression:sql=1")[1] == {"sql": "1"}


def test_the_record_keeps_the_spec(rows, tmp_path):
    spec = "expression:name=n,sql=tokens / 2"
    curate.score(rows, spec, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "_curate" / "score.json").read_text())["scorers"] == [spec]
