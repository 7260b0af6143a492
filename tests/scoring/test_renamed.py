"""Columns of a scorer under another name: ``name=`` makes the same scorer possible twice in a job."""

import json

import polars as pl
import pyarrow.parquet as pq
import pytest

from curate.scoring import renamed, specs


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(path)
    return path


def scored(tmp_path, cli, *scorers, out="out"):
    options = [word for scorer in scorers for word in ("--scorer", scorer)]
    result = cli("score", tmp_path / "data", *options, "--out", tmp_path / out)
    assert result.code == 0, result.err
    path = tmp_path / out / "a.parquet.scores.parquet"
    return pl.read_parquet(path), json.loads(pq.read_schema(path).metadata[b"curate"])


def test_duplicates_of_each_other_and_of_a_benchmark_in_one_job(tmp_path, cli):
    benchmark = write(tmp_path / "bench" / "b.parquet", text=["a question of the benchmark"])
    texts = ["mine", "a question of the benchmark", "mine", "other"]
    write(tmp_path / "data" / "a.parquet", text=texts)
    scorers = ("duplicates", f"duplicates:against={benchmark},name=leaks", "agreement")
    table, record = scored(tmp_path, cli, *scorers)
    assert sorted(table["score.duplicates"].to_list()) == [0, 1, 1, 1]
    assert table["score.leaks"].to_list() == [1, 0, 1, 1]
    assert record["meanings"] == dict.fromkeys(("score.duplicates", "score.leaks", "score.agreement"), "quality")
    assert (tmp_path / "out" / "_curate" / "duplicates" / "links").is_dir()
    # Added files are learned by each of them, and old scores stay.
    write(tmp_path / "data" / "b.parquet", text=["other", "a question of the benchmark"])
    result = cli("score", tmp_path / "data", *[w for s in scorers for w in ("--scorer", s)], "--out", tmp_path / "out")
    assert result.code == 0, result.err
    added = pl.read_parquet(tmp_path / "out" / "b.parquet.scores.parquet")
    assert added["score.duplicates"].to_list() == [0, 0]
    assert added["score.leaks"].to_list() == [1, 0]
    alone, _ = scored(tmp_path, cli, f"duplicates:against={benchmark}", out="alone")
    assert alone["score.duplicates"].equals(table["score.leaks"].rename("score.duplicates"))


def test_a_scorer_that_does_not_learn_twice(tmp_path, cli):
    write(tmp_path / "data" / "a.parquet", text=["one two", "three"])
    table, record = scored(tmp_path, cli, "length", "length:unit=word,name=words")
    assert table.select("score.length", "score.words").rows() == [(7, 2), (5, 1)]
    assert record["meanings"]["score.words"] == "quality"


def test_two_filters_in_one_job_have_verdicts_and_reasons_of_their_own(tmp_path, cli):
    text = "The cat sat on the mat and the dog sat with it. " * 3
    write(tmp_path / "data" / "a.parquet", text=[text, "short"])
    scorers = (
        "gopher",
        "gopher:rules=quality,min_words=20,min_word_length=2,name=quality",
        "gopher:rules=repetition,name=repeats",
    )
    table, record = scored(tmp_path, cli, *scorers)
    assert table.select("score.quality", "reason.quality").rows() == [(1, None), (0, "gopher_short_doc")]
    assert table["reason.repeats"].to_list()[1] is None
    assert table["reason.gopher"].to_list() == [table["reason.repeats"][0], "gopher_short_doc"]
    assert record["meanings"] == dict.fromkeys(("score.gopher", "score.quality", "score.repeats"), "quality")
    result = cli("prune", tmp_path / "out", "--require", "reason.quality is null", "--out", tmp_path / "kept")
    assert result.code == 0, result.err
    assert pl.read_parquet(tmp_path / "kept" / "a.parquet.keep.parquet")["keep"].to_list() == [True, False]


def test_a_score_without_the_name_of_its_scorer_is_renamed_too(tmp_path, cli):
    probs = pl.Series([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], dtype=pl.Array(pl.Float32, 2))
    write(tmp_path / "data" / "a.parquet", text=list("wxyz"), label=[0, 1, 0, 1], **{"probs.0": probs})
    table, _ = scored(tmp_path, cli, "label_quality", "label_quality:name=again")
    assert table["score.again"].equals(table["score.label_quality"].rename("score.again"))
    assert table["score.again_label_joint"].to_list() == table["score.label_joint"].to_list()


def test_every_column_of_a_scorer_is_renamed_and_other_scorers_read_it(tmp_path, cli):
    logits = pl.Series([[2.0, 1.0], [0.5, 1.0]], dtype=pl.Array(pl.Float32, 2))
    write(tmp_path / "data" / "a.parquet", text=["x", "y"], label=[0, 1], **{"logits.0": logits, "logits.1": logits})
    table, record = scored(tmp_path, cli, "cartography:name=map")
    assert {"score.map_confidence", "score.map_variability", "score.map_correctness"} <= set(table.columns)
    assert record["meanings"]["score.map_variability"] == "hardness"


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        (["length", "length:unit=word"], "both make score.length. Leave one out, or give one of them another name"),
        (["length:name=a b"], "length: name=a b may have letters, digits and _ only"),
        (["embedding:name=other"], "embedding: name=other has no effect, since it adds emb.hashed. Leave it out"),
        (["duplicates:name=x,bnads=3"], "duplicates has no option 'bnads'; did you mean 'bands'?"),
        (["length:name=compression", "compression"], "both make score.compression"),
    ],
)
def test_wrong_names_are_one_line(scorers, message):
    with pytest.raises(specs.open_sets.CurateError, match=message.replace("?", r"\?")) as caught:
        specs.check_columns_added(scorers)
    assert "\n" not in str(caught.value)


def test_a_scorer_without_a_name_is_the_scorer_itself():
    plain = specs.build("length")
    assert renamed.with_name("length", plain) is plain
    with pytest.raises(specs.open_sets.CurateError, match="option name= in 'length:name=' has no value"):
        specs.build("length:name=")
