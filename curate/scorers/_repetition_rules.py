"""Gopher's rules against repetition: lines, paragraphs and n-grams of words that occur more than once in a text.

In: texts and their words. Out: for each text the first rule that it breaks.

The rules, their order and their reasons are those of datatrove 0.10 (``GopherRepetitionFilter``). All shares are of the
characters of the whole text, with its spaces. Words are those of `words.english`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from curate.streaming.repeated_ngrams import (
    BLOCK,
    PLACE,
    Repeats,
    covered_characters,
    places_where,
    repeated_ngrams,
    repeated_parts,
)
from curate.words.english.word_table import WordTable
from curate.words.ngrams import BASE, Grams, SizedWords, characters_before, mix, powers

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
    paragraphs = text.strip().split("\n\n")
    if "\n\n\n" in text:
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
    before = characters_before(words.sizes)
    starts = words.offsets[:-1]
    result = {}
    for n in sorted(top):
        complete = words.counts >= n
        firsts = np.where(complete, starts, 0)
        result[n] = np.where(complete, before[np.where(complete, firsts + n, 0)] - before[firsts] + n - 1, 0)
    hashes = SizedWords(Grams(mix(words.hashes), words.offsets), words.sizes, np.zeros(len(words.sizes), bool))
    every_repeat = repeated_ngrams(hashes, shortest=min(top), longest=max(top), single_characters=1)
    for n, parts in groupby(every_repeat, lambda repeats: repeats.n):
        if n not in top:
            continue
        most = np.zeros(len(words.counts), np.int64)
        leftmost = np.zeros(len(words.counts), np.int64)
        for repeats in parts:
            texts, counts, firsts = _top_of(repeats)
            better = (counts > most[texts]) | ((counts == most[texts]) & (firsts < leftmost[texts]))
            texts, counts, firsts = texts[better], counts[better], firsts[better]
            most[texts], leftmost[texts] = counts, firsts
            result[n][texts] = (before[firsts + n] - before[firsts] + n - 1) * counts
    return result


def _top_of(repeats: Repeats) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the texts with repeated n-grams; how often the top n-gram of each occurs, and where it does so first."""
    counts, firsts = repeats.counts, repeats.starts[repeats.firsts]
    owners = repeats.owners[repeats.firsts]
    # by text, then from frequent to rare, then from left to right
    order = np.lexsort((firsts, -counts, owners))
    texts, places = np.unique(owners[order], return_index=True)
    chosen = order[places]
    return texts, counts[chosen], firsts[chosen]


def _first_repetitive(words: WordTable, sizes: np.ndarray, limits: Mapping[int, float]) -> dict[int, int]:
    """Return the texts whose repeated n-grams cover more than their limit, with the first such n.

    N-grams are equal if their characters are, wherever the words begin. The characters that repeated n-grams cover
    together are more than those that are counted from the left. So most texts need no count from the left.
    """
    before = characters_before(words.sizes)
    result: dict[int, int] = {}
    # Each text multiplies its hashes by an odd number of its own. So no n-gram is equal to one of another text, or to
    # one that reaches into the next text.
    salts = mix(np.arange(len(sizes), dtype=np.uint64) + BASE) | np.uint64(1)
    hashes = words.hashes * (np.repeat(salts, words.counts) if len(salts) > 1 else salts)
    joined = hashes.copy()
    # Of many words they are computed block by block, each time again.
    factors = _factors(words.sizes) if len(joined) <= BLOCK else None
    for n in range(2, min(max(limits), len(joined)) + 1):
        joined = joined[: len(hashes) - n + 2]
        _prepend(hashes, words.sizes, joined, factors)
        if n not in limits:
            continue
        ends, groups = _repeated_places(joined[:-1], n, len(hashes))
        covered = covered_characters(ends, before, words.offsets)
        for text in np.flatnonzero(covered / np.maximum(sizes, 1) > limits[n]).tolist():
            if text not in result:
                first, last = words.offsets[text : text + 2].tolist()
                characters = _from_the_left(groups[first:last], before[first:], n)
                if characters / int(sizes[text]) > limits[n]:
                    result[text] = n
    return result


def _prepend(hashes: np.ndarray, sizes: np.ndarray, joined: np.ndarray, factors: np.ndarray | None) -> None:
    """Change the hashes of n - 1 words from each place on to those of n words.

    The hash of n words is that of the first, and that of the n - 1 words behind it, moved by the first. ``joined`` are
    the places from which there are n - 1 words; the last one is left as it is.
    """
    for low in range(0, len(joined) - 1, BLOCK):
        high = min(low + BLOCK, len(joined) - 1)
        moved = _factors(sizes[low:high]) if factors is None else factors[low:high]
        joined[low:high] = hashes[low:high] + moved * joined[low + 1 : high + 1]


def _repeated_places(joined: np.ndarray, n: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of n-grams that occurred before in their text, and the number of the group of each n-gram.

    Both are (words,) int32, by the first word of an n-gram. Ends are 0 where no such n-gram begins. Groups are the same
    for equal n-grams, and 0 for one that does not repeat.
    """
    ends, groups = np.zeros(words, PLACE), np.zeros(words, np.int32)
    total = 0
    for places, firsts in repeated_parts(joined):
        number = np.zeros(len(places), np.int32)
        number[firsts] = 1
        groups[places] = np.cumsum(number, dtype=np.int32) + total
        total += len(firsts)
        again = places[number == 0]
        ends[again] = again + n
    return ends, groups


def _factors(sizes: np.ndarray) -> np.ndarray:
    """Return BASE^size modulo 2^64 for each size, (w,) uint64."""
    up, _ = powers(LARGEST_POWER)
    factors: np.ndarray = up[np.minimum(sizes, LARGEST_POWER - 1)]
    for word in np.flatnonzero(sizes >= LARGEST_POWER).tolist():
        factors[word] = pow(int(BASE), int(sizes[word]), 1 << 64)
    return factors


def _from_the_left(groups: np.ndarray, before: np.ndarray, n: int) -> int:
    """Return the characters of repeated n-grams of a text, counted from the left without overlaps.

    An n-gram is a repetition only if an equal one before it was passed, and did not lie inside a repetition.
    ``groups`` (w,) are the numbers of its n-grams, and ``before`` the characters before each word.
    """
    passed = bytearray(int(groups.max(initial=0)) + 1)
    total = following = 0
    for places in places_where(groups):
        lengths = before[places + n] - before[places]
        for place, group, length in zip(places.tolist(), groups[places].tolist(), lengths.tolist(), strict=True):
            if place < following:
                continue
            if passed[group]:
                total += length
                following = place + n
            else:
                passed[group] = 1
    return total
