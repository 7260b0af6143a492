"""Duplicates: words and n-grams, MinHash against its theory, pairs, components, the scorer against brute force."""

import re
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.scorers import duplicates
from curate.streaming import equal_keys, linkage, minhash, ngrams
from curate.streaming.ngrams import Grams

RNG = np.random.default_rng(0)
VOCABULARY = np.array(["".join(map(chr, RNG.integers(97, 123, RNG.integers(2, 9)))) for _ in range(3000)])


def split(text, marks=False):
    """Words as curate.streaming.ngrams.words says, character by character."""
    wide = r"[\u3000-\U0010ffff]"
    word = rf"(?:(?!{wide})[\w\u0080-\u009f\u00a1-\u1fff\u2080-\u2fff])+"
    mark = r"[!-/:-@\[-^`{-~\u2000-\u207f]+"
    return re.findall(rf"{wide}|{word}" + (rf"|{mark}" if marks else ""), text.lower())


def shingles(text, n=5):
    words = split(text)
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(first, second):
    first, second = shingles(first), shingles(second)
    return len(first & second) / len(first | second) if first | second else 0.0


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


# ---------------------------------------------------------------- words and n-grams


@pytest.mark.parametrize("marks", [False, True])
@given(texts=st.lists(st.text(st.sampled_from("aB9_ .,\n'éÉß日本🙂\u201c\u00a0\x00"), max_size=12), max_size=8))
def test_words_are_those_of_the_rule_and_equal_words_have_equal_hashes(marks, texts):
    hashed = ngrams.words(pl.Series(texts, dtype=pl.String), marks=marks)
    expected = [split(text, marks) for text in texts]
    assert hashed.counts.tolist() == [len(words) for words in expected]
    names = {}
    for value, word in zip(hashed.values.tolist(), [w for words in expected for w in words], strict=True):
        assert names.setdefault(value, word) == word
    assert len(names) == len({w for words in expected for w in words})


@given(
    texts=st.lists(st.lists(st.sampled_from("abc"), max_size=7), max_size=6), n=st.integers(1, 4), short=st.booleans()
)
def test_ngrams_are_those_of_each_text_alone(texts, n, short):
    units = ngrams.words(pl.Series([" ".join(t) for t in texts], dtype=pl.String))
    grams = ngrams.ngrams(units, n, short=short)
    expected = [[tuple(t[i : i + n]) for i in range(len(t) - n + 1)] for t in texts]
    if short:
        expected = [e or ([tuple(t)] if t else []) for e, t in zip(expected, texts, strict=True)]
    assert grams.counts.tolist() == [len(e) for e in expected]
    names = {}
    for value, gram in zip(grams.values.tolist(), [g for e in expected for g in e], strict=True):
        assert names.setdefault(value, gram) == gram
    assert len(set(names.values())) == len(names)


def test_pieces_are_the_whole_in_order():
    texts = pl.Series(["a" * n for n in (0, 5, 100, 1, 1, 30)] + [None])
    assert pl.concat(list(ngrams.pieces(texts, 32))).equals(texts.fill_null(""))
    assert max(len(p) for p in ngrams.pieces(pl.Series([""] * 9000))) == 4096


# ---------------------------------------------------------------- MinHash


def planted(similarity, pairs, size=200):
    """Two lists of sets whose Jaccard similarity is exactly the one returned."""
    shared = round(2 * size * similarity / (1 + similarity))
    members = RNG.integers(0, 1 << 63, (pairs, 2 * size - shared)).astype(np.uint64)
    offsets = np.arange(pairs + 1) * size
    sides = Grams(members[:, :size].ravel(), offsets), Grams(members[:, -size:].ravel(), offsets)
    return *sides, shared / (2 * size - shared)


@pytest.mark.parametrize("similarity", [0.5, 0.75, 0.9])
def test_minima_agree_with_the_probability_of_the_theory(similarity):
    first, second, exact = planted(similarity, 3000)
    assert np.allclose(minhash.jaccard(minhash.distinct_members(first), minhash.distinct_members(second)), exact)
    rows = minhash.band_keys(first, 112, 1, 0) == minhash.band_keys(second, 112, 1, 0)
    assert abs(rows.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / rows.size)
    shared = minhash.band_keys(first, 14, 8, 0) == minhash.band_keys(second, 14, 8, 0)
    theory = 1 - (1 - exact**8) ** 14
    error = 4 * np.sqrt(theory * (1 - theory) / 3000) + 1e-3
    for half in (shared[:, :14], shared[:, 14:]):  # lines of the table of minima, then its diagonals
        assert abs(half.any(axis=1).mean() - theory) < error
    assert theory + (1 - theory) * theory / 2 < shared.any(axis=1).mean() + error


