"""What `dsir` and `perplexity` learn has the same bytes for every cut into parts, engine, and cut of the target."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from conftest import documents
from corpora import corpus_of
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.scorers import _target, _words, dsir, perplexity
from curate.scoring import score

ROWS = documents(120).with_columns(text=pl.when(pl.int_range(120) % 17 == 0).then(None).otherwise("text"))
UNEVEN = (1, 2, 40, 40, 77, 119)


@pytest.fixture
def target(tmp_path):
    """A folder of texts that are wanted, in two formats."""
    folder = tmp_path / "target"
    folder.mkdir()
    documents(30, 5).write_parquet(folder / "a.parquet", row_group_size=7)
    documents(20, 6).select("text").write_ndjson(folder / "b.jsonl")
    return str(folder)


def learned_bytes(scorer):
    return {name: (array.dtype, array.tobytes()) for name, array in scorer.arrays.items()}


def learners(target):
    return {
        "dsir": (dsir, {"target": target}),
        "dsir in many buckets": (dsir, {"target": target, "buckets": 1 << 20}),
        "perplexity": (perplexity, {}),
        "perplexity of a target": (perplexity, {"target": target, "unit": "byte", "order": 4}),
        "perplexity in small tables": (perplexity, {"bits": 10}),
    }


@pytest.mark.parametrize("name", learners(""))
def test_any_cut_learns_the_same_bytes(name, target, tmp_path):
    module, options = learners(target)[name]
    ways: dict[str, Sequence[int]] = {"whole": (), "uneven": UNEVEN, "many": range(0, 120, 3)}
    scorers = [module.learn(corpus_of(ROWS, cuts, tmp_path / way), **options) for way, cuts in ways.items()]
    assert all(learned_bytes(scorer) == learned_bytes(scorers[0]) for scorer in scorers)
    assert all(scorer(ROWS).equals(scorers[0](ROWS)) for scorer in scorers)


def test_two_processes_learn_the_same_bytes(target, tmp_path):
    options = {"target": target, "buckets": 1 << 20}
    alone = dsir.learn(corpus_of(ROWS, (50,), tmp_path / "alone"), **options)
    with Local(2).session() as engine:
        together = dsir.learn(corpus_of(ROWS, (50,), tmp_path / "together", engine), **options)
    assert learned_bytes(alone) == learned_bytes(together)


@pytest.mark.parametrize("part_bytes", [1, 2000, 1 << 30])
def test_a_target_is_cut_at_row_groups_and_between_files(target, tmp_path, monkeypatch, part_bytes):
    corpus = corpus_of(ROWS, (), tmp_path / "whole")
    whole = dsir.learn(corpus, target=target)
    monkeypatch.setattr(_target, "PART_BYTES", part_bytes)
    wanted = _target.corpus_of_target(corpus, target, "text", "dsir")
    assert len(wanted.parts) == {1: 6, 2000: len(wanted.parts), 1 << 30: 1}[part_bytes]
    assert len({part.name for part in wanted.parts}) == len(wanted.parts)
    texts = pl.concat(list(wanted(("text",))))["text"].to_list()
    assert texts == documents(30, 5)["text"].to_list() + documents(20, 6)["text"].to_list()
    in_parts = dsir.learn(corpus_of(ROWS, (), tmp_path / "cut"), target=target)
    assert learned_bytes(in_parts) == learned_bytes(whole)


def test_a_bad_line_of_a_target_is_named(tmp_path):
    path = tmp_path / "target.jsonl"
    path.write_text(json.dumps({"text": "good words"}) + "\n{bad\n")
    with pytest.raises(SchemaError, match=r"target\.jsonl"):
        dsir.learn(corpus_of(ROWS, (), tmp_path / "c"), target=str(path))


def test_dsir_learns_what_a_loop_over_all_texts_counts(target, tmp_path):
    """The counts by a loop and a dictionary, in the buckets of the scorer."""
    rows = [row for row in dsir._buckets(50, next(iter(corpus_of(ROWS, (), tmp_path / "a")._rows(("text",), None))))]
    by_loop = Counter(np.concatenate([bucket for [bucket] in rows]).tolist())
    counts = dsir._counts(corpus_of(ROWS, UNEVEN, tmp_path / "b"), 50)
    assert counts.tolist() == [by_loop[bucket] for bucket in range(50)]


# ---------------------------------------------------------------- the size of the tables of perplexity


def random_words(count, kinds, seed=0):
    """Texts of 50 words each, drawn evenly from so many kinds of words."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, kinds, count)
    texts = [" ".join(f"w{word}" for word in words[i : i + 50]) for i in range(0, count, 50)]
    return pl.DataFrame({"id": [f"t{i}" for i in range(len(texts))], "text": texts}), texts


