"""The n-grams of reference texts, such as a benchmark, and where they occur in other texts.

In: a corpus of reference texts. Out: hashes of their n-grams. In: words of other texts. Out: which of them match.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from curate.streaming.hash_set import HashSet
from curate.tables.corpus import Arrays, Corpus, PartRows
from curate.words import ngrams
from curate.words.ngrams import Grams


@dataclass(frozen=True)
class ReferenceNgrams:
    """The n-grams of reference texts, as runs of words.

    A text of ``n`` words or more has all its n-grams here. A text of at least ``shortest`` words, but fewer than n, is
    here as a whole. Shorter texts are left out.

    sizes: (l,) int64, the lengths of the n-grams in words, in rising order.
    counts: (l,) int64, how many different n-grams have each length.
    grams: (g,) uint64, their hashes: one length after the other, in rising order for each.
    heads: (h,) uint64, the hashes of the first ``shortest`` words of the texts that are here as a whole, in rising
        order.
    """

    sizes: np.ndarray
    counts: np.ndarray
    grams: np.ndarray
    heads: np.ndarray
    n: int
    shortest: int

    def matches(self, words: Grams) -> tuple[np.ndarray, np.ndarray]:
        """Return where n-grams of the reference occur in texts: the first word of each, and the word after its last.

        Words are numbered by their places in ``words.values``. Both arrays are (m,) int64.
        """
        starts, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for size, grams in self._sets.items():
            searched, places = words, np.arange(len(words.values))
            if size < self.n:
                # A whole text can only occur where its first words do, so most texts are not searched for it.
                with_heads = np.searchsorted(words.offsets, self._head_places(words), side="right") - 1
                texts = np.unique(with_heads)
                searched, places = words.of_texts(texts), words.places_of(texts)
            matched = places[_places(searched, size, grams)]
            starts.append(matched)
            ends.append(matched + size)
        return np.concatenate(starts), np.concatenate(ends)

    def _head_places(self, words: Grams) -> np.ndarray:
        return _places(words, self.shortest, self._heads)

    @cached_property
    def _heads(self) -> HashSet:
        return HashSet(self.heads)

    # cached_property writes to __dict__, which a frozen dataclass allows
    @cached_property
    def _sets(self) -> dict[int, HashSet]:
        edges = np.concatenate(([0], np.cumsum(self.counts))).tolist()
        return {
            size: HashSet(self.grams[low:high])
            for size, low, high in zip(self.sizes.tolist(), edges[:-1], edges[1:], strict=True)
        }


@dataclass(frozen=True)
class TextCounts:
    """How many reference texts are searched for, how many are too short, and the words of each part (p,)."""

    searched: int
    too_short: int
    words: list[int]


def reference_ngrams(corpus: Corpus, n: int, shortest: int) -> tuple[ReferenceNgrams, TextCounts]:
    """Return the n-grams of all texts of a corpus, which need about 8 bytes a word in memory."""
    parts = list(corpus.map(partial(_ngrams_of_part, n, shortest), ("text",)))
    by_size = [np.unique(np.concatenate([part[f"grams{size}"] for part in parts])) for size in range(shortest, n + 1)]
    counts = np.array(list(map(len, by_size)), np.int64)
    reference = ReferenceNgrams(
        np.flatnonzero(counts) + shortest,
        counts[counts > 0],
        np.concatenate(by_size),
        np.unique(np.concatenate([part["heads"] for part in parts])),
        n,
        shortest,
    )
    searched, too_short = (sum(int(part[name]) for part in parts) for name in ("searched", "too_short"))
    return reference, TextCounts(searched, too_short, [int(part["words"]) for part in parts])


def _ngrams_of_part(n: int, shortest: int, rows: PartRows) -> Arrays:
    """Return the different n-grams of a part for each length, and counts of its texts and words."""
    nothing = np.zeros(0, np.uint64)
    grams = {size: [nothing] for size in range(shortest, n + 1)}
    heads, searched, too_short, count = [nothing], 0, 0, 0
    for batch in rows.batches():
        for piece in ngrams.pieces(batch["text"]):
            words = ngrams.words(piece)
            count += len(words.values)
            searched += int((words.counts >= shortest).sum())
            # A text without words counts as neither.
            too_short += int(((words.counts > 0) & (words.counts < shortest)).sum())
            grams[n].append(np.unique(ngrams.ngrams(words, n).values))
            for size in range(shortest, n):
                whole = words.of_texts(np.flatnonzero(words.counts == size))
                grams[size].append(ngrams.ngrams(whole, size).values)
                heads.append(ngrams.ngrams(_first_words(whole, shortest), shortest).values)
    return {
        **{f"grams{size}": np.unique(np.concatenate(lists)) for size, lists in grams.items()},
        "heads": np.concatenate(heads),
        "searched": np.array(searched),
        "too_short": np.array(too_short),
        "words": np.array(count),
    }


def _places(words: Grams, size: int, grams: HashSet) -> np.ndarray:
    """Return the first words, as places in ``words.values``, of the runs of ``size`` words that are among ``grams``."""
    runs = ngrams.ngrams(words, size)
    matched = np.flatnonzero(grams.contains(runs.values))
    text = np.searchsorted(runs.offsets, matched, side="right") - 1
    return np.asarray(words.offsets[text] + matched - runs.offsets[text])


def _first_words(words: Grams, count: int) -> Grams:
    """Return the first ``count`` words of texts; each has at least ``count`` words."""
    places = words.offsets[:-1, None] + np.arange(count)
    return Grams(words.values[places].ravel(), count * np.arange(len(places) + 1))
