"""Near copies of reference files: ``duplicates:against=FILES`` against plain Python, and as a job."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of, with_stored
from hypothesis import given, settings
from hypothesis import strategies as st
from word_sets import jaccard

from curate.scorers import duplicates
from curate.streaming import equal_keys

RNG = np.random.default_rng(3)
VOCABULARY = np.array(["".join(map(chr, RNG.integers(97, 123, RNG.integers(2, 9)))) for _ in range(2000)])


def document(words):
    return [str(word) for word in RNG.choice(VOCABULARY, words)]


def changed(words, share):
    """Change a share of the words of a text, at random places."""
    places = set(RNG.choice(len(words), round(share * len(words)), replace=False).tolist())
    return " ".join(str(RNG.choice(VOCABULARY)) if i in places else word for i, word in enumerate(words))


def scores(texts, reference, **options):
    frame = pl.DataFrame({"id": [f"d{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "reference.parquet"
        pl.DataFrame({"text": pl.Series(reference, dtype=pl.String)}).write_parquet(path)
        corpus = corpus_of(frame, (), Path(folder) / "work")
        scorer = with_stored(duplicates.learn(corpus, against=str(path), **options), corpus)
        return scorer(frame)["score.duplicates"].to_list()


TEXTS = st.lists(st.sampled_from("a b C d. É 日 本".split()), max_size=9).map(" ".join) | st.sampled_from(
    ["", ".", None]
)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=8), reference=st.lists(TEXTS, max_size=8), threshold=st.sampled_from([0.2, 0.7, 1])
)
def test_scores_are_those_of_the_nearest_text_by_brute_force(texts, reference, threshold):
    """Bands of one row find every pair that shares a shingle, or nearly so."""
    reference = [*reference, "one two three four five six"]

    def similarity(text, other):
        exact = 1.0 if text == other else jaccard(text, other)
        return exact if exact >= threshold else 0.0

    expected = [
        1 - (0 if text is None else max(similarity(text, other) for other in reference if other is not None))
        for text in texts
    ]
    values = scores(texts, reference, bands=40, rows=1, threshold=threshold)
    assert values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"bands": 0}])
def test_copies_are_never_missed_and_other_texts_score_one(options):
    reference = [" ".join(document(int(RNG.integers(1, 80)))) for _ in range(300)] + ["...", "日本語の文章"]
    others = [" ".join(document(60)) for _ in range(100)]
    values = scores(reference + others + others, reference, **options)
    assert values == [0.0] * 302 + [1.0] * 200


def test_near_copies_score_their_distance():
    words = [document(200) for _ in range(200)]
    texts = [changed(text, 0.01) for text in words]
    values = scores(texts, [" ".join(text) for text in words])
    expected = [1 - jaccard(text, " ".join(other)) for text, other in zip(texts, words, strict=True)]
    assert values == pytest.approx(expected, abs=1e-12)
    assert scores([words[0][0], *texts[:1]], [" ".join(words[0]).upper()])[0] == 1


def test_a_band_that_many_reference_texts_share_compares_a_few_of_them():
    """The score is then that of a near text, though perhaps not of the nearest, and does not depend on the files."""
    words = document(100)
    reference = [changed(words, 0.02) for _ in range(80)]
    with patch.object(equal_keys, "SMALL", 4):
        values = scores([" ".join(words), reference[7]], reference)
        assert values == scores([" ".join(words), reference[7]], reference[::-1])
    assert 0 < values[0] < 0.25
    assert values[1] == 0


def write(path, texts):
    path.parent.mkdir(exist_ok=True)
    pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).write_parquet(path)
    return path


def test_a_job_with_added_files_and_a_changed_reference(tmp_path, cli):
    reference = write(tmp_path / "bench" / "test.parquet", ["the copied text", "other", None])
    write(tmp_path / "data" / "a.parquet", ["The copied, text!", "the copied text", "mine", "mine", None])
    out = tmp_path / "out"
    command = ("score", tmp_path / "data", "--scorer", f"duplicates:against={reference}", "--out", out)
    assert cli(*command).code == 0
    score_file = out / "a.parquet.scores.parquet"
    assert pl.read_parquet(score_file)["score.duplicates"].to_list() == [0, 0, 1, 1, 1]
    before = score_file.read_bytes()
    write(tmp_path / "data" / "b.parquet", ["mine", "other"])
    again = cli(*command)
    assert again.code == 0, again.err
    assert score_file.read_bytes() == before
    assert pl.read_parquet(out / "b.parquet.scores.parquet")["score.duplicates"].to_list() == [1, 0]
    rule = "--by score.duplicates --rule threshold --keep 0.5 --max-source-removal 1".split()
    pruned = cli("prune", out, *rule, "--out", tmp_path / "kept")
    assert pruned.code == 0, pruned.err
    # The removed rows are copies of the reference: no other row of the data need be like them.
    assert "compared again" not in pruned.out + pruned.err
    conditions = ("--require", "tokens > 0", "--require", "score.duplicates >= 0.5")
    required = cli("prune", out, *conditions, "--out", tmp_path / "required")
    assert required.code == 0, required.err
    decisions = pl.read_parquet(tmp_path / "required" / "a.parquet.keep.parquet")["keep"].to_list()
    assert decisions == [False, False, True, True, False]  # a null text has no tokens
    write(reference, ["another text"])
    refused = cli(*command)
    assert (refused.code, "test.parquet" in refused.err) == (1, True)


def test_a_reference_without_words_is_one_line(tmp_path, cli):
    write(tmp_path / "data" / "a.parquet", ["x"])
    reference = write(tmp_path / "bench" / "empty.parquet", [])
    result = cli("score", tmp_path / "data", "--scorer", f"duplicates:against={reference}", "--out", tmp_path / "out")
    assert (result.code, result.err.strip().count("\n")) == (1, 0)
    assert "empty.parquet has no words in text" in result.err
