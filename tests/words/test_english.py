"""Words and sentences as spaCy's English tokenizer and sentencizer have them."""

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.words.english import chunk, run_memory
from curate.words.english.sentences import sentence_counts
from curate.words.english.special_cases import special_cases
from curate.words.english.splitting import split
from curate.words.english.word_table import word_table

STORED = Path(__file__).parent.parent / "scorers" / "datatrove" / "verdicts.jsonl"
ROWS = [json.loads(line) for line in STORED.read_text(encoding="utf-8").split("\n") if line]
# What `spacy.blank("en").tokenizer` of spaCy 3.8.18 returns.
SPLIT = {
    "I'm sure you'd've known.": "I|'m|sure|you|'d|'ve|known|.",
    "don’t cannot gonna its it's": "do|n’t|can|not|gon|na|its|it|'s",
    "Mr. Smith (U.S.) e.g. St. Ives...": "Mr.|Smith|(|U.S.|)|e.g.|St.|Ives|...",
    "$5 US$5 5km 10% +1 1+ 5C$ -3": "$|5|US$|5|5|km|10|%|+1|1|+|5|C$|-3",
    "well-known foo/bar a=b 1-2 3*4 a,b x:y": "well|-|known|foo|/|bar|a|=|b|1|-|2|3|*|4|a|,|b|x|:|y",
    "http://a.bc/d-e?f=g me@x.org a-b.c.de:80 x.Y.": "http://a.bc/d-e?f=g|me@x.org|a-b.c.de:80|x.|Y.",
    "192.0.2.1/a-b 10.0.0.1/a-b": "192.0.2.1/a-b|10.0.0.1|/|a|-|b",
    "f(x): (;) :) foo:) ): ) :": "f(x|):|(|;)|:)|foo|:)|):|)|:",
    "30°C. 5pm o'clock 'tis dogs' the '90s": "30|°|C|.|5|pm|o'clock|'|tis|dogs|'|the|'|90s",
    "a--b c---d ——e f…g": "a|--|b|c|---|d|—|—|e|f|…|g",
    "你好，世界。 สวัสดี नमस्ते। 😀ok😀": "你好，世界|。|สวัสดี|नमस्ते|।|😀|ok|😀",
}
PIECES = ["a", "B", "Mr", "the", "don", "'t", "'s", "’", "'", '"', ".", "..", "…", ",", ":", ";", ")", "(", "-", "--"]
PIECES += ["/", "=", "$", "US", "+", "5", "km", "%", "°", "C", "@", "://", "x.org", "é", "я", "中", "😀", "_", "*", "^"]
PIECES += [" ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\x00", "\x1c", "~", "<", ">", "3", "D", "o", "0", "|"]


def words_of(text: str) -> list[str]:
    """The words that `split` returns, as text."""
    words = split(pl.Series([text]))
    points = "\n" + text + "\n"
    return [points[a:b] for a, b in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]


def by_definition(text: str) -> list[str]:
    """Every run by the rules for one run; then the longest special cases among neighbours, from the left."""
    words: list[str] = []
    place, ends = 0, []
    for run in text.split():
        place = text.index(run, place)
        for word in chunk.words_of(run):
            words.append(word)
            place += len(word)
            ends.append(place)
    starts = [end - len(word) for word, end in zip(words, ends, strict=True)]
    forms = {parts: form for form in special_cases() if len(parts := chunk.split_without_special_cases(form)) > 1}
    spans = [
        (first, last)
        for first in range(len(words))
        for last in range(first + 2, min(first + 12, len(words)) + 1)
        if tuple(words[first:last]) in forms
        and all(text[ends[i] : starts[i + 1]] in ("", " ") for i in range(first, last - 1))
    ]
    taken: set[int] = set()
    joined = {}
    for first, last in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if not {first, last - 1} & taken and text[starts[first] : ends[last - 1]] in special_cases():
            joined[first] = last
        taken |= set(range(first, last))
    result, i = [], 0
    while i < len(words):
        last = joined.get(i, i + 1)
        result += special_cases()[text[starts[i] : ends[last - 1]]] if i in joined else [words[i]]
        i = last
    return result


