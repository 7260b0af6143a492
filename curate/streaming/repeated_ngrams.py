"""N-grams of words that occur more than once in their text, in many texts at once.

In: words as hashes. Out: for each n, the places of the repeated n-grams.

A repeated (n + 1)-gram begins where a repeated n-gram begins. Each n therefore looks only at the words where the n
before found repeats.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate.words import ngrams
from curate.words.ngrams import BASE, SizedWords, mix

# Added to the number of a text before it is hashed. Without it, text 48 would have the hash of the word "0", whose byte
# is 48. The number is the fractional part of pi (as in Blowfish).
SALT = np.uint64(0x243F6A8885A308D3)
# A text may have tens of millions of words. Arrays that are needed for a moment only are made for so many at a time.
BLOCK = 1 << 19
PART_BITS = 4  # hashes of more words than a block are sorted in 16 parts
PLACE = np.int32  # of a word: the longest text, 64 MB, has fewer than 2^31


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
    completes n words. The groups of one n come in several parts if there are many words, so that memory stays small.
    """
    spans = _Spans.of(words, single_characters)
    size = len(words.hashes.values)
    starts = np.arange(size, dtype=PLACE)
    for n in range(shortest, longest + 1):
        starts, ends = spans.ngrams(starts, n)
        repeats = np.zeros(size, bool)
        for order, firsts in repeated_parts(spans.hashes(starts, ends)):
            if len(order):
                places = starts[order]
                repeats[places] = True
                yield Repeats(n, places, ends[order], spans.owners[places], firsts)
        # in reading order the next look-ups are close together in memory
        starts = np.concatenate([places.astype(PLACE) for places in places_where(repeats)])
        if not len(starts):
            return


