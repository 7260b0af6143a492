"""Two data sets compared: a classifier, words, clusters and the transport distance, on planted differences."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from curate.description import describe
from curate.description.comparison import clusters, sample_distance, shares
from curate.errors import SchemaError
from curate.streaming.roc_area import area

WORDS = [f"word{i}" for i in range(60)]


def texts(n, seed, *, extra="", share=0.0, prefix="d"):
    """Texts of random words; a share of them has the word ``extra`` too."""
    rng = np.random.default_rng(seed)
    lines = [" ".join(rng.choice(WORDS, 12)) + (f" {extra}" if rng.random() < share else "") for _ in range(n)]
    return pl.DataFrame({"id": [f"{prefix}{i}" for i in range(n)], "text": lines})


def test_the_auc_is_that_of_the_ranks_with_ties():
    rng = np.random.default_rng(0)
    values, truth = rng.integers(0, 20, 400).astype(float), rng.random(400) < 0.4
    assert area(values[truth], values[~truth]) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


def test_data_sets_without_a_common_word_have_an_interval_with_a_width():
    """The AUC is 1 on 25 rows of each side, and that of all rows may be a little lower."""
    others = pl.DataFrame({"id": [f"e{i}" for i in range(25)], "text": [f"other{i} words{i} all" for i in range(25)]})
    comparison = describe.describe(texts(25, 0), against=others)
    assert (comparison.separability.auc, comparison.separability.high) == (1, 1)
    assert 0.8 < comparison.separability.low < 0.99
    assert f"an AUC of 1.000 (90 %: {comparison.separability.low:.3f} to 1.000)" in comparison.verdict


def test_two_samples_of_one_data_set_cannot_be_told_apart():
    comparison = describe.describe(texts(400, 0), against=texts(400, 1, prefix="e"))
    told = comparison.separability
    assert told.low <= 0.5 <= told.high
    assert "cannot be told apart" in comparison.verdict
    assert comparison.words.is_empty()
    assert not comparison.clusters["differs"].any()
    assert comparison.distance.distance <= 1.05 * comparison.distance.chance_high


def test_a_planted_word_tells_two_data_sets_apart():
    """A word in half of the rows of one side: the AUC of knowing that word alone is 0.75."""
    comparison = describe.describe(texts(600, 0), against=texts(600, 1, extra="planted", share=0.5, prefix="e"))
    (word,) = comparison.words.iter_rows(named=True)
    assert word["word"] == "planted"
    assert (word["first"], word["z"] > 0) == (0.0, True)
    assert word["second"] == pytest.approx(0.5, abs=0.06)
    assert comparison.separability.low > 0.6
    assert comparison.separability.auc == pytest.approx(0.75, abs=0.07)
    assert comparison.table()["name"].to_list() == ["planted"]


def test_rows_that_both_have_do_not_make_them_seem_different():
    """A subset of the data: a classifier must not learn from one copy of a row that the other is of the other side."""
    whole = texts(300, 0)
    comparison = describe.describe(whole, against=whole.sample(200, seed=3))
    assert comparison.separability.low <= 0.5 <= comparison.separability.high


def test_the_z_value_by_hand():
    """10 of 100 rows and 30 of 100 rows, with half a row added to each of the four counts."""
    (z,) = shares.z_values(np.array([10]), np.array([30]), (100, 100))
    error = np.sqrt(1 / 10.5 + 1 / 30.5 + 1 / 90.5 + 1 / 70.5)
    assert z == pytest.approx((np.log(30.5 / 70.5) - np.log(10.5 / 90.5)) / error)
    assert shares.z_values(np.array([30]), np.array([10]), (100, 100)) == pytest.approx(-z)


def test_words_by_chance_are_named_as_rarely_as_the_bound_says():
    rng = np.random.default_rng(1)
    named = 0
    for _ in range(200):
        counts = rng.binomial(500, 0.2, (2, 50))
        named += bool((np.abs(shares.z_values(*counts, (500, 500))) > shares.bound(50)).any())
    assert named / 200 <= 0.05 + 0.04


def test_words_of_scripts_without_spaces_are_characters():
    first = pl.Series(["猫が好き ok"] * 20 + ["犬が好き ok"] * 20)
    told = shares.telling_words(first, np.repeat([False, True], 20), most=5)
    assert told["word"].to_list() == ["猫", "犬"]


def test_a_planted_cluster_is_found():
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:3] * 5
    first = np.concatenate(
        [rng.normal(size=(n, 8)) * 0.3 + centre for n, centre in zip((200, 200, 0), centres, strict=True)]
    )
    second = np.concatenate(
        [rng.normal(size=(n, 8)) * 0.3 + centre for n, centre in zip((200, 100, 100), centres, strict=True)]
    )
    x = np.concatenate([first, second]).astype(np.float32)
    is_second = np.repeat([False, True], [len(first), len(second)])
    ids = pl.Series([f"r{i}" for i in range(len(x))])
    table = clusters.telling_clusters(x, is_second, ids, None, 0)
    differing = table.filter("differs")
    # All rows of the third centre are of the second data set.
    of_third = table.filter(pl.col("first") == 0)
    assert of_third["second"].sum() == pytest.approx(0.25)
    assert of_third["differs"].all()
    assert set(of_third["row"]) <= {f"r{i}" for i in range(700, 800)}
    assert differing.height < table.height


def test_the_transport_distance_of_a_shift():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    shifted = sample_distance.sample_distance(x, x + 3.0, 0)
    # The cheapest way to move a sample to its shifted copy moves every row by the shift: 4 coordinates, 9 each.
    both = np.concatenate([x, x + 3.0])
    mean = ((both[:, None] - both) ** 2).sum(axis=2).mean()
    assert shifted.distance == pytest.approx(36 / mean)
    assert shifted.distance > 3 * shifted.chance_high
    assert shifted.rows == 300


def test_vectors_are_compared_without_words():
    def rows(shift, prefix):
        x = np.random.default_rng(len(prefix)).normal(size=(100, 4)) + shift
        ids = [f"{prefix}{i}" for i in range(100)]
        return pl.DataFrame({"id": ids, "emb.x": pl.Series(x.astype(np.float32), dtype=pl.Array(pl.Float32, 4))})

    comparison = describe.describe(rows(0, "a"), against=rows(4, "bb"), embedding="emb.x")
    assert comparison.words is None
    assert comparison.separability.auc > 0.99


def test_too_few_rows_and_vectors_of_two_widths_are_refused():
    with pytest.raises(SchemaError, match="--against has 5 rows; a comparison needs at least 20"):
        describe.describe(texts(50, 0), against=texts(5, 1))
    narrow, wide = (
        pl.DataFrame({"emb.x": pl.Series(np.ones((30, width), np.float32), dtype=pl.Array(pl.Float32, width))})
        for width in (3, 4)
    )
    with pytest.raises(SchemaError, match="vectors of 3 numbers in the data and of 4 in --against"):
        describe.describe(narrow, against=wide, embedding="emb.x")


def test_the_command_compares_files_in_any_number_of_workers(tmp_path, cli):
    texts(200, 0).write_ndjson(tmp_path / "a.jsonl")
    texts(200, 1, extra="planted", share=0.6).write_parquet(tmp_path / "b.parquet")
    outputs = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        done = cli(
            "describe", tmp_path / "a.jsonl", "--against", tmp_path / "b.parquet", "--workers", workers, "--out", out
        )
        assert "planted" in done.out
        record = json.loads(out.read_text())
        record.pop("made_by")
        outputs.append(record)
    assert outputs[0] == outputs[1]
    assert outputs[0]["rows_against"] == 200


def test_the_chart_has_a_bar_for_each_side():
    chart = describe.describe(texts(100, 0), against=texts(100, 1)).chart()
    assert set(chart.data["rows of"]) == {"data", "against"}
