"""The scorer of duplicates against planted groups and brute force."""

from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
import xxhash
from corpora import corpus_of, stored_arrays, with_stored
from hypothesis import given, settings
from hypothesis import strategies as st
from word_sets import jaccard, shingles

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.scorers import duplicates
from curate.streaming import by_id, minhash
from curate.streaming.near_duplicates import candidates, copies, finished, links, merges
from curate.tables.batches import keys
from curate.tables.corpus import Corpus, FramePart

RNG = np.random.default_rng(0)
VOCABULARY = np.array(["".join(map(chr, RNG.integers(97, 123, RNG.integers(2, 9)))) for _ in range(3000)])


def table(texts, ids=None):
    return pl.DataFrame({"id": ids or [f"d{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)})


def scores(texts, *, cuts=(), **options):
    """Learn the duplicates of texts that are cut into parts, and return their scores."""
    rows = table(texts)
    with TemporaryDirectory() as folder:
        corpus = corpus_of(rows, cuts, Path(folder))
        return with_stored(duplicates.learn(corpus, **options), corpus)(rows)["score.duplicates"].to_numpy()


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


@pytest.mark.parametrize("texts", [["", "", "..."], [None, None], ["a single text"]])
def test_texts_without_words_or_without_company(texts, monkeypatch):
    """Also if there are more splits than rows, so that most of them are empty."""
    expected = sorted([1] * len(set(texts)) + [0] * (len(texts) - len(set(texts))))
    if texts == [None, None]:
        expected = [1, 1]
    assert sorted(scores(texts)) == expected
    monkeypatch.setattr(copies, "ROWS_IN_SPLIT", 1)
    monkeypatch.setattr(by_id, "ROWS_IN_SPLIT", 1)
    monkeypatch.setattr(candidates, "KEYS_IN_SPLIT", 1)
    assert sorted(scores(texts)) == expected


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


def mixed_texts(seed=1):
    """Groups of one to three texts, a group of 60 texts with a common start, copies, and texts without words."""
    rng = np.random.default_rng(seed)

    def changed(words, edits):
        places = set(rng.choice(len(words), edits, replace=False).tolist())
        return " ".join(str(rng.choice(VOCABULARY)) if i in places else w for i, w in enumerate(words))

    texts = []
    for g in range(60):
        words = rng.choice(VOCABULARY, 60).tolist()
        texts += [changed(words, edits) for edits in (0, 1, 2)[: 1 + g % 3]]
    licence = rng.choice(VOCABULARY, 150).tolist()
    texts += [changed(licence, int(rng.integers(0, 6))) for _ in range(60)]
    texts += [texts[i] for i in rng.choice(len(texts), 20)] + ["", "", None, "..."]
    return [texts[i] for i in rng.permutation(len(texts))]


def learned_bytes(texts, cuts, folder, engine=None):
    """Everything that a job learns: the scores of all parts, and their links."""
    corpus = corpus_of(table(texts), cuts, folder, engine)
    arrays = stored_arrays(duplicates.learn(corpus), corpus)
    all_links = pl.concat(map(pl.DataFrame, corpus.kept(finished.LINKS_OF_PART))).sort("second", "first")
    return {name: array.tobytes() for name, array in arrays.items()}, all_links


def test_scores_are_those_of_the_version_before_corpora(tmp_path):
    """The hash is that of the scores which the version of 2026-11-29 gave, when one process learned from a stream."""
    arrays, _ = learned_bytes(mixed_texts(), (), tmp_path)
    assert len(arrays["scores"]) == 8 * 122
    assert xxhash.xxh3_64_hexdigest(arrays["removed"] + arrays["scores"]) == "871ec9616e78f169"


@pytest.mark.parametrize("cuts", [(3, 50, 51, 120, 120, 190), range(4, 260, 4)], ids=["7 parts", "65 parts"])
def test_any_parts_give_the_same_bytes(tmp_path, cuts):
    texts = mixed_texts()
    whole, whole_links = learned_bytes(texts, (), tmp_path / "whole")
    arrays, cut_links = learned_bytes(texts, [cut for cut in cuts if cut < len(texts)], tmp_path / "cut")
    assert arrays == whole
    assert cut_links.equals(whole_links)


def test_two_workers_give_the_same_bytes(tmp_path):
    texts, cuts = mixed_texts(), (40, 90, 170)
    alone = learned_bytes(texts, cuts, tmp_path / "alone")
    with Local(2).session() as workers:
        together = learned_bytes(texts, cuts, tmp_path / "together", workers)
    assert alone[0] == together[0]
    assert alone[1].equals(together[1])


def test_any_number_of_splits_gives_the_same_bytes(tmp_path, monkeypatch):
    """Then pairs of one group are compared in different places, and their merges are found in the driver."""
    texts, cuts = mixed_texts(), (40, 90, 170)
    whole = learned_bytes(texts, cuts, tmp_path / "whole")
    monkeypatch.setattr(copies, "ROWS_IN_SPLIT", 50)
    monkeypatch.setattr(candidates, "KEYS_IN_SPLIT", 500)
    monkeypatch.setattr(candidates, "KEYS_AT_ONCE", 1000)
    monkeypatch.setattr(candidates, "KEYS_IN_SECTION", 0)
    monkeypatch.setattr(candidates, "TOGETHER", 3)
    monkeypatch.setattr(links, "GRAMS_IN_SPLIT", 1000)
    monkeypatch.setattr(links, "GRAMS_AT_ONCE", 500)
    monkeypatch.setattr(links, "GRAMS_IN_SECTION", 0)
    monkeypatch.setattr(minhash, "BLOCK", 50)
    spread = learned_bytes(texts, cuts, tmp_path / "spread")
    assert spread[0] == whole[0]
    assert spread[1].equals(whole[1])


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    added=st.integers(0, 60),
    split=st.sampled_from([1, 5, 1 << 20]),
)
def test_generations_are_single_linkage_for_any_cut_and_any_splits(seed, cuts, added, split):
    """Each generation by brute force: new texts join the groups of older ones, and older scores stay."""
    rng = np.random.default_rng(seed)
    texts: list[str | None] = ["", None, "...", ""]
    while len(texts) < 60:
        words = rng.choice(VOCABULARY[:200], rng.integers(1, 30)).tolist()
        for _ in range(rng.integers(1, 5)):
            texts.append(" ".join(words))
            words[rng.integers(len(words))] = str(rng.choice(VOCABULARY))
    texts = [texts[i] for i in rng.permutation(60)]
    rows, edges = table(texts), sorted({*cuts, 0, added, 60})
    parts = [
        FramePart(f"part-{low}", (rows[low:high],), generation=int(low >= added > 0)) for low, high in pairwise(edges)
    ]
    # A text has 80 keys of bands, and about 15 n-grams.
    constants = ((copies, "ROWS_IN_SPLIT", 4), (candidates, "KEYS_IN_SPLIT", 200), (links, "GRAMS_IN_SPLIT", 40))
    with TemporaryDirectory() as folder, ExitStack() as stack:
        for module, constant, size in constants:
            stack.enter_context(patch.object(module, constant, split * size))
        corpus = Corpus(parts, Path(folder))
        old = replace(corpus, parts=[part for part in parts if not part.generation])
        scorers = [with_stored(duplicates.learn(part, bands=40, rows=1, threshold=0.3), part) for part in (old, corpus)]
    first, second = (scorer(rows)["score.duplicates"].to_numpy() for scorer in scorers)
    generation = np.array([int(i >= added > 0) for i in range(60)])
    assert (first[generation == 0] == second[generation == 0]).all()
    order = np.lexsort((keys(rows["id"], 0), generation))
    similar = {
        (i, j): 1.0 if texts[i] == texts[j] else jaccard(texts[i], texts[j])
        for i, j in combinations(range(60), 2)
        if texts[i] is not None and texts[j] is not None
    }
    for level in (0.3, 0.6, 0.9, 1.0):
        stays = np.ones(60, bool)
        for newest in (0, 1):
            group = np.arange(60)
            for (i, j), similarity in similar.items():
                if similarity >= level and max(generation[i], generation[j]) == newest:
                    group[group == group[i]] = group[j]
            for i in np.flatnonzero(generation == newest):
                stays[i] = i == next(row for row in order if group[row] == group[i])
        assert np.array_equal(second > 1 - level, stays)


def test_the_stored_links_are_all_pairs_that_reach_the_threshold(tmp_path):
    texts = mixed_texts()[:120]
    corpus = corpus_of(table(texts), (30, 31), tmp_path)
    duplicates.learn(corpus, bands=60, rows=1, threshold=0.5)
    hashes = keys([f"d{i}" for i in range(len(texts))], 0).tolist()
    row_of = {key: i for i, key in enumerate(hashes)}
    pairs, leader = {}, {}
    for part in corpus.kept(finished.LINKS_OF_PART):
        assert (part["first"] < part["second"]).all()
        columns = (part[name].tolist() for name in ("first", "second", "similarity", "equal"))
        for first, second, similarity, equal in zip(*columns, strict=True):
            if equal:
                assert similarity == 1
                leader[row_of[second]] = row_of[first]
            else:
                pairs[row_of[first], row_of[second]] = similarity
    assert {texts[i] == texts[leader[i]] for i in leader} == {True}
    distinct = [i for i in range(len(texts)) if i not in leader]
    assert len({texts[i] for i in distinct}) == len(distinct)
    sets, exact = [shingles(text or "") for text in texts], {}
    for pair in combinations(distinct, 2):
        first, second = sorted(pair, key=hashes.__getitem__)
        union = len(sets[first] | sets[second])
        if union and (similarity := len(sets[first] & sets[second]) / union) >= 0.5:
            exact[first, second] = similarity
    assert len(exact) > 100
    # In a band that more than 32 texts share only some pairs are compared: the licence's 60 texts.
    assert pairs.items() <= exact.items()
    assert len(pairs) > 0.8 * len(exact)


def test_a_job_that_was_killed_goes_on(tmp_path, monkeypatch):
    texts, cuts = mixed_texts(), (40, 90, 170)
    whole = learned_bytes(texts, cuts, tmp_path / "whole")
    read = []
    signatures, pairs = merges.signatures, links._links

    def counted_signatures(settings, rows):
        read.append(rows.number)
        if read == [0, 1, 2]:
            raise KeyboardInterrupt
        return signatures(settings, rows)

    def killed(wanted, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(merges, "signatures", counted_signatures)
    monkeypatch.setattr(links, "_links", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learned_bytes(texts, cuts, tmp_path / "killed")
    monkeypatch.setattr(links, "_links", pairs)
    again = learned_bytes(texts, cuts, tmp_path / "killed")
    assert read == [0, 1, 2, 2, 3]
    assert again[0] == whole[0]
    assert again[1].equals(whole[1])


# ------------------------------------------------------------------------------------------------ new data


def corpus_in_generations(texts, cuts, folder, generations=range(9)):
    """A corpus whose parts, cut at these rows, have the generations 0, 1, ... if not others."""
    edges = [0, *cuts, len(texts)]
    rows = table(texts)
    numbered = enumerate(zip(pairwise(edges), generations, strict=False))
    parts = [FramePart(f"part-{i}", (rows[low:high],), g) for i, ((low, high), g) in numbered]
    return Corpus(parts, folder)


def scores_of_parts(corpus, learned=None):
    learned = learned or duplicates.learn(corpus)
    rows = pl.concat(list(corpus(("text",))))
    return with_stored(learned, corpus)(rows)["score.duplicates"].to_numpy()


def without_exchanges(corpus):
    """Do what a job does when a scorer has learned."""
    for path in sorted((corpus.folder / "exchanged").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_new_rows_are_found_among_old_and_new_and_old_scores_stay(tmp_path):
    texts = mixed_texts()
    old = corpus_in_generations(texts[:100], (), tmp_path)
    before = scores_of_parts(old)
    without_exchanges(old)
    stored = {path: path.read_bytes() for path in tmp_path.rglob("part-*.npz")}
    both = corpus_in_generations(texts, (100,), tmp_path)
    after = scores_of_parts(both)
    assert np.array_equal(after[:100], before)
    assert all(path.read_bytes() == content for path, content in stored.items())
    for i in range(100, len(texts)):
        others = [j for j in range(len(texts)) if j != i]
        if texts[i] is not None and any(texts[i] == texts[j] for j in others if j < 100):
            assert after[i] == 0
    # A third delivery, learned in steps and at once, gives the same scores.
    without_exchanges(both)
    three = corpus_in_generations(texts, (100, 180), tmp_path / "three")
    steps = tmp_path / "steps"
    for stop, cuts in ((100, ()), (180, (100,)), (len(texts), (100, 180))):
        corpus = corpus_in_generations(texts[:stop], cuts, steps)
        result = scores_of_parts(corpus)
        without_exchanges(corpus)
    assert np.array_equal(result, scores_of_parts(three))


def test_new_files_of_a_finished_job_through_the_command_line(tmp_path, cli):
    texts = mixed_texts()
    (tmp_path / "data").mkdir()
    command = ("score", tmp_path / "data", "--scorer", "duplicates", "--out", tmp_path / "out")
    rows = table(texts)
    rows[:100].write_parquet(tmp_path / "data" / "b.parquet")
    assert cli(*command).code == 0
    before = (tmp_path / "out" / "b.parquet.scores.parquet").read_bytes()
    # The new file comes first in the order of names.
    rows[100:].write_parquet(tmp_path / "data" / "a.parquet")
    assert cli(*command).code == 0
    assert (tmp_path / "out" / "b.parquet.scores.parquet").read_bytes() == before
    written = pl.read_parquet(tmp_path / "out" / "*.scores.parquet")
    ordered = rows.select("id").join(written, on="id", how="left", maintain_order="left")["score.duplicates"]
    expected = scores_of_parts(corpus_in_generations(texts, (100,), tmp_path / "expected"))
    assert np.array_equal(ordered.to_numpy(), expected)
    kept = sorted(path.parent.name for path in (tmp_path / "out" / "_curate" / "duplicates").rglob("*.npz"))
    assert kept == ["duplicates", "links", "links", "merges", "merges", "signatures", "signatures"]


@pytest.mark.parametrize("level", [0.75, 0.85, 1.0])
def test_no_two_texts_that_are_kept_are_linked(tmp_path, level):
    texts = mixed_texts()
    values = scores_of_parts(corpus_in_generations(texts, (70, 140), tmp_path))
    row_of = {key: i for i, key in enumerate(keys([f"d{i}" for i in range(len(texts))], 0).tolist())}
    corpus = corpus_in_generations(texts, (70, 140), tmp_path)
    neighbours = {i: set() for i in range(len(texts))}
    for part in corpus.kept(finished.LINKS_OF_PART):
        for first, second, similarity in zip(
            *(part[n].tolist() for n in ("first", "second", "similarity")), strict=True
        ):
            if similarity >= level:
                neighbours[row_of[first]].add(row_of[second])
                neighbours[row_of[second]].add(row_of[first])
    kept = set(np.flatnonzero(values > 1 - level).tolist())
    assert not any(neighbours[i] & kept for i in kept)
    generation = np.searchsorted([70, 140], np.arange(len(texts)), side="right")
    # A text is removed only if links lead to an earlier one, through texts that are not newer than itself.
    for i in set(range(len(texts))) - kept:
        reached, frontier = {i}, [i]
        while frontier:
            frontier = [j for k in frontier for j in neighbours[k] - reached if generation[j] <= generation[i]]
            reached |= set(frontier)
        assert reached & kept or any(generation[j] < generation[i] for j in reached)


def test_results_of_a_job_with_other_options_are_not_used(tmp_path):
    texts = mixed_texts()
    scores_of_parts(corpus_in_generations(texts, (100,), tmp_path))
    options = {"bands": 4, "threshold": 0.5}
    # The same parts, learned in another order of generations each time.
    for generations in ((0, 1), (0, 0), (1, 0)):
        corpus = corpus_in_generations(texts, (100,), tmp_path, generations)
        alone = corpus_in_generations(texts, (100,), tmp_path / f"alone-{generations}", generations)
        expected = scores_of_parts(alone, duplicates.learn(alone, **options))
        assert np.array_equal(scores_of_parts(corpus, duplicates.learn(corpus, **options)), expected)


def test_an_old_text_represents_a_new_one_and_two_old_texts_stay(tmp_path):
    words = [str(word) for word in VOCABULARY[:60]]
    first, second = words[:50], words[10:]
    texts = [" ".join(first), " ".join(second), " ".join(words)]
    similar = [jaccard(texts[0], texts[2]), jaccard(texts[1], texts[2]), jaccard(texts[0], texts[1])]
    assert min(similar[:2]) > 0.75 > similar[2]
    options = {"bands": 60, "rows": 1}
    for ids in range(6):  # whichever hash is the smallest
        names = [f"{ids}-{i}" for i in range(3)]
        parts = [
            FramePart(f"part-{g}", (table(texts, names)[low:high],), g)
            for g, (low, high) in enumerate(((0, 2), (2, 3)))
        ]
        corpus = Corpus(parts, tmp_path / str(ids))
        values = scores_of_parts(corpus, duplicates.learn(corpus, **options))
        assert values.tolist() == [1, 1, 1 - max(similar)]


def test_only_parts_with_candidates_are_read_again(tmp_path):
    texts = [f"{i} " + " ".join(document(40)) for i in range(40)]
    corpus = corpus_in_generations([*texts, texts[3] + " more"], (20, 40), tmp_path)
    reads = []

    class CountedPart(FramePart):
        def batches(self, needs):
            reads.append((self.name, *needs))
            return super().batches(needs)

    parts = [CountedPart(part.name, part.frames, part.generation) for part in corpus.parts]
    values = scores_of_parts(corpus, duplicates.learn(Corpus(parts, tmp_path)))
    assert (values < 1).nonzero()[0].tolist() == [40]
    assert sorted(reads) == [(f"part-{g}", "text") for g in (0, 0, 1, 2, 2)]


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "has 0 rows"),
        (["a"], {"threshold": 0}, "threshold=0 must be in"),
        (["a"], {"bands": -1}, "bands=-1"),
    ],
)
def test_wrong_options_and_data_are_one_line(texts, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        scores(texts, **options)
    assert "\n" not in str(caught.value)


def test_two_rows_with_one_id_are_refused_by_name(tmp_path):
    with pytest.raises(SchemaError, match="2 rows share their id with another row, such as 'x'"):
        duplicates.learn(corpus_of(table(["a", "b", "c"], ids=["x", "y", "x"]), (1,), tmp_path))


def test_rows_that_share_their_id_are_counted_over_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(by_id, "ROWS_IN_SPLIT", 8)
    ids = [f"d{i // 2}" if i < 60 else f"e{i}" for i in range(100)]
    corpus = corpus_of(table([f"text {i}" for i in range(100)], ids=ids), (1, 20, 60), tmp_path)
    with pytest.raises(SchemaError, match="duplicates: 60 rows share their id"):
        duplicates.learn(corpus)
