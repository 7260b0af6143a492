"""The places of words, against the words of many texts at once."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.words import ngrams
from curate.words.places import word_places

ODD = "aB9_ .,\n'éÉß日本、。🙂👍🏽❤\ufe0f\u201c\u00a0\u3000\x85\x00e\u0301\u00ad\u200b\u200d\u200f\ufeff"
ODD += "שלוםمَรัก\u0f0bནམក្ខ한국Ａ·→©İΣ=\u0338\u2adc\u1100\u1161\u11a8\u212b\U0002f800"


def hashes(texts):
    return ngrams.words(pl.Series(texts, dtype=pl.String))


@given(text=st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=24))
def test_a_word_cut_out_at_its_place_is_that_word(text):
    places, words = word_places(text).tolist(), hashes([text])
    assert len(places) == len(words.values)
    # The final sigma of Greek is the only letter that a cut can change: its lower case depends on its neighbours.
    if places and "Σ" not in text:
        cut = hashes([text[start:end] for start, end in places])
        assert cut.counts.tolist() == [1] * len(places)
        assert cut.values.tolist() == words.values.tolist()
    assert all(a[1] <= b[0] for a, b in zip(places[:-1], places[1:], strict=True))


@pytest.mark.parametrize("plane", range(0, 0x30000, 0x4000))
def test_every_character_between_two_words_gives_as_many_places_as_words(plane):
    points = [point for point in range(plane, plane + 0x4000) if not 0xD800 <= point < 0xE000]
    texts = [f"a{chr(point)}b {chr(point)}\u0338" for point in points]
    counts = [len(word_places(text)) for text in texts]
    wrong = [hex(p) for p, n, m in zip(points, counts, hashes(texts).counts.tolist(), strict=True) if n != m]
    assert not wrong


def test_an_example():
    text = "Über dem «Berg», 日本: e\u0301te\u0301!"
    words = [text[start:end] for start, end in word_places(text)]
    assert words == ["Über", "dem", "Berg", "日", "本", "e\u0301te\u0301"]
    assert word_places("").shape == word_places(" . ").shape == (0, 2)