def test_similarity_is_that_of_python_sets():
    texts = [" ".join(RNG.choice(list("abcdef"), RNG.integers(1, 30))) for _ in range(40)]
    sets = minhash.distinct_members(ngrams.ngrams(ngrams.words(pl.Series(texts)), 5, short=True))
    pairs = np.array(list(combinations(range(40), 2)))
    similarities = np.concatenate([s for _, s in minhash.pair_similarities(sets, pairs)])
    assert np.array_equal(similarities, [jaccard(texts[a], texts[b]) for a, b in pairs])


# ---------------------------------------------------------------- pairs and components


@given(keys=st.lists(st.integers(0, 6), min_size=1, max_size=40), part=st.sampled_from([4, 8, 64]))
def test_pairs_are_all_pairs_with_equal_keys_in_any_parts(keys, part):
    hashed = ngrams.mix(np.array(keys, np.uint64))
    n = len(keys)
    priority = ngrams.mix(np.arange(n, dtype=np.uint64))
    alive = np.ones(n, bool)
    candidates = equal_keys.pairs(hashed, np.arange(n), priority, alive=alive, salt=1, part=part)
    candidates = equal_keys.pack(np.concatenate([np.zeros((0, 2), np.int64), *candidates]))
    distinct = [tuple(p) for block in equal_keys.distinct_pairs(candidates, n, part) for p in block.tolist()]
    assert distinct == [(a, b) for a, b in combinations(range(n), 2) if keys[a] == keys[b]]


def test_a_large_group_stays_connected_at_linear_cost(tmp_path):
    n = 5000
    alive, priority = np.ones(n, bool), ngrams.mix(np.arange(n, dtype=np.uint64))
    candidates = np.concatenate(
        list(equal_keys.pairs(np.zeros(n, np.uint64), np.arange(n), priority, alive=alive, salt=0))
    )
    assert len(candidates) <= equal_keys.WINDOW * n
    edges = np.empty(len(candidates), linkage.EDGE)
    edges["level"], edges["first"], edges["second"] = 0.9, candidates[:, 0], candidates[:, 1]
    assert len(linkage.single_linkage(edges, priority, tmp_path)[0]) == n - 1


@given(
    edges=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0])), max_size=20
    )
)
def test_one_row_of_every_component_is_left_at_every_level(tmp_path, edges):
    priority = ngrams.mix(np.arange(10, dtype=np.uint64))
    rows, levels = linkage.single_linkage(np.array([(w, a, b) for a, b, w in edges], linkage.EDGE), priority, tmp_path)
    assert len(set(rows.tolist())) == len(rows)
    for level in (0.0, 0.5, 0.6, 0.75, 0.9, 1.0):
        group = list(range(10))
        for first, second, weight in edges:
            if weight >= level:
                group = [group[first] if g == group[second] else g for g in group]
        gone = set(rows[levels >= level].tolist())
        remaining = [[i for i in range(10) if group[i] == g and i not in gone] for g in set(group)]
        first = [min((i for i in range(10) if group[i] == g), key=lambda i: priority[i]) for g in set(group)]
        assert remaining == [[i] for i in first]


# ---------------------------------------------------------------- the scorer


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
    texts = ["same text"] * 5 + ["other text"] + ["", None, ""] + ["..."]
    values = scores(texts, **options)
    assert sorted(values[:5]) == [0, 0, 0, 0, 1]
    assert sorted(values[6:9]) == [0, 0, 1]
    assert values[5] == values[9] == 1


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


def test_a_few_pairs_of_many_rows_are_distinct():
    pairs = np.array([[1, 2], [2, 1], [49_998, 49_999]])
    blocks = list(equal_keys.distinct_pairs(equal_keys.pack(pairs), 50_000))
    assert np.concatenate(blocks).tolist() == [[1, 2], [49_998, 49_999]]
