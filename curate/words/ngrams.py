"""Words of many texts at once as 64-bit hashes, and their n-grams: numpy over UTF-8 bytes, no Python loop over words.

In: a column of texts. Out: arrays of hashes, with the texts that they belong to.

Equal words have equal hashes; two different words collide with a chance of about 2^-64. ``pieces`` cuts a batch so that
the working arrays stay in the processor's cache.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from curate.words import character_kinds, lower_case, utf8
from curate.words.character_kinds import SPACE, UNIT

PIECE = 1 << 18  # bytes of text worked on at a time: 2 MB for each array of 8-byte numbers
LONG = PIECE  # characters of a part of a long text
GAP = re.compile(r"\s")
PIECE_TEXTS = 4096  # texts worked on at a time: ``minhash`` numbers as many in the upper bits of a hash
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64 (golden ratio, Knuth)
MIX = np.uint64(0xD6E8FEB86659FD93)  # multiplier of the "rrmxmx" finaliser (P. Evensen 2018)


@dataclass(frozen=True)
class Grams:
    """Units (words, bytes or n-grams) of n texts: ``values`` (w,) uint64 in reading order, ``offsets`` (n + 1,).

    Text i owns the values from ``offsets[i]`` up to ``offsets[i + 1]``.
    """

    values: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of units of each text, (n,) int64."""
        return np.diff(self.offsets)

    @property
    def owner(self) -> np.ndarray:
        """Number of the text that each unit belongs to, (w,) int64."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def places_of(self, texts: np.ndarray) -> np.ndarray:
        """Return where the units of some texts (t,) stand in ``values``, one text after the other."""
        counts = self.counts[texts]
        ends = np.cumsum(counts)
        return np.asarray(np.arange(counts.sum()) + np.repeat(self.offsets[texts] - (ends - counts), counts))

    def of_texts(self, texts: np.ndarray) -> "Grams":
        """Return the units of some texts (t,), in this order."""
        offsets = np.concatenate(([0], np.cumsum(self.counts[texts])))
        return Grams(self.values[self.places_of(texts)], offsets)


def pieces(texts: pl.Series, size: int = PIECE) -> Iterator[pl.Series]:
    """Yield a column of texts in runs of about ``size`` bytes or 4,096 texts; a null becomes the empty text."""
    texts = texts.fill_null("")
    ends = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = min(start + PIECE_TEXTS, max(start + 1, int(np.searchsorted(ends, before + size, side="right"))))
        yield texts[start:stop]
        start = stop


def words(texts: pl.Series, *, marks: bool = False) -> Grams:
    """Return the hashes of the lower-cased words of each text.

    A word is a run of letters, digits, underscores and their combining marks, in any script. In scripts without spaces
    (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan, ...) every character is a word, so n-grams of words are
    n-grams of characters. Every emoji is a word. Unicode punctuation, symbols and spaces are not words. With ``marks``,
    a run of punctuation or symbols is also a word, as in NLTK's ``wordpunct_tokenize``. Invisible characters (joiners,
    soft hyphens, direction marks, variation selectors) are ignored. A word with an accent is the same word whether
    Unicode writes the accented letter as one character or two (form NFC).
    """
    return _hashed(_tokens(texts, marks=marks))


@dataclass(frozen=True)
class SizedWords:
    """Words of n texts as in ``words``: their ``hashes``, and their ``sizes`` (w,) in characters.

    ``single`` (w,) bool marks the words that are one character of a script without spaces.
    """

    hashes: Grams
    sizes: np.ndarray
    single: np.ndarray


def sized_words(texts: pl.Series) -> SizedWords:
    """Return what ``words`` returns without marks, with the sizes of the words."""
    if len(texts) == 1 and len(texts[0]) > LONG:
        parts = [_sized_words(pl.Series([part])) for part in long_text_parts(texts[0])]
        hashes = np.concatenate([part.hashes.values for part in parts])
        sizes, single = (np.concatenate([getattr(part, name) for part in parts]) for name in ("sizes", "single"))
        return SizedWords(Grams(hashes, np.array([0, len(hashes)])), sizes, single)
    return _sized_words(texts)


def long_text_parts(text: str) -> Iterator[str]:
    """Yield a long text in parts of about ``LONG`` characters, which end where a line ends, or else at a space."""
    start = 0
    while len(text) - start > LONG:
        stop = text.rfind("\n", start + 1, start + LONG)
        if stop < 0:
            gap = GAP.search(text, start + LONG)
            stop = gap.start() if gap else len(text)
        yield text[start:stop]
        start = stop
    yield text[start:]


def _sized_words(texts: pl.Series) -> SizedWords:
    tokens = _tokens(texts, marks=False)
    sizes = (tokens.ends - tokens.starts).astype(np.int32)
    if (tokens.buffer >= utf8.FIRST_LEAD).any():
        # the bytes 10xxxxxx continue a character; every other one begins one
        continued = np.cumsum((tokens.buffer & np.uint8(0xC0)) == 0x80, dtype=np.int32)
        sizes -= continued[tokens.ends - 1] - continued[tokens.starts - 1]
    return SizedWords(_hashed(tokens), sizes, tokens.kind[tokens.starts] == UNIT)


def characters_before(sizes: np.ndarray) -> np.ndarray:
    """Return the characters of all words before each of w words, and of all words, (w + 1,) int32."""
    before = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=before[1:])
    return before


def characters(texts: pl.Series) -> Grams:
    """Return the UTF-8 bytes of each text as units: values 0 to 255, not hashed."""
    joined = texts.str.join().item() if len(texts) else ""
    ends = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64)
    return Grams(np.frombuffer(joined.encode(), np.uint8).astype(np.uint64), np.concatenate(([0], ends)))


def ngrams(units: Grams, n: int, *, short: bool = False) -> Grams:
    """Return the hash of every run of n units of a text.

    With ``short`` a text of 1 to n - 1 units has one gram, all its units; otherwise it has none.
    """
    if short and ((units.counts > 0) & (units.counts < n)).any():
        missing = np.where(units.counts > 0, np.maximum(0, n - units.counts), 0)
        padding = np.repeat(units.offsets[1:], missing)
        units = Grams(np.insert(units.values, padding, 0), units.offsets + np.concatenate(([0], np.cumsum(missing))))
    size = len(units.values) - n + 1
    if size <= 0:
        return Grams(np.zeros(0, np.uint64), np.zeros_like(units.offsets))
    rolling = units.values[:size].copy()
    for i in range(1, n):
        rolling *= BASE
        rolling += units.values[i : i + size]
    inside = np.ones(size, bool)
    # A run that starts fewer than n units before the end of its text would reach into the next text.
    for i in range(1, n):
        crossing = units.offsets[1:] - i
        inside[crossing[(crossing >= 0) & (crossing < size)]] = False
    kept = np.concatenate(([0], np.cumsum(np.maximum(0, units.counts - n + 1))))
    return Grams(mix(rolling[inside]), kept)


def mix(values: np.ndarray) -> np.ndarray:
    """Return (w,) uint64 scrambled one to one, so that every bit depends on every bit."""
    values = values ^ (values >> np.uint64(32))
    for _ in range(2):
        values *= MIX
        values ^= values >> np.uint64(32)
    return values


@dataclass(frozen=True)
class Tokens:
    """Words of texts as bytes ``buffer[starts[i]:ends[i]]``; text i has the bytes from ``offsets[i]``."""

    buffer: np.ndarray
    kind: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray


def _tokens(texts: pl.Series, *, marks: bool) -> Tokens:
    characters = character_kinds.classify(lower_case.lowered(texts), marks=marks)
    kind = characters.kind
    turns = kind[1:] != kind[:-1]
    turns[characters.unit_starts - 1] = True
    edges = np.flatnonzero(turns) + 1
    if not marks and not len(characters.unit_starts):
        # words and spaces alternate, and the buffer begins and ends with a space
        starts, ends = edges[::2], edges[1::2]
    else:
        visible = kind[edges] != SPACE
        starts, ends = edges[visible], edges[1:][visible[:-1]]
    return Tokens(characters.buffer, kind, starts, ends, characters.offsets)


def _hashed(tokens: Tokens) -> Grams:
    """Return the hash of each word: the sum of byte_i BASE^i, i from 0, by cumulative sums, and then `mix`."""
    starts, ends = tokens.starts, tokens.ends
    values = np.empty(len(starts), np.uint64)
    low = 0
    # one step for an ordinary piece; a text longer than a piece takes several, so that the sums stay small
    while low < len(starts):
        # a line feed stands before the first text, so every word has a byte before it
        first = starts[low] - 1
        high = max(low + 1, int(np.searchsorted(ends, first + 2 * PIECE, side="right")))
        buffer = tokens.buffer[first : ends[high - 1]]
        up, down = powers(len(buffer))
        sums = buffer * up[: len(buffer)]
        np.cumsum(sums, out=sums)
        before, last = starts[low:high] - first - 1, ends[low:high] - first - 1
        values[low:high] = (sums[last] - sums[before]) * down[before + 1]
        low = high
    return Grams(mix(values), np.searchsorted(starts, tokens.offsets).astype(np.int64))


def powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return BASE^i and BASE^-i modulo 2^64 as uint64, for i below ``size`` or a larger limit."""
    return _powers(max(2 * PIECE, size))


@lru_cache(maxsize=1)
def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return BASE^i and BASE^-i modulo 2^64 for i below ``size``, each (size,) uint64."""
    up = np.full(size, BASE)
    down = np.full(size, np.uint64(pow(int(BASE), -1, 1 << 64)))
    up[0] = down[0] = 1
    return np.cumprod(up), np.cumprod(down)
