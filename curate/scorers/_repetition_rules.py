"""Gopher's rules against repetition: lines, paragraphs and n-grams of words that occur more than once in a text.

In: texts and their words. Out: for each text the first rule that it breaks.

The rules, their order and their reasons are those of datatrove 0.10 (``GopherRepetitionFilter``). All shares are of the
characters of the whole text, with its spaces. Words are those of `words.english`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curate.streaming.repeated_ngrams import Repeats, repeated, repeated_ngrams
from curate.words.english.word_table import WordTable
from curate.words.ngrams import BASE, Grams, SizedWords, mix, powers

PARAGRAPH_BREAK = re.compile(r"\n{2,}")
LARGEST_POWER = 1 << 16  # words of more characters are rare, and take a slower way


@dataclass(frozen=True)
class LineLimits:
    """The largest shares of repeated lines and paragraphs, and of their characters."""

    lines: float
    line_characters: float
    paragraphs: float
    paragraph_characters: float


def line_reason(text: str, limits: LineLimits) -> str | None:
    """Return the rule on lines or paragraphs that a text breaks first, or None."""
    if not text:
        return "empty"
    if "\n" not in text:
        return None
    paragraphs = PARAGRAPH_BREAK.split(text.strip())
    repeats, characters = repeated_items(paragraphs)
    if repeats / len(paragraphs) > limits.paragraphs:
        return "dup_para_frac"
    if characters / len(text) > limits.paragraph_characters:
        return "dup_para_char_frac"
    # line feeds at the beginning or the end of a text leave one empty line there
    lines = [line for line in text.split("\n") if line]
    lines += [""] * (text.startswith("\n") + text.endswith("\n"))
    repeats, characters = repeated_items(lines)
    if repeats / len(lines) > limits.lines:
        return "dup_line_frac"
    return "dup_line_char_frac" if characters / len(text) > limits.line_characters else None


def repeated_items(items: list[str]) -> tuple[int, int]:
    """Return the number of items that are equal to one before, and the sum of their characters."""
    distinct = set(items)
    if len(distinct) == len(items):
        return 0, 0
    return len(items) - len(distinct), sum(map(len, items)) - sum(map(len, distinct))


def ngram_reasons(
    words: WordTable, sizes: np.ndarray, top: Mapping[int, float], repeats: Mapping[int, float]
) -> list[str | None]:
    """Return the rule on n-grams that each of n texts breaks first, or None.

    Args:
        words: the words of the texts.
        sizes: the characters of the texts, (n,).
        top: for each n, the largest share of the most frequent n-gram, with one space between words.
        repeats: for each n, the largest share of n-grams that occurred before, without spaces. They are counted from
            the left. After such an n-gram the search goes on behind it.
    """
    reasons: list[str | None] = [None] * len(sizes)
    for n, characters in _top_characters(words, top).items():
        for text in np.flatnonzero(characters / np.maximum(sizes, 1) > top[n]).tolist():
            reasons[text] = reasons[text] or f"top_{n}_gram"
    passed = np.array([reason is None for reason in reasons], bool)
    texts = np.flatnonzero(passed)
    for text, n in _first_repetitive(words.of_texts(passed), sizes[passed], repeats).items():
        reasons[int(texts[text])] = f"duplicated_{n}_n_grams"
    return reasons


def _top_characters(words: WordTable, top: Mapping[int, float]) -> dict[int, np.ndarray]:
    """Return for each n the characters of all occurrences of each text's most frequent n-gram, with spaces, (texts,).

    Of equally frequent n-grams the first counts. If no n-gram repeats, that is the first of the text.
    """
    before = np.concatenate(([0], np.cumsum(words.sizes)))
    starts = words.offsets[:-1]
    result = {}
    for n in sorted(top):
        complete = words.counts >= n
        firsts = np.where(complete, starts, 0)
        result[n] = np.where(complete, before[np.where(complete, firsts + n, 0)] - before[firsts] + n - 1, 0)
    hashes = SizedWords(Grams(mix(words.hashes), words.offsets), words.sizes, np.zeros(len(words.sizes), bool))
    for group in repeated_ngrams(hashes, shortest=min(top), longest=max(top), single_characters=1):
        if group.n in top:
            texts, characters = _top_of(group, before)
            result[group.n][texts] = characters
    return result


def _top_of(repeats: Repeats, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts with repeated n-grams, and the characters of all occurrences of the top n-gram of each."""
    counts, firsts = repeats.counts, repeats.starts[repeats.firsts]
    owners = repeats.owners[repeats.firsts]
    # by text, then from frequent to rare, then from left to right
    order = np.lexsort((firsts, -counts, owners))
    texts, places = np.unique(owners[order], return_index=True)
    chosen = order[places]
    length = before[firsts[chosen] + repeats.n] - before[firsts[chosen]] + repeats.n - 1
    return texts, length * counts[chosen]


