"""N-grams of words that occur more than once in their text, in many texts at once.

In: words as hashes. Out: for each n, the places of the repeated n-grams.

A repeated (n + 1)-gram begins where a repeated n-gram begins. Each n therefore looks only at the words where the n
before found repeats.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate.words import ngrams
from curate.words.ngrams import SizedWords, mix

# Added to the number of a text before it is hashed. Without it, text 48 would have the hash of the word "0", whose byte
# is 48. The number is the fractional part of pi (as in Blowfish).
SALT = np.uint64(0x243F6A8885A308D3)


@dataclass(frozen=True)
class Repeats:
    """The n-grams of one length that repeat in their text: m occurrences in g groups of equal ones.

    An occurrence covers the words from ``starts`` (m,) up to ``ends`` (m,), and ``owners`` (m,) numbers its text.
    Occurrences are sorted by group, and within a group by position. Group i begins at occurrence ``firsts[i]`` (g,).
    """

    n: int
    starts: np.ndarray
    ends: np.ndarray
    owners: np.ndarray
    firsts: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of occurrences of each group, (g,) int64, 2 or more."""
        return np.diff(self.firsts, append=len(self.starts))


def repeated_ngrams(words: SizedWords, *, shortest: int, longest: int, single_characters: int) -> Iterator[Repeats]:
    """Yield the repeated n-grams of each n from ``shortest`` to ``longest``, until there are none.

    In scripts without spaces, ``single_characters`` characters count as one word. An n-gram ends at the first word that
    completes n words.
    """
    owners = words.hashes.owner
    spans = _Spans.of(words, single_characters)
    starts = np.arange(len(owners))
    for n in range(shortest, longest + 1):
        starts, ends = spans.ngrams(starts, n * single_characters)
        order, firsts = repeated(spans.hashes(starts, ends))
        if not len(order):
            return
        starts, ends = starts[order], ends[order]
        yield Repeats(n, starts, ends, owners[starts], firsts)
        # in reading order the next look-ups are close together in memory
        starts = np.sort(starts)


@dataclass(frozen=True)
class _Spans:
    """Runs of words, with their lengths measured in steps: one for a single character, several for a word.

    ``steps`` (w + 1,) counts the steps before each word. ``word_at`` gives the first word at or after each step.
    ``text_ends`` (w,) is the end of the text that each word belongs to. ``sums`` (w + 1,) and ``inverses`` (w,) give
    the hash of a run in two look-ups, and ``salts`` (w,) tells texts apart.
    """

    steps: np.ndarray
    word_at: np.ndarray
    text_ends: np.ndarray
    sums: np.ndarray
    inverses: np.ndarray
    salts: np.ndarray

    @classmethod
    def of(cls, words: SizedWords, steps_of_a_word: int) -> "_Spans":
        hashes, owners = words.hashes.values, words.hashes.owner
        up, down = ngrams.powers(len(hashes))
        sums = np.zeros(len(hashes) + 1, np.uint64)
        np.cumsum(hashes * up[: len(hashes)], out=sums[1:])
        lengths = np.where(words.single, 1, steps_of_a_word)
        return cls(
            steps=np.concatenate(([0], np.cumsum(lengths))),
            word_at=np.concatenate(([0], np.repeat(np.arange(1, len(hashes) + 1), lengths))),
            text_ends=words.hashes.offsets[1:][owners],
            sums=sums,
            inverses=down,
            salts=mix(owners.astype(np.uint64) + SALT),
        )

    def ngrams(self, starts: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts from which the text has ``steps`` steps more, and the ends of these runs."""
        stops = self.steps[starts] + steps
        # a run that would end behind the last text is as bad as one that ends behind its own
        ends = self.word_at[np.minimum(stops, len(self.word_at) - 1)]
        inside = (stops < len(self.word_at)) & (ends <= self.text_ends[starts])
        return starts[inside], ends[inside]

    def hashes(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return a hash of each run; equal runs of one text have equal hashes, those of different texts do not."""
        return mix((self.sums[ends] - self.sums[starts]) * self.inverses[starts] + self.salts[starts])


def repeated(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where hashes lie that occur more than once, sorted by hash and position, and where each new hash begins.

    Sorting numbers is much faster than sorting positions by numbers. The lower bits of a hash therefore make room for
    its position. Where two hashes differ only in these bits, which is rare, positions are sorted after all.
    """
    bits = np.uint64(max(1, len(hashes)).bit_length())
    position = (np.uint64(1) << bits) - np.uint64(1)
    packed = (hashes & ~position) | np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    order = (packed & position).astype(np.int64)
    ordered = hashes[order]
    equal = ordered[1:] == ordered[:-1]
    if ((packed[1:] ^ packed[:-1] <= position) != equal).any():
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        equal = ordered[1:] == ordered[:-1]
    with_next, with_previous = np.append(equal, False), np.insert(equal, 0, False)
    repeated = (with_next | with_previous)[: len(hashes)]
    return order[repeated], np.flatnonzero(~with_previous[: len(hashes)][repeated])
