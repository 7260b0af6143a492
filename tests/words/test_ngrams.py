"""Words and n-grams of many texts at once, against plain Python."""

import tracemalloc

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from word_sets import split

from curate.words import ngrams

ODD = "aB9_ .,\n'éÉß日本、。🙂👍🏽❤\ufe0f\u201c\u00a0\u3000\x85\x00e\u0301\u00ad\u200b\u200d\u200f\ufeff"
ODD += "שלוםمَรัก\u0f0bནམក្ខ한국Ａ·→©"


@pytest.mark.parametrize("marks", [False, True])
@given(texts=st.lists(st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=16), max_size=8))
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


def test_a_text_of_many_pieces_has_the_words_of_its_parts_in_bounded_memory():
    """Sums of eight bytes for every byte exist for one piece at a time."""
    lines = [f"Line {i} of é a text, {i * 7919}" for i in range(150_000)]
    parts = ngrams.words(pl.Series(lines))
    tracemalloc.start()
    whole = ngrams.words(pl.Series(["\n".join(lines)]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (whole.values == parts.values).all()
    # most of it is the places and hashes of the words, which are longer than their bytes
    assert peak < 14 * sum(map(len, lines))
