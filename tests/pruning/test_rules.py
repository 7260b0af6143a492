"""Rules beyond an order: what auto decides, that a draw is one, that sums do not depend on order."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from score_folders import JOB

from curate.pruning import auto_rule, prune
from curate.pruning.columns import exact_sums
from curate.scoring import score
from curate.tables import batches


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30), st.randoms())
def test_moments_are_exact_in_any_order(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    moments, by_number = exact_sums.Moments(), exact_sums.Moments()
    exact_sums.add(moments, np.array(values))
    for value in shuffled:
        exact_sums.add(by_number, np.array([value]))
    mean, deviation = exact_sums.result(moments, len(values))
    assert (mean, deviation) == exact_sums.result(by_number, len(values))
    scale = max(1e-300, max(map(abs, values)))
    scaled = np.array(values) / scale
    assert mean / scale == pytest.approx(scaled.mean(), abs=1e-12)
    assert deviation / scale == pytest.approx(scaled.std(), abs=1e-7)


def test_auto_keeps_easy_ones_when_scarce_and_hard_ones_when_plenty():
    scarce, plenty = auto_rule.advise(1000, 400, 0.4), auto_rule.advise(1000, 20, 0.4)
    assert (scarce.choice, plenty.choice) == ("easy", "hard")
    assert scarce.alpha == 2.5
    assert scarce.crossover == pytest.approx(5.755, abs=2e-3)
    assert "below 5.76" in scarce.lines()[0]
    assert "keeping the easiest 72 % is best of all" in scarce.lines()[2]
    assert "above 5.76" in plenty.lines()[0]
    assert "by theory, the hardest 7.43 % of the rows give the error of all rows to within 1 %" in plenty.lines()[1]
    row = plenty.table().filter(pl.col("keep") == 0.4).row(0, named=True)
    assert row["hard"] < row["easy"] < row["random"]


@pytest.fixture
def scored(corpus, tmp_path):
    score.score([str(corpus)], ("length", "compression"), tmp_path / "scores")
    return tmp_path / "scores"


def kept(folder):
    frame = pl.concat([pl.read_parquet(p) for p in sorted(folder.rglob("*.keep.parquet"))])
    return set(frame.filter("keep")["id"])


@pytest.mark.parametrize("meaning", ["hardness", "easiness"])
@pytest.mark.parametrize(("dimension", "rule"), [(100, "easy"), (1, "hard")])
def test_auto_prunes_as_the_rule_it_chooses(scored, tmp_path, dimension, meaning, rule):
    arguments = {"by": "score.length", "keep": 0.5, "max_source_removal": 1, "meaning": {"length": meaning}}
    pruned = prune.prune(scored, tmp_path / "auto", rule="auto", dimension=dimension, **arguments)
    assert pruned.rule.name == rule
    prune.prune(scored, tmp_path / "plain", rule=rule, **arguments)
    assert kept(tmp_path / "auto") == kept(tmp_path / "plain")
    scores = pl.concat([pl.read_parquet(p) for p in sorted(scored.rglob("*.scores.parquet"))])
    keeps = pl.col("id").is_in(sorted(kept(tmp_path / "auto")))
    kept_mean, dropped_mean = (scores.filter(rows)["score.length"].mean() for rows in (keeps, ~keeps))
    assert (kept_mean > dropped_mean) == ((rule == "hard") == (meaning == "hardness"))


@pytest.mark.parametrize(("rows", "width", "rule"), [(600, 3, "hard"), (60, 12, "easy")])
def test_auto_estimates_the_dimension_of_the_only_vectors(tmp_path, rows, width, rule):
    """Normal vectors in few or many of 16 directions; a tenth of 60 rows of 12 dimensions is scarce."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(rows, width)) @ np.linalg.qr(rng.normal(size=(16, width)))[0].T).astype(np.float32)
    frame = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(rows)],
            "source": ["a"] * rows,
            "tokens": [1] * rows,
            "score.x": rng.random(rows),
        }
    ).with_columns(pl.Series("emb.x", x, dtype=pl.Array(pl.Float32, 16)))
    (tmp_path / "s" / "_curate").mkdir(parents=True)
    (tmp_path / "s" / "_curate" / "score.json").write_text(json.dumps(JOB))
    batches.write(tmp_path / "s" / "0.parquet.scores.parquet", [frame], fields={"meanings": {"score.x": "hardness"}})
    pruned = prune.prune(tmp_path / "s", tmp_path / "k", by="score.x", keep=0.1, rule="auto")
    assert pruned.rule.name == rule
    assert pruned.advice.estimated_from == "emb.x"
    assert pruned.advice.dimension == pytest.approx(width, rel=0.45)  # biased low with few rows
    assert "dimensions of emb.x, estimated" in pruned.advice.lines()[0]


