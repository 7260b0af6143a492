"""The scorer of duplicates against planted groups and brute force."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from word_sets import jaccard

from curate.errors import SchemaError
from curate.scorers import duplicates
from curate.streaming import equal_keys, minhash

RNG = np.random.default_rng(0)
VOCABULARY = np.array(["".join(map(chr, RNG.integers(97, 123, RNG.integers(2, 9)))) for _ in range(3000)])


def streamed(texts, rows=16, ids=None):
    frame = pl.DataFrame({"id": ids or [f"d{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)})
    return lambda needs: (part.select("id", *needs) for part in frame.iter_slices(rows))


def scores(texts, **options):
    stream = streamed(texts)
    scorer = duplicates.learn(stream, **options)
    return pl.concat([scorer(part) for part in stream(())])["score.duplicates"].to_numpy()


def document(words=120):
    return [str(w) for w in RNG.choice(VOCABULARY, words)]


def edited(words, edits):
    places = RNG.choice(len(words), edits, replace=False)
    return [str(RNG.choice(VOCABULARY)) if i in places else w for i, w in enumerate(words)]


def test_planted_groups_are_found_and_nothing_else_is_removed():
    texts, group = [], []
    for g in range(150):
        words = document()
        for copy in range(1 + g % 3):
            texts.append(" ".join(edited(words, 1) if copy else words))
            group.append(g)
    order = RNG.permutation(len(texts))
    texts, group = [texts[i] for i in order], np.array(group)[order]
    values = scores(texts)
    assert [int((values[group == g] == 1).sum()) for g in range(150)] == [1] * 150
    for i in np.flatnonzero(values < 1):
        members = combinations(np.flatnonzero(group == group[i]), 2)
        similar = [jaccard(texts[a], texts[b]) for a, b in members]
        assert any(abs(1 - s - values[i]) < 1e-12 for s in similar)


def test_scores_are_single_linkage_by_brute_force():
    """Bands of one row find every pair that shares a shingle or nearly so: then nothing is missed."""
    texts = []
    for _ in range(12):
        words = document(40)
        texts += [" ".join(words)] + [" ".join(words := edited(words, 1)) for _ in range(3)]
    values = scores(texts, bands=60, rows=1, threshold=0.3)
    pairs = {(i, j): jaccard(texts[i], texts[j]) for i, j in combinations(range(len(texts)), 2)}
    for level in (0.3, 0.5, 0.7, 0.9, 1.0):
        group = list(range(len(texts)))
        for (i, j), similarity in pairs.items():
            if similarity >= level:
                group = [group[i] if g == group[j] else g for g in group]
        kept = np.flatnonzero(values > 1 - level)
        assert sorted(group[i] for i in kept) == sorted(set(group))


def test_low_similarity_candidates_are_verified_away():
    """One row a band makes nearly everything a candidate; only real neighbours may go."""
    common = document(60)
    texts = [" ".join(common + document(60)) for _ in range(60)]  # half of the words are a boilerplate: J about 1/3
    assert (scores(texts, bands=40, rows=1) == 1).all()
    assert (scores(texts, bands=40, rows=1, threshold=0.2) < 1).sum() == 59


@pytest.mark.parametrize("options", [{}, {"bands": 0}])
def test_exact_copies_leave_one(options):
    texts = ["same text"] * 5 + ["other text"] + ["", "", ""] + ["..."]
    values = scores(texts, **options)
    assert sorted(values[:5]) == [0, 0, 0, 0, 1]
    assert sorted(values[6:9]) == [0, 0, 1]
    assert values[5] == values[9] == 1


@pytest.mark.parametrize("options", [{}, {"bands": 0}, {"seed": 3}])
def test_null_texts_are_duplicates_of_nothing(options):
    texts = [None] * 5 + ["", "d0", "\ufffd"] + [None] * 20 + [" ".join(document(50))] * 2
    values = scores(texts, **options)
    assert (values[:-2] == 1).all()
    assert sorted(values[-2:]) == [0, 1]


def test_null_texts_through_the_command_line(tmp_path, cli):
    (tmp_path / "data").mkdir()
    texts = pl.Series("text", [None, "a copy", None, "a copy", None], dtype=pl.String)
    pl.DataFrame([pl.Series("id", list("abcde")), texts]).write_parquet(tmp_path / "data" / "a.parquet")
    assert cli("score", tmp_path / "data", "--scorer", "duplicates", "--out", tmp_path / "out").code == 0
    written = pl.read_parquet(tmp_path / "out" / "*.scores.parquet")["score.duplicates"].to_list()
    assert [written[i] for i in (0, 2, 4)] == [1, 1, 1]
    assert sorted([written[1], written[3]]) == [0, 1]


def test_case_and_marks_do_not_hide_a_copy_but_exactness_needs_bands():
    texts = ["The quick brown fox jumps over the dog.", "the quick, brown fox: jumps over the dog"]
    assert sorted(scores(texts)) == [0, 1]
    assert scores(texts, bands=0).tolist() == [1, 1]


def test_short_texts_are_compared_whole():
    assert scores(["one two", "one two three", "One  two!"]).tolist().count(0) == 1


def test_the_seed_decides_who_stands_for_a_group():
    texts = ["same text"] * 20
    assert len({int(scores(texts, seed=seed).argmax()) for seed in range(8)}) > 3


def test_parts_of_any_size_give_the_same_scores(monkeypatch):
    texts = [" ".join(edited(words, 2)) for words in [document(50) for _ in range(20)] for _ in range(3)]
    whole = scores(texts)
    monkeypatch.setattr(equal_keys.rows_by_key, "__defaults__", (8,))
    monkeypatch.setattr(equal_keys.repeated, "__defaults__", (8,))
    monkeypatch.setattr(minhash, "BLOCK", 50)
    assert np.array_equal(scores(texts), whole)


def test_nothing_is_left_on_the_disk(tmp_path):
    scores(["a b c d e f"] * 3, scratch=str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "has 0 rows"),
        (["a"], {"threshold": 0}, "threshold=0 must be in"),
        (["a"], {"bands": -1}, "bands=-1"),
        (["a"], {"scratch": "/no/such/folder"}, "scratch=/no/such/folder is not a folder"),
    ],
)
def test_wrong_options_and_data_are_one_line(texts, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        scores(texts, **options)
    assert "\n" not in str(caught.value)


def test_two_rows_with_one_id_are_refused_by_name():
    with pytest.raises(SchemaError, match="2 rows share their id with another row, such as 'x'"):
        duplicates.learn(streamed(["a", "b", "c"], ids=["x", "y", "x"]))


def test_rows_that_share_their_id_are_counted_over_all_parts(monkeypatch):
    monkeypatch.setattr(equal_keys.repeated, "__defaults__", (8,))
    ids = [f"d{i // 2}" if i < 60 else f"e{i}" for i in range(100)]
    with pytest.raises(SchemaError, match="duplicates: 60 rows share their id"):
        duplicates.learn(streamed([f"text {i}" for i in range(100)], ids=ids))
