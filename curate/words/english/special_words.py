"""Join neighbouring words that together are a special case, such as ":" and ")", as spaCy does after splitting.

In: words. Out: words. May use: its own room.

Neighbours touch, or one space lies between them. Of two special cases with a common word the longer one counts, and
of two equally long ones the first. If a space lies inside, the words stay, but shorter special cases among them are
not looked for.
"""

from functools import lru_cache

import numpy as np

from curate.words.english import chunk
from curate.words.english.hashes import Hasher, HashTable
from curate.words.english.special_cases import special_cases
from curate.words.ngrams import MIX


def join_special_words(
    hasher: Hasher, codes: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the starts and ends of words in which special cases are joined or split as the rules say."""
    if len(starts) < 2:
        return starts, ends
    values = hasher.hashes(starts, ends)
    pairs, sequences = _tables()
    candidates = np.flatnonzero(pairs.find(_chained([values[:-1], values[1:]])) >= 0)
    if not len(candidates):
        return starts, ends
    gaps = starts[1:] - ends[:-1]
    near = (gaps == 0) | (gaps == 1) & (codes[ends[:-1]] == ord(" "))
    spans = _matches(candidates, values, np.concatenate(([0], np.cumsum(~near))), sequences)
    if not spans:
        return starts, ends
    drop = np.zeros(len(starts), bool)
    added: list[tuple[int, int]] = []
    for first, last, parts in _longest_first(spans):
        if (gaps[first : last - 1] == 0).all():
            drop[first:last] = True
            place = int(starts[first])
            for part in parts:
                added.append((place, place + len(part)))
                place += len(part)
    new_starts, new_ends = np.array(added, np.int64).reshape(-1, 2).T
    starts, ends = np.concatenate((starts[~drop], new_starts)), np.concatenate((ends[~drop], new_ends))
    order = np.argsort(starts, kind="stable")
    return starts[order], ends[order]


Span = tuple[int, int, tuple[str, ...]]  # the first word, the word behind the last, and the words of the special case


def _matches(
    candidates: np.ndarray, values: np.ndarray, breaks: np.ndarray, sequences: dict[int, dict[int, tuple[str, ...]]]
) -> list[Span]:
    """Return all runs of words that begin at a candidate and are a special case."""
    spans = []
    for length, forms in sequences.items():
        firsts = candidates[candidates + length <= len(values)]
        firsts = firsts[breaks[firsts] == breaks[firsts + length - 1]]
        keys = _chained([values[firsts + i] for i in range(length)])
        spans += [
            (first, first + length, forms[key])
            for first, key in zip(firsts.tolist(), keys.tolist(), strict=True)
            if key in forms
        ]
    return spans


def _longest_first(spans: list[Span]) -> list[Span]:
    """Return the spans, the longest first, without those whose first or last word lies in one that comes before."""
    taken: set[int] = set()
    chosen = []
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        first, last, _ = span
        if first not in taken and last - 1 not in taken:
            chosen.append(span)
        taken.update(range(first, last))
    return chosen


def _chained(values: list[np.ndarray]) -> np.ndarray:
    """Return one hash (m,) for each sequence of words, from the hashes (m,) of first words, second words and so on.

    The factor is another one than that of the characters of a word, so that "a", "b" is not the same as "b", "a".
    """
    result = values[0]
    for value in values[1:]:
        result = result * MIX + value
    return result


@lru_cache(maxsize=1)
def _tables() -> tuple[HashTable, dict[int, dict[int, tuple[str, ...]]]]:
    """Return hashes of the first two words of special cases, and for each number of words, their hashes and forms."""
    sequences: dict[int, dict[int, tuple[str, ...]]] = {}
    pairs = []
    for form, parts in special_cases().items():
        words = chunk.split_without_special_cases(form)
        if len(words) > 1:
            codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
            ends = np.cumsum(list(map(len, words)))
            values = Hasher.of(codes).hashes(np.concatenate(([0], ends[:-1])), ends)
            keys = _chained(list(values[:, None]))
            sequences.setdefault(len(words), {})[int(keys[0])] = parts
            pairs.append(_chained(list(values[:2, None]))[0])
    return HashTable.of_hashes(np.array(sorted(set(pairs)), np.uint64)), dict(sorted(sequences.items()))
