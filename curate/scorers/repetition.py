"""Repetition inside a text, measured against the Gopher rules (Rae et al. 2021, arXiv 2112.11446, Table A1)."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.streaming.ngrams import BASE

# The largest fraction that Gopher accepts: shares of lines or paragraphs, or of the characters in them.
DUPLICATE_LINES, DUPLICATE_LINE_CHARS = 0.30, 0.20
DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARS = 0.30, 0.20
TOP_NGRAM_CHARS = {2: 0.20, 3: 0.18, 4: 0.16}  # share of the characters in the most frequent n-gram
DUPLICATE_NGRAM_CHARS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}  # in n-grams that occurred before
LONGEST = 10  # words of the longest n-gram with a rule


@dataclass(frozen=True)
class Repetition:
    """How little a text repeats itself; high is no repetition.

    ``score.repetition`` (float64, at most 1) is 1 minus the largest of (fraction / largest accepted fraction) over the
    Gopher rules. 1 is no repetition, and a text passes every rule exactly when its score is >= 0. Keep high scores.
    Words are runs of visible characters. A repeated line or n-gram counts from its second occurrence on, and a
    character in several repeated n-grams counts once. An empty or null text scores 1.

    Source: Gopher, Rae et al. 2021, arXiv 2112.11446, Table A1.
    """

    needs = ("text",)
    schema = {"score.repetition": pl.Float64()}
    meanings = {"score.repetition": "quality"}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [1.0 - max(_ratios(text)) for text in batch["text"].fill_null("")]
        return pl.DataFrame({"score.repetition": scores}, schema=dict(self.schema))


def _ratios(text: str) -> list[float]:
    """Return the fraction of every rule over the largest fraction that it accepts."""
    lines = [line for line in (raw.strip() for raw in text.split("\n")) if line]
    paragraphs = [p for p in (raw.strip() for raw in re.split(r"\n{2,}", text)) if p]
    count, chars = _duplicates(lines)
    ratios = [count / DUPLICATE_LINES, chars / DUPLICATE_LINE_CHARS]
    count, chars = _duplicates(paragraphs)
    ratios += [count / DUPLICATE_PARAGRAPHS, chars / DUPLICATE_PARAGRAPH_CHARS]
    return ratios + _ngram_ratios(text.split())


def _ngram_ratios(words: list[str]) -> list[float]:
    ratios: list[float] = []
    codes: dict[str, int] = {}
    ids = np.array([codes.setdefault(w, len(codes)) for w in words], dtype=np.uint64)
    sizes = np.array([len(w) for w in words], dtype=np.int64)
    rolling = ids
    for n in range(2, LONGEST + 1):
        if len(words) < n:
            break
        # a 64-bit hash of each n-gram, which wraps around on purpose
        rolling = rolling[:-1] * BASE + ids[n - 1 :]
        _, first, inverse, counts = np.unique(rolling, return_index=True, return_inverse=True, return_counts=True)
        if n in TOP_NGRAM_CHARS:
            ratios.append(_share_of_top(sizes, n, first, counts) / TOP_NGRAM_CHARS[n])
        if n in DUPLICATE_NGRAM_CHARS:
            again = first[inverse] != np.arange(len(rolling))
            ratios.append(_share_covered(sizes, n, again) / DUPLICATE_NGRAM_CHARS[n])
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


def _share_of_top(sizes: np.ndarray, n: int, first: np.ndarray, counts: np.ndarray) -> float:
    """Return the share of word characters in the most frequent n-gram, at most 1; 0 if no n-gram repeats."""
    best = counts.max()
    if best < 2:
        return 0.0
    # of equally frequent n-grams the longest counts; overlapping ones could sum to more than the text
    length = max(int(sizes[i : i + n].sum()) for i in first[counts == best])
    return min(1.0, float(best) * length / float(sizes.sum()))


def _share_covered(sizes: np.ndarray, n: int, again: np.ndarray) -> float:
    """Return the share of word characters inside n-grams that occurred before; ``again`` marks these n-grams."""
    if not again.any():
        return 0.0
    # +1 where a repeated n-gram begins and -1 after its end: the running sum is above 0 inside
    edges = np.zeros(len(sizes) + 1, dtype=np.int64)
    starts = np.flatnonzero(again)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + n, -1)
    return float(sizes[np.cumsum(edges[:-1]) > 0].sum()) / float(sizes.sum())