def _first_repetitive(words: WordTable, sizes: np.ndarray, limits: Mapping[int, float]) -> dict[int, int]:
    """Return the texts whose repeated n-grams cover more than their limit, with the first such n.

    N-grams are equal if their characters are, wherever the words begin. The characters that repeated n-grams cover
    together are more than those that are counted from the left. So most texts need no count from the left.
    """
    before = np.concatenate(([0], np.cumsum(words.sizes)))
    owners = words.owners
    salts = mix(owners.astype(np.uint64) + BASE)
    ends = words.offsets[1:][owners]
    factors = _factors(words.sizes)
    joined = words.hashes
    result: dict[int, int] = {}
    for n in range(2, min(max(limits), len(joined)) + 1):
        # the hash of n words is that of the first, and that of the n - 1 words behind it, moved by the first
        joined = words.hashes[: len(joined) - 1] + factors[: len(joined) - 1] * joined[1:]
        if n not in limits:
            continue
        starts = np.flatnonzero(np.arange(len(joined)) + n <= ends[: len(joined)])
        order, firsts = repeated(mix(joined[starts] + salts[starts]))
        places = starts[order]
        covered = _covered(places, firsts, n, before, owners, len(sizes))
        over = set(np.flatnonzero(covered / np.maximum(sizes, 1) > limits[n]).tolist()) - set(result)
        if not over:
            continue
        group = np.zeros(len(places), np.int64)
        group[firsts] = 1
        group = np.cumsum(group)
        is_over = np.zeros(len(sizes), bool)
        is_over[sorted(over)] = True
        chosen = np.flatnonzero(is_over[owners[places]])
        chosen = chosen[np.argsort(places[chosen])]
        bounds = np.searchsorted(places[chosen], words.offsets)
        lengths = before[places[chosen] + n] - before[places[chosen]]
        for text in sorted(over):
            part = slice(bounds[text], bounds[text + 1])
            rows = chosen[part]
            characters = _from_the_left(places[rows].tolist(), group[rows].tolist(), lengths[part].tolist(), n)
            if characters / int(sizes[text]) > limits[n]:
                result[text] = n
    return result


def _factors(sizes: np.ndarray) -> np.ndarray:
    """Return BASE^size modulo 2^64 for each size, (w,) uint64."""
    up, _ = powers(LARGEST_POWER)
    factors: np.ndarray = up[np.minimum(sizes, LARGEST_POWER - 1)]
    for word in np.flatnonzero(sizes >= LARGEST_POWER).tolist():
        factors[word] = pow(int(BASE), int(sizes[word]), 1 << 64)
    return factors


def _covered(
    places: np.ndarray, firsts: np.ndarray, n: int, before: np.ndarray, owners: np.ndarray, texts: int
) -> np.ndarray:
    """Return the characters of each text inside n-grams that occurred before, (texts,)."""
    again = np.ones(len(places), bool)
    again[firsts] = False
    starts = np.sort(places[again])
    begins, ends = before[starts], before[starts + n]
    # an n-gram that starts later never ends earlier, so it can overlap only with the one before
    fresh = np.maximum(begins, np.concatenate(([0], ends[:-1])))
    covered: np.ndarray = np.bincount(owners[starts], np.maximum(ends - fresh, 0), minlength=texts)
    return covered


def _from_the_left(places: list[int], groups: list[int], lengths: list[int], n: int) -> int:
    """Return the characters of repeated n-grams, counted from the left without overlaps.

    An n-gram is a repetition only if an equal one before it was passed, and did not lie inside a repetition.
    """
    passed: set[int] = set()
    total = following = 0
    for place, group, length in zip(places, groups, lengths, strict=True):
        if place < following:
            continue
        if group in passed:
            total += length
            following = place + n
        else:
            passed.add(group)
    return total
