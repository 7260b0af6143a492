"""Classify Unicode characters for a tokeniser: a space, part of a word, a mark, a word by itself, or ignored.

In: UTF-8 bytes. Out: the bytes that are not ignored, with their kinds.

Categories come from the Unicode table of Python. A character that this Python does not know counts as a letter.
"""

from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category

import numpy as np

from curate.words import utf8
from curate.words.lower_case import Lowered
from curate.words.utf8 import POINTS, looked_up

# MARK is punctuation or a symbol. UNIT is a word by itself. JOINED belongs to the character before it. SKIPPED is
# ignored.
SPACE, WORD, MARK, UNIT, JOINED, SKIPPED = range(6)

# Scripts that are written without spaces between words, by code point (first, last). Every character is a word.
UNSPACED = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1B7F),  # Tai Tham, Balinese
    (0x2E80, 0x312F),  # Chinese radicals, kana, Bopomofo
    (0x3190, 0xA4CF),  # Chinese, Yi
    (0xA980, 0xA9FF),  # Javanese, Burmese
    (0xAA60, 0xAADF),  # Burmese, Tai Viet
    (0xF900, 0xFAFF),  # Chinese
    (0xFF66, 0xFF9F),  # kana of half width
    (0x12000, 0x1467F),  # cuneiform, hieroglyphs
    (0x16FE0, 0x18DFF),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # kana, Nushu
    (0x20000, 0x3FFFF),  # Chinese
)
FIRST_PICTOGRAPH = 0x2600  # emoji and dingbats begin here; arrows, boxes and blocks lie below
# Characters that separate words or syllables, as a space does: the Tibetan tsheg, the Ethiopic wordspace, and the
# zero-width space of Thai and Khmer. Unicode counts them as punctuation or as format characters.
SEPARATORS = (0x0F0B, 0x0F0C, 0x1361, 0x200B)
INVISIBLE = ((0xFE00, 0xFE0F), (0xE0000, 0xE0FFF))  # variation selectors, which choose a glyph, and tags
KIND_OF_CATEGORY = {"Z": SPACE, "Cc": SPACE, "P": MARK, "S": MARK, "So": UNIT, "M": JOINED, "Cf": SKIPPED}


@dataclass(frozen=True)
class Classified:
    """The bytes of texts that are not ignored, ``buffer`` (b,) uint8, and the ``kind`` (b,) of each.

    A kind is SPACE, WORD, MARK or UNIT.

    A UNIT begins at each of ``unit_starts`` (u,). Text i has the bytes from ``offsets[i]`` up to ``offsets[i + 1]``.
    """

    buffer: np.ndarray
    kind: np.ndarray
    unit_starts: np.ndarray
    offsets: np.ndarray


def classify(texts: Lowered, *, marks: bool) -> Classified:
    """Return the bytes of texts with their kinds; without ``marks``, punctuation and symbols are SPACE.

    An ASCII character stands before each text, so that no text begins inside a character of the one before.
    """
    buffer, offsets, starts = texts.buffer, texts.offsets, texts.characters.starts
    # bytes.translate is twice as fast as a look-up by numpy
    kind = np.frombuffer(bytearray(buffer).translate(_byte_kinds(marks)), np.uint8)
    if not len(starts):
        return Classified(buffer, kind, starts, offsets)
    values, lengths = _table(marks).take(texts.characters.points), texts.characters.lengths
    # Every byte of a character gets the kind of the character. Bytes are WORD already.
    _fill(kind, texts.characters, values, np.flatnonzero(values != WORD))
    unit_starts = starts[values == UNIT]
    if (values == JOINED).any():
        _join(kind, texts.characters, values)
    if (values == SKIPPED).any():
        skipped = np.flatnonzero(values == SKIPPED)
        skipped_bytes = np.concatenate(([0], np.cumsum(lengths[skipped], dtype=np.int64)))
        unit_starts = unit_starts - skipped_bytes[np.searchsorted(starts[skipped], unit_starts)]
        offsets = offsets - skipped_bytes[np.searchsorted(starts[skipped], offsets)]
        keep = kind != SKIPPED
        buffer, kind = buffer[keep], kind[keep]
    return Classified(buffer, kind, unit_starts, offsets)


def kinds_of(points: np.ndarray, *, marks: bool) -> np.ndarray:
    """Return the kind of each code point, (p,) uint8, without regard to its neighbours: it may be JOINED or SKIPPED.

    Without ``marks``, punctuation and symbols are SPACE.
    """
    return np.asarray(_table(marks)[points])


def _fill(kind: np.ndarray, characters: utf8.Characters, values: np.ndarray, chosen: np.ndarray) -> None:
    """Give all bytes of the ``chosen`` characters their ``values``."""
    lengths = characters.lengths[chosen]
    for i in range(4):
        longer = chosen if i < 2 else chosen[lengths > i]
        kind[characters.starts[longer] + i] = values[longer]


def _join(kind: np.ndarray, characters: utf8.Characters, values: np.ndarray) -> None:
    """Give each JOINED character the kind of the one before it, or WORD after a space or mark."""
    attached = np.flatnonzero((values == JOINED) | (values == SKIPPED))
    starts = characters.starts[attached]
    ends = starts + characters.lengths[attached]
    # a run of such characters follows one other character
    begins = np.append(True, starts[1:] != ends[:-1])
    before = kind[starts[begins] - 1]
    kinds = np.where(before == UNIT, np.uint8(UNIT), np.uint8(WORD))[np.cumsum(begins) - 1]
    joined = values[attached] == JOINED
    values[attached[joined]] = kinds[joined]
    _fill(kind, characters, values, attached[joined])


@lru_cache(maxsize=2)
def _byte_kinds(marks: bool) -> bytes:
    """Return the kind of each of the 256 byte values; those from 128 on are words until looked up."""
    return bytes([*_table(marks)[:128].tolist(), *[WORD] * 128])


@lru_cache(maxsize=2)
def _table(marks: bool) -> np.ndarray:
    """Return the kind of each code point, (1114112,) uint8; unassigned and private characters belong to words."""
    if not marks:
        table = _table(True)
        return np.where(table == MARK, np.uint8(SPACE), table)
    kind = np.full(POINTS, WORD, np.uint8)
    points = looked_up()
    kind[points] = _spaced_kinds(points)
    for first, last in UNSPACED:
        block = kind[first : last + 1]
        block[block == WORD] = UNIT
    for first, last in INVISIBLE:
        kind[first : last + 1] = SKIPPED
    return kind


def _spaced_kinds(points: np.ndarray) -> np.ndarray:
    """Return the kinds of characters (p,) by their Unicode categories, as if their scripts had spaces."""
    # No function of ours is called for each character: that would take three times as long.
    names = list(map(category, map(chr, points.tolist())))
    kind_of = {name: KIND_OF_CATEGORY.get(name, KIND_OF_CATEGORY.get(name[0], WORD)) for name in set(names)}
    kinds = np.array([kind_of[name] for name in names], np.uint8)
    kinds[(kinds == UNIT) & (points < FIRST_PICTOGRAPH)] = MARK
    kinds[points == ord("_")] = WORD
    kinds[np.isin(points, SEPARATORS)] = SPACE
    return kinds
