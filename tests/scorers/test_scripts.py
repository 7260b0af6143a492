"""Text scorers on the scripts of the world: near copies, unrelated texts and repetition are told apart in each."""

import json
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of, with_stored
from hypothesis import given
from hypothesis import strategies as st

from curate.scorers import dsir, duplicates, perplexity
from curate.scorers.repetition import Repetition

# The letters of each script (first and last code point), and what stands between its words.
SCRIPTS = {
    "Latin": (0x61, 0x7A, " "),
    "Cyrillic": (0x430, 0x44F, " "),
    "Greek": (0x3B1, 0x3C9, " "),
    "Arabic": (0x627, 0x64A, " "),
    "Hebrew": (0x5D0, 0x5EA, " "),
    "Devanagari": (0x915, 0x939, " "),
    "Chinese": (0x4E00, 0x5FFF, ""),
    "Japanese": (0x3041, 0x30FA, ""),
    "Korean": (0xAC00, 0xAFFF, " "),
    "Thai": (0xE01, 0xE2E, ""),
    "Khmer": (0x1780, 0x17A2, ""),
    "Lao": (0xE94, 0xEA2, ""),
    "Burmese": (0x1000, 0x1021, ""),
    "Tibetan": (0xF49, 0xF6C, "\u0f0b"),
    "Georgian": (0x10D0, 0x10F0, " "),
    "Armenian": (0x561, 0x586, " "),
    "Ethiopic": (0x1208, 0x1245, "\u1361"),
}
COMBINING = {"Thai": "\u0e31", "Khmer": "\u17b6", "Lao": "\u0eb1", "Burmese": "\u102d", "Devanagari": "\u093f"}
WORDS = 200
FOLDER = TemporaryDirectory()  # of what learners keep
EVERY = pytest.mark.parametrize("script", SCRIPTS)


def word(rng, script):
    first, last, _ = SCRIPTS[script]
    letters = [chr(point) for point in rng.integers(first, last + 1, rng.integers(2, 7))]
    return letters[0] + COMBINING.get(script, "") + "".join(letters[1:])


def text(rng, script, words=WORDS):
    return [word(rng, script) for _ in range(words)]


def joined(script, words):
    return SCRIPTS[script][2].join(words)


def frame(texts):
    return pl.DataFrame({"id": [f"d{i}" for i in range(len(texts))], "text": pl.Series(texts, dtype=pl.String)})


def corpus_of_texts(texts):
    return corpus_of(frame(texts), (), Path(mkdtemp(dir=FOLDER.name)))


