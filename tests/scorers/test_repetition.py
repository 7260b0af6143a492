"""Repetition against the definition in plain Python, in many scripts, and cases worked by hand."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import word_sets
from hypothesis import given
from hypothesis import strategies as st

from curate.scorers import repetition
from curate.scorers.repetition import Repetition
from curate.streaming import repeated_ngrams
from curate.words import ngrams


def scores(texts):
    batch = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
    return Repetition()(batch)["score.repetition"].to_list()


def repeated_shares(items):
    """The share of items that occurred before, and of their characters."""
    again = [item for i, item in enumerate(items) if item in items[:i]]
    return len(again) / max(1, len(items)), sum(map(len, again)) / max(1, sum(map(len, items)))


def line_fractions(text):
    """The fractions of lines and paragraphs over their limits."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = [part.strip() for part in re.split(r"\n{2,}", text) if part.strip()]
    return [
        share / limit
        for items, limits in (
            (lines, (repetition.DUPLICATE_LINES, repetition.DUPLICATE_LINE_CHARS)),
            (paragraphs, (repetition.DUPLICATE_PARAGRAPHS, repetition.DUPLICATE_PARAGRAPH_CHARS)),
        )
        for share, limit in zip(repeated_shares(items), limits, strict=True)
    ]


def ngram_fractions(text):
    """The fractions of n-grams over their limits, word by word; a single character is a third of a word."""
    words = word_sets.split(text)
    sizes = [len(w) for w in words]
    thirds = [1 if word_sets.kind(w[0]) == "single" else 3 for w in words]
    fractions = []
    for n in range(2, 11):
        spans = []
        for start in range(len(words)):
            stop = next((e for e in range(start, len(words) + 1) if sum(thirds[start:e]) >= 3 * n), None)
            spans += [(start, stop)] if stop is not None else []
        grams = [tuple(words[a:b]) for a, b in spans]
        counts = Counter(grams)
        if n <= 4 and grams and (most := max(counts.values())) > 1:
            longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == most)
            fractions.append(min(1, most * longest / sum(sizes)) / repetition.TOP_NGRAM_CHARS[n])
        if n >= 5:
            again = [(a, b) for i, (a, b) in enumerate(spans) if grams[i] in grams[:i]]
            covered = {i for a, b in again for i in range(a, b)}
            share = sum(sizes[i] for i in covered) / max(1, sum(sizes))
            fractions.append(share / repetition.DUPLICATE_NGRAM_CHARS[n])
    return fractions


def by_hand(text):
    text = text or ""
    return 1 - max(line_fractions(text) + ngram_fractions(text))


# Words of scripts with and without spaces, white space of every kind, punctuation, and whole phrases that repeat.
PARTS = [
    "a",
    "bc",
    "Bc,",
    "Élan",
    "дом",
    "שלום",
    "مَر",
    "한국",
    "\u65e5\u672c",
    "\u0e01\u0e31",
    "\u8a9e",
    "🙂",
    "nine ten",
]
SPACES = [
    " ",
    " ",
    " ",
    "\n",
    "\n\n",
    "\n\n\n",
    " \n \n",
    "\t",
    "\u00a0",
    "\u3000",
    "\x85",
    "\x1d",
    "\r\n",
    "\u200b",
    "",
]
TEXTS = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(SPACES)), max_size=40).flatmap(
    lambda pairs: st.integers(1, 3).map(lambda times: "".join(part + space for part, space in pairs) * times)
)


@given(st.lists(st.none() | TEXTS | st.text(max_size=20), max_size=6))
def test_scores_are_those_of_the_definition(texts):
    """Exactly, for any neighbours in the batch."""
    assert scores(texts) == [by_hand(text) for text in texts]


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_long_texts_are_scored_in_blocks_with_the_same_scores(texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "LONG", 10)
        patch.setattr(repeated_ngrams, "BLOCK", 4)
        assert [scores([text])[0] for text in texts] == list(map(by_hand, texts))
        assert scores(texts) == list(map(by_hand, texts))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prose", "repeated", "single characters"])
