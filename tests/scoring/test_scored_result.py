"""The function `score` for a notebook: tables in memory, and a result that shows itself."""

import polars as pl
import pytest
from conftest import documents, tree

from curate.errors import Interrupted, SchemaError
from curate.pruning import make_pools, prune
from curate.scoring import score
from curate.tables.scored import pool_batches

TABLE = documents(30).with_columns(source=pl.Series(["a", "b"] * 15))


@pytest.fixture
def scored(corpus, tmp_path):
    return score.score(corpus, ["length", "compression"], tmp_path / "out")


def test_a_table_in_memory_is_scored_like_a_file(tmp_path):
    TABLE.write_parquet(tmp_path / "rows.parquet")
    on_disk = score.score(tmp_path / "rows.parquet", "length", tmp_path / "disk")
    for name, table in (("polars", TABLE), ("lazy", TABLE.lazy()), ("arrow", TABLE.to_arrow())):
        in_memory = score.score(table, "length", tmp_path / name)
        assert in_memory.rows == 30
        assert in_memory.scores().collect().equals(on_disk.scores().collect())
    name = "rows.parquet.scores.parquet"
    assert tree(tmp_path / "polars")[name] == tree(tmp_path / "disk")[name]


def test_the_same_table_again_is_done_and_another_is_refused(tmp_path):
    out = tmp_path / "out"
    score.score(TABLE, "length", out)
    before = tree(out)
    assert score.score(TABLE.clone(), "length", out).rows == 0
    with pytest.raises(Interrupted, match="holds scores of another table.*restart=True"):
        score.score(TABLE.reverse(), "length", out)
    assert tree(out) == before
    assert score.score(TABLE.reverse(), "length", out, restart=True).rows == 30


def test_a_table_with_vectors_can_be_learned_from_and_pruned(tmp_path):
    vectors = pl.Series("emb.e", [[float(i % 7), 1.0] for i in range(30)], dtype=pl.Array(pl.Float32, 2))
    score.score(TABLE.with_columns(vectors), ["length", "prototypes:k=2,embedding=emb.e"], tmp_path / "out")
    prune.prune(tmp_path / "out", tmp_path / "kept", by="score.length", keep=0.5)
    pools = make_pools.pools(tmp_path / "out", kept=tmp_path / "kept")
    texts = [text for pool in pools for batch in pool_batches(pool, ("text",)) for text in batch["text"]]
    assert len(texts) == 15 and set(texts) <= set(TABLE["text"])


def test_a_table_without_rows_is_scored(tmp_path):
    assert score.score(TABLE.clear(), "length", tmp_path / "out").rows == 0


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="int is not a table"):
        score.score(3, "length", tmp_path / "out")


@pytest.mark.parametrize(("data", "scorers", "message"), [([], ["length"], "no data"), (TABLE, [], "no scorers")])
def test_nothing_to_score_is_said(tmp_path, data, scorers, message):
    with pytest.raises(SchemaError, match=message):
        score.score(data, scorers, tmp_path / "out")


def test_the_result_has_a_row_for_each_file(scored):
    table = scored.table()
    assert table.columns == ["shard", "state", "rows", "why"]
    assert set(table["state"]) == {"done"} and table["rows"].sum() == 100


def test_the_scores_are_one_lazy_frame(scored):
    frame = scored.scores().collect()
    assert frame.columns == ["id", "source", "tokens", "score.length", "score.compression"]
    assert frame.height == 100


def test_the_result_shows_itself_shortly(scored, corpus, tmp_path):
    assert repr(scored) == f"Scored(100 rows scored now, 5 files, out={str(tmp_path / 'out')!r})"
    (corpus / "source=a" / "0.parquet").write_bytes(b"<b>")
    bad = score.score(corpus, ["length"], tmp_path / "bad")
    assert "1 of 5 files was set aside, the first: " in repr(bad)
    assert "<table" in bad._repr_html_() and "quarantined" in bad._repr_html_()


def test_a_histogram_of_one_score(scored):
    assert scored.chart().to_dict() == scored.chart("score.length").to_dict()
    with pytest.raises(SchemaError, match=r"no score 'score\.x'; it has score\.length, score\.compression"):
        scored.chart("score.x")


def test_files_of_which_some_have_labels_are_one_frame(tmp_path):
    (tmp_path / "data").mkdir()
    documents(3).with_columns(label=pl.lit("a")).write_parquet(tmp_path / "data" / "0.parquet")
    documents(3, 3).write_parquet(tmp_path / "data" / "1.parquet")
    scored = score.score(tmp_path / "data", "length", tmp_path / "out")
    assert scored.scores().collect()["label"].to_list() == ["a"] * 3 + [None] * 3
