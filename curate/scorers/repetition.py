"""Repetition inside a text: lines, paragraphs and n-grams of words that occur more than once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

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
        scores = [1.0 - max(ratios) for piece in ngrams.pieces(batch["text"]) for ratios in _ratios(piece)]
        return pl.DataFrame({"score.repetition": scores}, schema=dict(self.schema))


def _ratios(texts: pl.Series) -> Iterator[list[float]]:
    """Yield, for each text, every fraction over its limit."""
    words = ngrams.sized_words(texts)
    for text, start, stop in zip(texts, words.hashes.offsets, words.hashes.offsets[1:], strict=False):
        lines = [line for line in (raw.strip() for raw in text.split("\n")) if line]
        paragraphs = [p for p in (raw.strip() for raw in re.split(r"\n{2,}", text)) if p]
        count, chars = _duplicates(lines)
        ratios = [count / DUPLICATE_LINES, chars / DUPLICATE_LINE_CHARS]
        count, chars = _duplicates(paragraphs)
        ratios += [count / DUPLICATE_PARAGRAPHS, chars / DUPLICATE_PARAGRAPH_CHARS]
        yield ratios + _ngram_ratios(words, slice(start, stop))


def _ngram_ratios(words: SizedWords, part: slice) -> list[float]:
    """Return the fraction of every n-gram rule over its limit, for the words of one text."""
    hashes, sizes, single = words.hashes.values[part], words.sizes[part], words.single[part]
    up, down = ngrams.powers(len(hashes))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(hashes * up[: len(hashes)])))
    # in characters: a word counts with its length, and a character of a script without spaces counts as one
    places = np.concatenate(([0], np.cumsum(np.where(single, 1, CHARACTERS_OF_A_WORD))))
    ratios: list[float] = []
    for n in sorted(TOP_NGRAM_CHARS | DUPLICATE_NGRAM_CHARS):
        ends = np.searchsorted(places, places[:-1] + n * CHARACTERS_OF_A_WORD)
        ends = ends[: np.searchsorted(ends, len(places))]
        if not len(ends):
            break
        grams = (sums[ends] - sums[: len(ends)]) * down[: len(ends)]
        _, first, inverse, counts = np.unique(grams, return_index=True, return_inverse=True, return_counts=True)
        if n in TOP_NGRAM_CHARS:
            ratios.append(_share_of_top(sizes, ends, first, counts) / TOP_NGRAM_CHARS[n])
        if n in DUPLICATE_NGRAM_CHARS:
            again = first[inverse] != np.arange(len(ends))
            ratios.append(_share_covered(sizes, ends, again) / DUPLICATE_NGRAM_CHARS[n])
    return ratios


def _duplicates(items: list[str]) -> tuple[float, float]:
    """Return the share of items, and of their characters, that occurred before."""
    seen: set[str] = set()
    count = chars = 0
    for item in items:
        if item in seen:
            count, chars = count + 1, chars + len(item)
        seen.add(item)
    return count / max(1, len(items)), chars / max(1, sum(map(len, items)))


def _share_of_top(sizes: np.ndarray, ends: np.ndarray, first: np.ndarray, counts: np.ndarray) -> float:
    """Return the share of word characters in the most frequent n-gram, at most 1; 0 if no n-gram repeats.

    N-gram i ends before word ``ends[i]``; each different one begins at ``first`` and occurs ``counts`` times.
    """
    best = counts.max()
    if best < 2:
        return 0.0
    # of equally frequent n-grams the longest counts; overlapping ones could sum to more than the text
    length = max(int(sizes[i : ends[i]].sum()) for i in first[counts == best])
    return min(1.0, float(best) * length / float(sizes.sum()))


def _share_covered(sizes: np.ndarray, ends: np.ndarray, again: np.ndarray) -> float:
    """Return the share of word characters inside n-grams that occurred before; ``again`` marks these n-grams."""
    if not again.any():
        return 0.0
    # +1 where a repeated n-gram begins and -1 after its end: the running sum is above 0 inside
    edges = np.zeros(len(sizes) + 1, dtype=np.int64)
    starts = np.flatnonzero(again)
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends[starts], -1)
    return float(sizes[np.cumsum(edges[:-1]) > 0].sum()) / float(sizes.sum())