@dataclass(frozen=True)
class _Spans:
    """Runs of words, with their lengths measured in steps: one for a single character, several for a word.

    ``steps`` (w + 1,) counts the steps before each word, and ``word_at`` gives the first word at or after each step;
    both are None if no word is a single character. ``text_ends`` (w,) is the end of the text that each word belongs to,
    and ``owners`` (w,) its number. ``sums`` (w + 1,) gives the hash of a run, and ``salts`` (w,) tells texts apart.
    """

    steps_of_a_word: int
    steps: np.ndarray | None
    word_at: np.ndarray | None
    text_ends: np.ndarray
    owners: np.ndarray
    sums: np.ndarray
    salts: np.ndarray

    @classmethod
    def of(cls, words: SizedWords, steps_of_a_word: int) -> "_Spans":
        hashes = words.hashes.values
        steps = word_at = None
        if words.single.any():
            lengths = np.where(words.single, PLACE(1), PLACE(steps_of_a_word))
            steps = np.zeros(len(hashes) + 1, PLACE)
            np.cumsum(lengths, out=steps[1:])
            word_at = np.zeros(steps[-1] + 1, PLACE)
            word_at[1:] = np.repeat(np.arange(1, len(hashes) + 1, dtype=PLACE), lengths)
        owners = words.hashes.owner if len(words.hashes.offsets) > 2 else np.broadcast_to(np.int64(0), len(hashes))
        texts = np.arange(max(1, len(words.hashes.offsets) - 1), dtype=np.uint64)
        return cls(
            steps_of_a_word=steps_of_a_word,
            steps=steps,
            word_at=word_at,
            text_ends=_by_owner(words.hashes.offsets[1:], owners),
            owners=owners,
            sums=_sums(hashes),
            salts=_by_owner(mix(texts + SALT), owners),
        )

    def ngrams(self, starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts from which the text has n words more, and the ends of these runs."""
        blocks = [self._ngrams(starts[low : low + BLOCK], n) for low in range(0, max(1, len(starts)), BLOCK)]
        return np.concatenate([first for first, _ in blocks]), np.concatenate([last for _, last in blocks])

    def _ngrams(self, starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        if self.steps is None or self.word_at is None:
            ends = starts + PLACE(n)
            inside = ends <= self.text_ends[starts]
            return starts[inside], ends[inside]
        stops = self.steps[starts] + PLACE(n * self.steps_of_a_word)
        # a run that would end behind the last text is as bad as one that ends behind its own
        ends = self.word_at[np.minimum(stops, len(self.word_at) - 1)]
        inside = (stops < len(self.word_at)) & (ends <= self.text_ends[starts])
        return starts[inside], ends[inside]

    def hashes(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return a hash of each run; equal runs of one text have equal hashes, those of different texts do not."""
        result = np.empty(len(starts), np.uint64)
        for low in range(0, len(starts), BLOCK):
            first, last = starts[low : low + BLOCK], ends[low : low + BLOCK]
            inverses = _inverses(first, len(self.sums))
            result[low : low + BLOCK] = mix((self.sums[last] - self.sums[first]) * inverses + self.salts[first])
        return result


def _by_owner(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the value of the text of each word, (w,). That of a single text takes no memory."""
    if len(values) > 1:
        return np.asarray(values[owners])
    return np.broadcast_to(values[0] if len(values) else 0, len(owners))


def _sums(hashes: np.ndarray) -> np.ndarray:
    """Return the sums of hash_i BASE^i over the words before each word, modulo 2^64, (w + 1,) uint64."""
    sums = np.zeros(len(hashes) + 1, np.uint64)
    up, _ = ngrams.powers(min(len(hashes), BLOCK))
    for low in range(0, len(hashes), BLOCK):
        block = hashes[low : low + BLOCK] * up[: len(hashes[low : low + BLOCK])]
        np.cumsum(block, out=block)
        # the powers of a later block are those of the first one, times that of its first word
        sums[low + 1 : low + 1 + len(block)] = block * np.uint64(pow(int(BASE), low, 1 << 64)) + sums[low]
    return sums


def _inverses(places: np.ndarray, most: int) -> np.ndarray:
    """Return BASE^-i modulo 2^64 for places i below ``most``, uint64: from two small tables."""
    _, down = ngrams.powers(min(most, BLOCK))
    if most <= BLOCK:
        return np.asarray(down[places])
    inverse = pow(int(BASE), -1, 1 << 64)
    blocks = np.array([pow(inverse, low, 1 << 64) for low in range(0, most, BLOCK)], np.uint64)
    return np.asarray(down[places % BLOCK] * blocks[places // BLOCK])


def repeated_parts(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what `repeated` returns; of many hashes in several parts, by their upper bits."""
    if len(hashes) <= BLOCK:
        yield repeated(hashes)
        return
    upper = np.empty(len(hashes), np.uint8)
    np.right_shift(hashes, np.uint64(64 - PART_BITS), out=upper, casting="unsafe")
    for number in range(1 << PART_BITS):
        part = np.flatnonzero(upper == number).astype(PLACE)
        order, firsts = repeated(hashes[part])
        yield part[order], firsts


def repeated(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where hashes lie that occur more than once, sorted by hash and position, and where each new hash begins.

    Sorting numbers is much faster than sorting positions by numbers. The lower bits of a hash therefore make room for
    its position. Where two hashes differ only in these bits, which is rare, positions are sorted after all.
    """
    bits = np.uint64(max(1, len(hashes)).bit_length())
    position = (np.uint64(1) << bits) - np.uint64(1)
    packed = (hashes & ~position) | np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    equal = packed[1:] ^ packed[:-1] <= position
    # Few hashes repeat, so that only these are compared in full.
    pairs = np.flatnonzero(equal)
    if (hashes[packed[pairs] & position] != hashes[packed[pairs + 1] & position]).any():
        packed = np.argsort(hashes, kind="stable").astype(np.uint64)
        equal = hashes[packed[1:]] == hashes[packed[:-1]]
    with_next, with_previous = np.append(equal, False), np.insert(equal, 0, False)
    repeated = (with_next | with_previous)[: len(hashes)]
    return (packed[repeated] & position).astype(np.int64), np.flatnonzero(~with_previous[: len(hashes)][repeated])


def covered_characters(ends: np.ndarray, before: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the characters of each of n texts inside some runs of words, (n,) int64; no character counts twice.

    Args:
        ends: the end of the run that begins at each word, (w + 1,); 0 where none begins. A run that begins later never
            ends earlier.
        before: the characters before each word, (w + 1,).
        offsets: where the words of each text begin, (n + 1,).
    """
    total = np.zeros(len(offsets) - 1, np.int64)
    last = 0
    for places in places_where(ends):
        begins, stops = before[places], before[ends[places]]
        # a run can overlap only with the one before
        fresh = stops - np.maximum(begins, np.concatenate(([last], stops[:-1])))
        owners = np.searchsorted(offsets, places, side="right") - 1
        total += np.bincount(owners, np.maximum(fresh, 0), minlength=len(total)).astype(np.int64)
        last = stops[-1] if len(stops) else last
    return total


def places_where(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the places of values that are not 0 in order, those of a block at a time."""
    for low in range(0, max(1, len(values)), BLOCK):
        yield np.flatnonzero(values[low : low + BLOCK]) + low