def duplicate_scores(texts):
    with TemporaryDirectory() as folder:
        corpus = corpus_of(frame(texts), (len(texts) // 2,), Path(folder))
        return with_stored(duplicates.learn(corpus), corpus)(frame(texts))["score.duplicates"].to_numpy()


def repetition_scores(texts):
    return Repetition()(frame(texts))["score.repetition"].to_numpy()


@EVERY
def test_a_changed_word_makes_a_near_copy_and_unrelated_texts_are_none(script):
    rng = np.random.default_rng(0)
    texts = [text(rng, script) for _ in range(10)]
    changed = [*texts[0][:99], word(rng, script), *texts[0][100:]]
    values = duplicate_scores([joined(script, words) for words in [*texts, changed]])
    assert (values[1:10] == 1).all()
    low, high = sorted(values[[0, 10]])
    assert 0 < low < 0.25
    assert high == 1


@EVERY
def test_one_repeated_sentence_is_bad_and_a_text_without_repeats_is_good(script):
    rng = np.random.default_rng(1)
    sentence = text(rng, script, 8)
    bad, good = repetition_scores([joined(script, sentence * 40), joined(script, text(rng, script))])
    assert bad < -5
    assert good > 0.8


@EVERY
def test_punctuation_and_spaces_of_every_kind_hide_no_copy(script):
    rng = np.random.default_rng(2)
    words = text(rng, script)
    plain = joined(script, words)
    for mark in ("\u3001", "\u3002\u3000", "\uff0c", "\u00a0", " \u00bf", "\u2028", "\u200b"):
        odd = "".join(w + (mark if i % 7 == 6 else SCRIPTS[script][2]) for i, w in enumerate(words))
        assert sorted(duplicate_scores([plain, odd])) == [0, 1], mark


@EVERY
def test_invisible_characters_hide_no_copy(script):
    plain = joined(script, text(np.random.default_rng(3), script))
    for invisible in ("\u00ad", "\u200d", "\u200f", "\ufeff", "\ufe0f"):
        assert sorted(duplicate_scores([plain, invisible.join(plain)])) == [0, 1], repr(invisible)


def test_accents_as_characters_of_their_own_hide_no_copy(tmp_path, cli):
    """Macs store names of files in the form NFD, and so do many PDF readers."""
    texts = [
        "Ein schöner Garten für Ältere, très élégant, naïve et déjà vu",
        "한국어 문장은 두 가지 형태로 저장될 수 있습니다",
    ]
    forms = [unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD")]
    pl.DataFrame({"id": list("abcd"), "text": forms}).write_parquet(tmp_path / "t.parquet")
    assert cli("score", tmp_path / "t.parquet", "--scorer", "duplicates", "--out", tmp_path / "s").code == 0
    scores = pl.read_parquet(tmp_path / "s" / "**" / "*.scores.parquet")["score.duplicates"]
    assert sorted(scores[:2]) == sorted(scores[2:]) == [0, 1]


@EVERY
def test_texts_like_the_target_or_the_data_score_higher(script, tmp_path):
    rng = np.random.default_rng(4)
    vocabulary = text(rng, script, 60)
    kinds = [vocabulary[:30], vocabulary[30:]]
    texts = [joined(script, rng.choice(kind, 60)) for kind in kinds for _ in range(6)]
    frame(texts[:4]).write_parquet(tmp_path / "target.parquet")
    for learned in (
        dsir.learn(corpus_of_texts(texts), target=str(tmp_path / "target.parquet"), normalise=True),
        perplexity.learn(corpus_of_texts(texts), target=str(tmp_path / "target.parquet")),
    ):
        values = learned(frame(texts)).to_series().to_numpy()
        assert values[:6].min() > values[6:].max()


MIXED = st.text(
    st.sampled_from(
        "ab ,\n天地。ไทยัក្ខបོད་한국\u05d0\u0627\u064e\u200d\u200f\u202e\ufe0f\u0301👨👩🏽❤\u3000\U0001f1e9\U0001f1ea"
    )
    | st.characters(codec="utf-8"),
    max_size=60,
)


@given(texts=st.lists(MIXED, min_size=1, max_size=6))
def test_any_text_gives_finite_scores_that_do_not_depend_on_its_neighbours(texts):
    together = repetition_scores(texts)
    assert np.isfinite(together).all()
    assert (together <= 1).all()
    assert together.tolist() == [repetition_scores([one_text])[0] for one_text in texts]
    values = duplicate_scores(texts)
    assert 1 <= (values == 1).sum() <= len(set(texts))
    assert (values >= 0).all()
    learned = perplexity.learn(corpus_of_texts([*texts, "a word"]), bits=10)
    assert np.isfinite(learned(frame(texts)).to_series().to_numpy()).all()


@given(text=MIXED)
def test_a_text_and_its_upper_case_with_marks_around_are_copies(text):
    if not any(character.isalnum() for character in text):
        return
    # some letters change for good when they are raised and lowered, such as ß: lower them first
    low = text.upper().lower()
    assert sorted(duplicate_scores([low, "\u300c " + low + " \u3002!"])) == [0, 1]


def test_escaped_surrogates_in_json_are_read_as_characters(tmp_path, cli):
    """An emoji that JSON writes as two escaped surrogates is the same character as the emoji itself."""
    (tmp_path / "data").mkdir()
    phrase = "\U0001f600 smile " * 30
    lines = [json.dumps({"id": "a", "text": phrase}), json.dumps({"id": "b", "text": phrase}, ensure_ascii=False)]
    (tmp_path / "data" / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("score", tmp_path / "data", "--scorer", "duplicates", "--scorer", "repetition", "--out", tmp_path / "out")
    assert cli(*words).code == 0
    written = pl.read_parquet(tmp_path / "out" / "*.scores.parquet")
    assert sorted(written["score.duplicates"]) == [0, 1]
    assert written["score.repetition"].n_unique() == 1
    assert written["score.repetition"][0] < 0