@pytest.mark.parametrize("text", SPLIT)
def test_words_are_those_of_spacy(text):
    assert words_of(text) == SPLIT[text].split("|")


def test_words_of_stored_texts_are_those_of_spacy():
    texts = [row["text"] for row in ROWS if "words" in row]
    assert len(texts) > 40
    assert list(map(words_of, texts)) == [row["words"] for row in ROWS if "words" in row]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@example("):) x) :)")
@example("(;)")
@example("5's 5km. 5US$ 10km/h, a5m")
@example("=" * 1500 + " " + "=" * 99 + ":) " + "(" * 40 + "a" + ")" * 30 + "...")
def test_all_runs_at_once_are_split_as_each_by_itself(text):
    assert words_of(text) == by_definition(text)


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), max_size=4))
def test_words_do_not_depend_on_what_was_split_before(texts):
    """With four slots runs replace each other, and with eight words all are forgotten soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_memory, "SLOT_BITS", 2)
        patch.setattr(run_memory, "MOST_WORDS", 8)
        run_memory.run_memory.cache_clear()
        try:
            assert list(map(words_of, texts * 2)) == list(map(by_definition, texts * 2))
        finally:
            run_memory.run_memory.cache_clear()


@given(st.text(max_size=40))
def test_no_character_is_lost(text):
    assert "".join(words_of(text)) == "".join(text.split())


def test_special_cases_are_those_of_spacy():
    """The hash was taken of the rules of ``spacy.blank("en").tokenizer``, spaCy 3.8.18."""
    lines = sorted(f"{form}\t{'|'.join(parts)}" for form, parts in special_cases().items())
    assert len(lines) == 1347
    assert (
        hashlib.sha256("\n".join(lines).encode()).hexdigest()
        == "13d68232e13f2357dd79eaf674b50f3973a181656be2eace5901405468d467d5"
    )


def test_a_long_run_of_at_signs_takes_no_long_search():
    assert not chunk.is_address("@" * 100_000 + ".")
    assert chunk.is_address("@" * 1000 + "x.org")


def test_the_table_of_words_counts_kinds():
    table = word_table(pl.Series(["The 3 cats -- !", "", "😀 a1"]))
    assert table.counts.tolist() == [5, 0, 2]
    assert table.sizes.tolist() == [3, 1, 4, 2, 1, 1, 2]
    assert table.alphabetic.tolist() == [True, False, True, False, False, False, True]
    assert table.visible.tolist() == [True, True, True, False, False, True, True]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("no mark", 1),
        ("One. Two", 2),
        ("One. Two.", 2),
        ('"One." Two!) Three?', 3),
        ("Mr. Smith", 1),
        ("Wait... what", 1),
        ("One.  )", 2),  # two spaces are a word
        ("One. )", 1),
        ("一。二。", 1),  # no space: one word and its mark
        ("一。 二。", 2),
        ("Say x.y. Then", 2),
    ],
)
def test_sentences_are_those_of_spacy(text, count):
    assert sentence_counts(pl.Series([text])).tolist() == [count]
    assert sentence_counts(pl.Series(["Go. On", text, "Me. You"])).tolist() == [2, count, 2]


def test_files_with_lists_of_others_name_their_copyright_and_the_licence_is_in_the_package():
    folder = Path(chunk.__file__).parent
    line = "Copyright (C) 2016-2024 ExplosionAI GmbH, 2016 spaCy GmbH, 2015 Matthew Honnibal"
    assert line in (folder / "LICENSE-spaCy.txt").read_text()
    for name in ("character_flags", "chunk", "special_cases"):
        assert line in " ".join((folder / f"{name}.py").read_text().split())
    models = folder.parent.parent / "models"
    assert "Copyright (c) 2022 OpenAI, Shantanu Jain" in (models / "LICENSE-tiktoken.txt").read_text()
