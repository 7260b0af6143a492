"""Repetition inside a text: lines, paragraphs and n-grams of words that occur more than once."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl

from curate.streaming.repeated_ngrams import PLACE, Repeats, covered_characters, repeated_ngrams
from curate.words import ngrams
from curate.words.ngrams import SizedWords

FORMAT = 2  # since format 2 words are split in the same way in every script, without case and punctuation
# The limits of Gopher (Rae et al. 2021, arXiv 2112.11446, Table A1): the largest fractions that are usual in good text.
# The denominators of our fractions differ from Gopher's.
DUPLICATE_LINES, DUPLICATE_LINE_CHARS = 0.30, 0.20
DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARS = 0.30, 0.20
TOP_NGRAM_CHARS = {2: 0.20, 3: 0.18, 4: 0.16}  # share of the characters in the most frequent n-gram
DUPLICATE_NGRAM_CHARS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}  # in n-grams that occurred before
# In scripts without spaces, this many characters count as one word. With 3, translations of one text have similar
# scores in 18 languages. With 1, ordinary Thai and Tibetan score far below 0
# (benchmarks/scorers/repetition_by_script.py).
CHARACTERS_OF_A_WORD = 3


@dataclass(frozen=True)
class Repetition:
    """How little a text repeats itself; high is no repetition.

    ``score.repetition`` (float64, at most 1) is 1 minus the largest of (fraction / its limit). The fractions are:

    - the shares of lines and of paragraphs that occurred before in the text, and the shares of their characters;
    - the share of the characters that lie in the most frequent 2-, 3- and 4-gram of words;
    - the shares of the characters that lie in 5- to 10-grams of words that occurred before.

    A score of 1 means no repetition. A score under 0 means that a fraction is over its limit. Keep high scores. Case
    and punctuation are ignored, and fractions for n-grams count only characters of words. In scripts without spaces
    (Chinese, Japanese, Thai, ...) three characters count as one word, so a 5-gram has 15 characters. A repeated line or
    n-gram counts from its second occurrence on. A character that lies in several repeated n-grams counts once. An empty
    or null text scores 1.

    Source: the limits are those of Gopher, Rae et al. 2021, arXiv 2112.11446, Table A1. The fractions differ: Gopher
    splits words at spaces only, and divides by all characters of the text.
    """

    needs = ("text",)
    schema = {"score.repetition": pl.Float64()}
    meanings = {"score.repetition": "quality"}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [np.zeros(0)]
        for piece in ngrams.pieces(batch["text"]):
            lines = np.array([line_ratio(text) for text in piece.to_list()])
            scores.append(1.0 - np.maximum(lines, ngram_ratios(ngrams.sized_words(piece))))
        return pl.DataFrame({"score.repetition": np.concatenate(scores)}, schema=dict(self.schema))


def line_ratio(text: str) -> float:
    """Return the largest fraction over its limit among those of lines and paragraphs."""
    lines, chars = _repeated_shares(text.split("\n"))
    if not lines:  # equal paragraphs begin with equal lines
        return 0.0
    ratio = max(lines / DUPLICATE_LINES, chars / DUPLICATE_LINE_CHARS)
    # of three line feeds the third stays with the next paragraph, where it is stripped
    paragraphs, chars = _repeated_shares(text.split("\n\n"))
    return max(ratio, paragraphs / DUPLICATE_PARAGRAPHS, chars / DUPLICATE_PARAGRAPH_CHARS)


def _repeated_shares(items: list[str]) -> tuple[float, float]:
    """Return the share of items, and of their characters, that occurred before; blank items do not count."""
    stripped = list(filter(None, map(str.strip, items)))
    distinct = set(stripped)
    repeated = len(stripped) - len(distinct)
    if not repeated:
        return 0.0, 0.0
    chars = sum(map(len, stripped))
    return repeated / len(stripped), (chars - sum(map(len, distinct))) / chars


def ngram_ratios(words: SizedWords) -> np.ndarray:
    """Return the largest fraction over its limit among those of n-grams, for each of n texts, (n,) float64."""
    before = ngrams.characters_before(words.sizes)
    offsets = words.hashes.offsets
    totals = np.maximum(1, before[offsets[1:]] - before[offsets[:-1]])
    ratios = np.zeros(len(totals))
    limits = TOP_NGRAM_CHARS | DUPLICATE_NGRAM_CHARS
    every_repeat = repeated_ngrams(
        words, shortest=min(limits), longest=max(limits), single_characters=CHARACTERS_OF_A_WORD
    )
    for n, parts in groupby(every_repeat, lambda repeats: repeats.n):
        if n in TOP_NGRAM_CHARS:
            shares = np.minimum(1.0, _chars_of_top(parts, before, len(totals)) / totals)
            ratios = np.maximum(ratios, shares / TOP_NGRAM_CHARS[n])
        else:
            shares = _chars_covered(parts, before, offsets) / totals
            ratios = np.maximum(ratios, shares / DUPLICATE_NGRAM_CHARS[n])
    return ratios


def _chars_of_top(parts: Iterable[Repeats], before: np.ndarray, texts: int) -> np.ndarray:
    """Return the characters of all occurrences of each text's most frequent n-gram, (n,); 0 if none repeats.

    Overlapping occurrences count in full, so the sum may exceed the text.
    """
    most, longest = np.zeros(texts, np.int64), np.zeros(texts, np.int64)
    for repeats in parts:
        owners, counts = repeats.owners[repeats.firsts], repeats.counts
        earlier = most.copy()
        np.maximum.at(most, owners, counts)
        longest[most > earlier] = 0
        # of equally frequent n-grams the longest counts
        top = counts == most[owners]
        firsts = repeats.firsts[top]
        np.maximum.at(longest, owners[top], before[repeats.ends[firsts]] - before[repeats.starts[firsts]])
    return most * longest


def _chars_covered(parts: Iterable[Repeats], before: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the characters of each text inside n-grams that occurred before, (n,)."""
    ends = np.zeros(len(before), PLACE)  # by the first word of such an n-gram; 0 for other words
    for repeats in parts:
        again = np.ones(len(repeats.starts), bool)
        again[repeats.firsts] = False
        ends[repeats.starts[again]] = repeats.ends[again]
    return covered_characters(ends, before, offsets)