@pytest.mark.parametrize("scorer", ["repetition", "gopher:rules=repetition"])
def test_a_long_text_needs_little_memory(tmp_path, scorer, kind):
    """A text of 16 MB. The longest that is accepted has 64 MB, and needs four times as much."""
    program = """
import sys
import numpy as np, polars as pl
from curate import open_sets

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) >> 10

kind, size, rng = sys.argv[2], 16 << 20, np.random.default_rng(0)
if kind == "prose":
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 9))) for _ in range(20_000)]
    text = " ".join(words[i % 20_000] for i in rng.zipf(1.3, size // 6).tolist())
    text = "\\n".join(text[i : i + 200] for i in range(0, len(text), 200))
elif kind == "repeated":
    text = "the quick brown fox jumps over a lazy dog and runs away all day long " * (size // 69)
else:
    codes = (0x4E00 + rng.zipf(1.2, size // 3) % 5000).astype(np.uint32)
    codes[::60] = 10
    text = codes.tobytes().decode("utf-32-le")
built, frame = open_sets.build("scorers", sys.argv[1]), pl.DataFrame({"text": [text]})
del text
built(pl.DataFrame({"text": ["a b c d"]}))
# The peak of making the text is in the files of the process until it is reset.
open("/proc/self/clear_refs", "w").write("5")
before = peak()
built(frame)
print(peak() - before)
"""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell the peak of a part of a program")
    done = subprocess.run([sys.executable, "-c", program, scorer, kind], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 360


def test_words_of_one_letter_are_not_mixed_up_with_the_numbers_of_texts():
    """Numbers of texts must not be hashed like words. Text 48 with "2 x" and text 50 with "0 x" once had one hash."""
    letters = "0123456789abcdefghijklmnopqrstuvw"
    assert scores([" x ".join(letters)] * 130) == [1] * 130


@given(st.lists(st.integers(0, 5), max_size=40))
def test_hashes_that_differ_only_where_the_position_is_packed_are_told_apart(values):
    """Positions take the lowest bits, so that these hashes need the second way of sorting."""
    hashes = np.array(values, "u8")
    order, firsts = repeated_ngrams.repeated(hashes)
    positions = [[i for i, other in enumerate(values) if other == value] for value in sorted(set(values))]
    expected = [group for group in positions if len(group) > 1]
    assert [part.tolist() for part in np.split(order, firsts[1:])] == (expected or [[]])


def test_the_limits_are_those_of_gopher():
    """Rae et al. 2021, arXiv 2112.11446, Table A1."""
    assert (repetition.DUPLICATE_LINES, repetition.DUPLICATE_PARAGRAPHS) == (0.30, 0.30)
    assert (repetition.DUPLICATE_LINE_CHARS, repetition.DUPLICATE_PARAGRAPH_CHARS) == (0.20, 0.20)
    assert repetition.TOP_NGRAM_CHARS == {2: 0.20, 3: 0.18, 4: 0.16}
    assert repetition.DUPLICATE_NGRAM_CHARS == {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def test_a_share_of_lines_at_its_limit_scores_zero_and_beyond_it_less():
    """30 % and 40 % of lines occurred before, and a character each: lines of one letter make no n-gram that counts."""
    lines = [chr(97 + i) * (20 if i > 3 else 1) for i in range(10)]
    at_limit, beyond = lines[:7] + lines[:3], lines[:6] + lines[:4]
    assert repetition.line_ratio("\n".join(at_limit)) == pytest.approx(1)
    assert repetition.line_ratio("\n".join(beyond)) == pytest.approx(4 / 3)


def test_words_and_punctuation_decide_nothing_by_their_case_or_spaces():
    first, second = scores(["Buy now! buy NOW? Buy, now...", "buy now buy now buy now"])
    assert first == second < 0
    assert scores(["", "\u3002\uff0c \u3000", "one two", None]) == [1, 1, 1, 1]