def test_a_draw_favours_high_scores_by_its_temperature(tmp_path):
    """Two values, one standard deviation either side: at temperature T the odds of the first draws are exp(2 / T)."""
    n = 4000
    frame = pl.DataFrame(
        {"id": [f"r{i}" for i in range(n)], "source": ["a"] * n, "tokens": [1] * n, "score.x": [0.0, 1.0] * (n // 2)}
    )
    (tmp_path / "s" / "_curate").mkdir(parents=True)
    (tmp_path / "s" / "_curate" / "score.json").write_text(json.dumps(JOB))
    batches.write(tmp_path / "s" / "0.parquet.scores.parquet", [frame])
    high = frame.filter(pl.col("score.x") == 1)["id"]
    for temperature, share in (("2", np.e / (1 + np.e)), ("inf", 0.5), ("-2", 1 / (1 + np.e)), ("raw:2", 0.6225)):
        prune.prune(
            tmp_path / "s", tmp_path / "k", by="score.x", keep=0.05, rule="sample", temperature=temperature, seed=3
        )
        ids = kept(tmp_path / "k")
        assert len(ids) == 200
        assert len(ids & set(high)) / 200 == pytest.approx(share, abs=0.08)  # 2.3 standard errors


def test_the_draw_does_not_depend_on_the_order_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(500)],
            "source": ["a"] * 500,
            "tokens": [1] * 500,
            "score.x": rng.normal(size=500),
        }
    )
    draws = []
    for name, rows in (("one", frame), ("two", frame.reverse())):
        (tmp_path / name / "_curate").mkdir(parents=True)
        (tmp_path / name / "_curate" / "score.json").write_text(json.dumps(JOB))
        batches.write(tmp_path / name / "0.parquet.scores.parquet", [rows[:200], rows[200:]])
        prune.prune(tmp_path / name, tmp_path / name / "k", by="score.x", keep=0.3, rule="sample", temperature="1")
        draws.append(kept(tmp_path / name / "k"))
    assert draws[0] == draws[1]
    assert len(draws[0]) == 150


def test_strata_of_one_value_are_a_uniform_draw(scored, tmp_path):
    prune.prune(scored, tmp_path / "k", by="score.length", keep=0.4, rule="stratified", max_source_removal=1)
    assert len(kept(tmp_path / "k")) == 40


@pytest.mark.parametrize("meaning", ["hardness", "easiness"])
@pytest.mark.parametrize(("rule", "dimension"), [("hard", None), ("easy", None), ("auto", 1), ("auto", 100)])
def test_the_hard_end_is_trimmed(tmp_path, meaning, rule, dimension):
    """Ten rows of a score that rises; 30 % are kept, next to what was trimmed or at the easy end."""
    (tmp_path / "data").mkdir()
    pl.DataFrame({"id": [f"r{i}" for i in range(10)], "text": ["w" * (i + 1) for i in range(10)]}).write_parquet(
        tmp_path / "data" / "0.parquet"
    )
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    arguments = {"by": "score.length", "keep": 0.3, "rule": rule, "dimension": dimension, "trim": 0.1}
    prune.prune(tmp_path / "scores", tmp_path / "kept", meaning={"score.length": meaning}, **arguments)
    hardest_first = list(range(10)) if meaning == "easiness" else list(range(9, -1, -1))
    hard = rule == "hard" or dimension == 1
    expected = hardest_first[1:4] if hard else hardest_first[-3:]
    assert kept(tmp_path / "kept") == {f"r{i}" for i in expected}
    frame = pl.read_parquet(tmp_path / "kept" / "0.parquet.keep.parquet")
    assert frame.filter(pl.col("reason") == "trimmed: score.length")["id"].to_list() == [f"r{hardest_first[0]}"]
