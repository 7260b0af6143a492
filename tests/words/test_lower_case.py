"""Lower case and form NFC of many texts at once, against one text at a time."""

from unicodedata import normalize

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curate.words import utf8
from curate.words.lower_case import lowered

# Capitals, a final sigma, letters whose lower case has more or fewer bytes, accents, Korean letters, odd ideographs.
ODD = "aB\n ÉßẞİKÅΣσΑἈǅДЯ日본ᄀ\u1161\u11a8\u0301\u0316\u0f71\u0e31\uf900\U0002f800\U00010400Ⓐ🙂\u1f71\u212b\u0374"
TEXTS = st.lists(st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=12), max_size=6)


def one_by_one(texts):
    """Each text in lower case and form NFC, as bytes between line feeds."""
    small = pl.Series(texts, dtype=pl.String).str.to_lowercase().to_list()
    return b"".join(b"\n" + normalize("NFC", text).encode() for text in small) + b"\n"


def check(texts):
    column = pl.Series(texts, dtype=pl.String)
    together = lowered(column)
    assert column.to_list() == texts, "the column was changed in its place"
    expected = one_by_one(texts) if texts else b"\n\n"
    assert together.buffer.tobytes() == expected
    text = expected.decode()
    starts = np.cumsum([0, *map(len, map(str.encode, text))])[:-1]
    outside = [i for i, character in enumerate(text) if not character.isascii()]
    assert together.characters.starts.tolist() == starts[outside].tolist()
    assert together.characters.points.tolist() == [ord(text[i]) for i in outside]
    assert together.characters.lengths.tolist() == [len(text[i].encode()) for i in outside]
    if texts:
        assert [expected[place - 1] for place in together.offsets.tolist()] == [10] * (len(texts) + 1)


@given(TEXTS)
def test_texts_are_lowered_as_each_alone(texts):
    check(texts)


def test_every_character_is_lowered_in_the_middle_and_at_the_end_of_a_word():
    points = [point for point in range(0x30000) if not 0xD800 <= point < 0xE000]
    check([f"A{chr(point)}b {chr(point)} b{chr(point)}" for point in points])


@given(st.text(min_size=1, max_size=20))
def test_characters_that_are_written_back_leave_the_text_as_it_was(text):
    buffer = np.frombuffer(bytearray(text.encode()), np.uint8)
    characters = utf8.decode(buffer)
    for place, length in zip(characters.starts.tolist(), characters.lengths.tolist(), strict=True):
        buffer[place : place + length] = 0
    utf8.overwrite(buffer, characters)
    assert buffer.tobytes() == text.encode()
