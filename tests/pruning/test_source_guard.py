"""What pruning removed of every source and class; the guard; pools of what is left; the sampled check of duplicates."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import documents, tree

from curate.pool.pool import load_pools
from curate.pruning import make_pools, prune, removal_table
from curate.pruning.duplicate_check import compare_again
from curate.pruning.source_guard import SourceNearlyGone, check_sources
from curate.scoring import score


def test_the_guard_by_hand():
    """Keep 0.3: alike, 30 of 100 rows are left; a limit of 0.5 asks for 15, one of 0.2 for 24."""
    sizes, kept = {"a": 100, "b": 100, "tiny": 3}, {"a": 45, "b": 15, "tiny": 0}
    check_sources(sizes, kept, keep=0.3, max_removal=0.5)
    with pytest.raises(
        SourceNearlyGone, match=r"source 'b' would lose 0\.85 of its rows, where 0\.7 of all rows are removed\."
    ) as stop:
        check_sources(sizes, kept, keep=0.3, max_removal=0.2)
    assert "allows 0.76. " in str(stop.value)
    assert "--max-source-removal 0.5" in str(stop.value)
    assert stop.value.table.rows() == [("b", 100, 15, 0.85, pytest.approx(0.76))]
    check_sources(sizes, kept, keep=0.3, max_removal=0.5)


def test_the_guard_of_a_threshold_is_plain():
    check_sources({"a": 10}, {"a": 5}, keep=1.0, max_removal=0.5)
    with pytest.raises(
        SourceNearlyGone, match=r"source 'a' would lose 0\.6 of its rows\. .* allows 0\.5\..*Lower --keep"
    ):
        check_sources({"a": 10}, {"a": 4}, keep=1.0, max_removal=0.5)


@pytest.mark.parametrize("floor", [0.5, 0.8])
def test_a_floor_of_sources_passes_its_own_guard(floor):
    rng = np.random.default_rng(0)
    sizes = {str(i): int(n) for i, n in enumerate(rng.integers(1, 300, 50))}
    kept = {name: int(np.floor(floor * 0.3 * n)) for name, n in sizes.items()}
    check_sources(sizes, kept, keep=0.3, max_removal=1 - floor)


def test_shift_names_the_most_moved_first():
    table = pl.DataFrame({"source": ["a", "b", "c"], "share": [0.5, 0.3, 0.2], "share_kept": [0.45, 0.1, 0.45]})
    assert removal_table.shift(table).startswith(
        "shares of tokens before -> after: c 0.2 -> 0.45, b 0.3 -> 0.1, a 0.5 ->"
    )
    assert "(25.0% of the mixture moved)" in removal_table.shift(table)


@pytest.fixture
def labelled(tmp_path):
    """Source web: 60 documents with labels; source book: 40 whose first 30 are copies of each other; no null ids."""
    web = documents(60).with_columns(pl.Series("label", [i % 3 for i in range(60)]))
    book = documents(40, 100).with_columns(pl.lit(None, dtype=pl.Int64).alias("label"))
    same = pl.when(pl.int_range(pl.len()) < 30).then(pl.lit("one text that is found in many places of a book"))
    for name, frame in (("web", web), ("book", book.with_columns(same.otherwise("text").alias("text")))):
        (tmp_path / "data" / f"source={name}").mkdir(parents=True)
        frame.write_parquet(tmp_path / "data" / f"source={name}" / "0.parquet")
    score.score([str(tmp_path / "data")], ("length", "duplicates"), tmp_path / "scores")
    return tmp_path / "scores"


def test_score_files_carry_labels_as_text(labelled):
    frame = pl.read_parquet(labelled / "source=web" / "0.parquet.scores.parquet")
    assert frame.columns[:4] == ["id", "source", "tokens", "label"]
    assert frame["label"].to_list() == [str(i % 3) for i in range(60)]


def test_measured_labels_are_not_carried_and_scores_of_parts_are(tmp_path, monkeypatch):
    from curate.scoring import parts

    monkeypatch.setattr(parts, "PART_ROWS", 10)
    for name, label in (("number", pl.Float64), ("class", pl.Categorical)):
        path = tmp_path / "data" / name / "0.parquet"
        path.parent.mkdir(parents=True)
        labels = pl.Series([str(i) for i in range(25)]).cast(label if label == pl.Categorical else pl.Float64)
        documents(25, 100 * len(name)).with_columns(labels.alias("label")).write_parquet(path)
    score.score([str(tmp_path / "data")], ("length",), tmp_path / "scores", batch_rows=5)
    number, named = (pl.read_parquet(tmp_path / "scores" / n / "0.parquet.scores.parquet") for n in ("number", "class"))
    assert "label" not in number.columns
    assert named["label"].to_list() == [str(i) for i in range(25)]


def test_a_table_for_sources_and_one_for_classes(labelled, tmp_path):
    pruned = prune.prune(labelled, tmp_path / "kept", by="score.length", keep=0.5, max_source_removal=1)
    assert pruned.table().select("source", "rows").rows() == [("book", 40), ("web", 60)]
    assert pruned.by_label.select("label", "rows").rows() == [("(none)", 40), ("0", 20), ("1", 20), ("2", 20)]
    assert pruned.by_label["kept"].sum() == pruned.table()["kept"].sum() == 50
    for table in (pruned.table(), pruned.by_label):
        assert table["share"].sum() == pytest.approx(1)
        assert table["share_kept"].sum() == pytest.approx(1)


def test_pools_are_those_of_what_is_kept(labelled, tmp_path):
    kept = tmp_path / "kept"
    prune.prune(labelled, kept, by="score.length", keep=0.7, max_source_removal=0.7)
    assert load_pools(kept / "pools.json") == make_pools.pools(labelled, kept=kept).pools
    prune.prune(labelled, kept, by="score.length", keep=1e9, rule="threshold", max_source_removal=1)
    assert not (kept / "pools.json").exists()


def test_a_source_that_nearly_goes_stops_the_job_and_nothing_is_written(labelled, tmp_path, cli):
    before = tree(tmp_path)
    arguments = ("prune", labelled, "--by", "score.duplicates", "--rule", "threshold", "--keep", "0.5", "--out")
    done = cli(*arguments, tmp_path / "kept")
    assert done.code == 1
    assert tree(tmp_path) == before
    table, line = done.err.splitlines()[:2], done.err.splitlines()[-1]
    assert table[0].split() == ["source", "rows", "kept", "removed", "allowed"]
    assert table[1].split()[:3] == ["book", "40", "9"]
    assert line.startswith("curate: source 'book' would lose 0.775 of its rows")
    assert line.endswith("continue with --max-source-removal 0.775")
    done = cli(*arguments, tmp_path / "kept", "--max-source-removal", "0.775", "--json")
    assert done.code == 0
    record = json.loads(done.out)
    assert len(record["verified"]) == 16
    assert all(row["kept_similarity"] >= 0.75 for row in record["verified"])
    assert record["shift"].startswith("shares of tokens")


def test_sampled_copies_by_hand(tmp_path):
    """Of its 6 trigrams, each of b and c shares at most 4 with a or the other.

    The claim that e copies something is false.
    """
    texts = {
        "a": "one two three four five six seven",
        "b": "one two three four five six eight",
        "c": "zero two three four five six eight",
        "d": "quite another text that nothing is like",
        "e": "a lonely line",
    }
    (tmp_path / "data").mkdir()
    pl.DataFrame({"id": list(texts), "text": list(texts.values())}).write_parquet(tmp_path / "data" / "0.parquet")
    score.score([str(tmp_path / "data")], ("length", "duplicates:ngram=3"), tmp_path / "scores")
    path = tmp_path / "scores" / "0.parquet.scores.parquet"
    scores = {"a": 1.0, "b": 1 - 4 / 6, "c": 1 - 4 / 6, "d": 1.0, "e": 0.1}
    frame = pl.read_parquet(path).with_columns(pl.Series("score.duplicates", list(scores.values())))
    frame.write_parquet(path)
    kept = tmp_path / "kept"
    prune.prune(tmp_path / "scores", kept, by="score.duplicates", keep=0.9, rule="threshold", max_source_removal=1)
    sample = compare_again.sampled(tmp_path / "scores", kept, "score.duplicates", count=9).sort("removed")
    assert sample["removed"].to_list() == ["b", "c", "e"]
    assert sample["of"].to_list()[1:] == ["b", "-"]
    assert sample["similarity"].to_list() == pytest.approx([4 / 6, 4 / 6, 0])
    assert sample["of_kept"].to_list() == ["a", "a", "-"]
    assert sample["kept_similarity"].to_list() == pytest.approx([4 / 6, 3 / 7, 0])
    assert compare_again.count_false(sample) == 1
    assert compare_again.sampled(tmp_path / "scores", kept, "score.duplicates", count=2).height == 2


def test_one_more_source_is_told_in_the_singular():
    rows = {"a": 100, "b": 100, "c": 100}
    with pytest.raises(SourceNearlyGone, match=r"\(and 1 more source loses too many\)"):
        check_sources(rows, {"a": 0, "b": 10, "c": 80}, keep=0.3, max_removal=0.5)