@pytest.mark.parametrize("kinds", [3, 700, 20_000])
def test_tables_have_two_to_four_cells_for_each_kgram(tmp_path, kinds):
    frame, texts = random_words(30_000, kinds)
    scorer = perplexity.learn(corpus_of(frame, (100,), tmp_path))
    # At the start of a text, a k-gram is shorter.
    exact = [len({tuple(t.split()[max(0, i - k) : i + 1]) for t in texts for i in range(50)}) for k in range(3)]
    assert scorer.different.tolist() == pytest.approx(exact, rel=0.01)
    cells = scorer.counts.shape[1]
    assert cells == 1024 or max(scorer.different) <= cells / 2 < 2 * max(scorer.different)
    assert scorer.notes == ()
    assert scorer.learned_units.tolist() == [30_000]
    assert scorer.learned_texts.tolist() == [600]


@pytest.mark.parametrize("options", [{"max_bits": 12}, {"bits": 12}])
def test_tables_that_are_too_small_are_told(tmp_path, options):
    frame, _ = random_words(30_000, 20_000)
    scorer = perplexity.learn(corpus_of(frame, (), tmp_path / "a"), **options)
    assert scorer.counts.shape == (3, 1 << 12)
    [note] = scorer.notes
    assert "About 31,000 different n-grams of 2 words share 4,096 cells" in note
    assert "bits=16 (0.8 MB in every worker)" in note
    assert perplexity.learn(corpus_of(frame, (), tmp_path / "b"), bits=16).notes == ()


def test_a_table_whose_cells_are_all_filled_is_told(tmp_path):
    frame, _ = random_words(60_000, 60_000)
    [note] = perplexity.learn(corpus_of(frame, (), tmp_path), bits=10).notes
    assert "At least 7,800 different n-grams of" in note


def test_larger_tables_change_scores_only_where_kgrams_share_a_cell(tmp_path):
    frame, _ = random_words(20_000, 3000)
    tables = [perplexity.learn(corpus_of(frame, (), tmp_path / str(bits)), bits=bits) for bits in (17, 20, 22)]
    scores = [scorer(frame)["score.perplexity"].to_numpy() for scorer in tables]
    assert np.abs(scores[1] - scores[2]).max() <= np.abs(scores[0] - scores[2]).max() < 0.1


@pytest.fixture(scope="module")
def scored_words(tmp_path_factory):
    """A scorer, the rows that it learned from, and their scores."""
    frame, _ = random_words(3000, 50)
    scorer = perplexity.learn(corpus_of(frame, (), tmp_path_factory.mktemp("c")), bits=12)
    return scorer, frame, scorer(frame)


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(st.integers(0, 59), min_size=1, max_size=9))
def test_scores_do_not_depend_on_the_texts_around(scored_words, rows):
    scorer, frame, scores = scored_words
    assert frame.height == 60
    assert_frame_equal(scorer(frame[rows]), scores[rows])


def test_a_job_splits_every_text_into_words_once_to_the_same_scores(target, tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    ROWS[:70].write_parquet(data / "a.parquet", row_group_size=20)
    ROWS[70:].write_ndjson(data / "b.jsonl")
    rows = Counter[str]()
    split = _words.WordHashes.__call__

    def counted(self, batch):
        rows.update(batch["id"].to_list())
        return split(self, batch)

    monkeypatch.setattr(_words.WordHashes, "__call__", counted)
    # The second scorer of perplexity reads bytes, not the words that the other scorer has.
    score.score(data, (f"dsir:target={target}", "perplexity", "length"), out)
    score.score(data, (f"dsir:target={target}", "perplexity:unit=byte"), tmp_path / "bytes")
    assert set(rows.values()) == {2} and len(rows) == 120
    alone = corpus_of(ROWS, (), tmp_path / "alone")
    expected = {
        out: [dsir.learn(alone, target=target), perplexity.learn(alone)],
        tmp_path / "bytes": [perplexity.learn(corpus_of(ROWS, (), tmp_path / "units"), unit="byte")],
    }
    for folder, scorers in expected.items():
        scored = pl.concat(map(pl.read_parquet, sorted(folder.glob("*.scores.parquet"))))
        for scorer in scorers:
            assert_frame_equal(scored.select(list(scorer.schema)), scorer(ROWS), check_exact=True)


def test_words_of_a_column_are_those_of_the_texts():
    batch = ROWS.hstack(_words.WordHashes()(ROWS))
    # A slice begins in the middle of the hashes.
    for rows in (batch, batch[30:100], batch[:0]):
        read = [grams.values for grams in _words.of_batch(rows)]
        words = [grams.values for grams in _words.of_batch(rows.drop(_words.COLUMN))]
        assert np.array_equal(np.concatenate([*read, np.zeros(0)]), np.concatenate([*words, np.zeros(0)]))
        assert sum(len(grams.counts) for grams in _words.of_batch(rows)) == rows.height
