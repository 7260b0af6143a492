"""Classify Unicode characters for a tokeniser: a space, part of a word, a mark, a word by itself, or ignored.

In: UTF-8 bytes. Out: the bytes that are not ignored, with their kinds.

Categories come from the Unicode table of Python. A character that this Python does not know counts as a letter.
"""

from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category

import numpy as np

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
# Blocks that hold only letters, so that their categories need not be looked up: Chinese, Hangul, Tangut. Looking up all
# others takes 0.1 s.
LETTERS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xF8FF), (0x17000, 0x18CFF))
LAST_LOOKED_UP = 0x1FFFF  # above lie Chinese, invisible and private characters
CHARACTERS = 0x110000
KIND_OF_CATEGORY = {"Z": SPACE, "Cc": SPACE, "P": MARK, "S": MARK, "M": JOINED, "Cf": SKIPPED}


@dataclass(frozen=True)
class Characters:
    """The bytes of texts that are not ignored, ``buffer`` (b,) uint8, and the ``kind`` (b,) of each.

    A kind is SPACE, WORD, MARK or UNIT.

    A UNIT begins at each of ``unit_starts`` (u,). Text i has the bytes from ``offsets[i]`` up to ``offsets[i + 1]``.
    """

    buffer: np.ndarray
    kind: np.ndarray
    unit_starts: np.ndarray
    offsets: np.ndarray


def classify(buffer: np.ndarray, offsets: np.ndarray) -> Characters:
    """Return the kinds of the bytes of UTF-8 texts, ``buffer`` (b,) uint8, which start at ``offsets`` (n + 1,).

    An ASCII character stands before each text, so that no text begins inside a character of the one before.
    """
    kind = _ascii_kinds().take(buffer)
    leads = np.flatnonzero(buffer >= 0xC0)
    if not len(leads):
        return Characters(buffer, kind, leads, offsets)
    values = np.empty(len(leads), np.uint8)
    for lowest, highest, length in ((0xC0, 0xDF, 2), (0xE0, 0xEF, 3), (0xF0, 0xF7, 4)):
        chosen = np.flatnonzero((buffer[leads] >= lowest) & (buffer[leads] <= highest))
        starts = leads[chosen]
        points = (buffer[starts] - np.uint8(lowest)).astype(np.uint32)
        for i in range(1, length):
            points = (points << np.uint32(6)) | (buffer[starts + i] & np.uint8(0x3F))
        values[chosen] = _table().take(points)
        for i in range(length):
            kind[starts + i] = values[chosen]
    unit_starts = leads[values == UNIT]
    if (values == JOINED).any():
        _join(kind)
    if (values == SKIPPED).any():
        keep = kind != SKIPPED
        new_place = np.concatenate(([0], np.cumsum(keep)))
        buffer, kind, unit_starts, offsets = buffer[keep], kind[keep], new_place[unit_starts], new_place[offsets]
    return Characters(buffer, kind, unit_starts, offsets)


def _join(kind: np.ndarray) -> None:
    """Give each JOINED byte the kind of the character before it, or WORD after a space or mark."""
    joined = kind == JOINED
    before = np.maximum.accumulate(np.where(joined | (kind == SKIPPED), 0, np.arange(len(kind))))[joined]
    kind[joined] = np.where(kind[before] == UNIT, UNIT, WORD)


@lru_cache(maxsize=1)
def _ascii_kinds() -> np.ndarray:
    """Return the kind of each of the 256 byte values, (256,) uint8; those from 128 on are words until looked up."""
    return np.array([_kind(point) for point in range(128)] + [WORD] * 128, np.uint8)


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """Return the kind of each code point, (1114112,) uint8; unassigned and private characters belong to words."""
    kind = np.full(CHARACTERS, WORD, np.uint8)
    points = np.arange(LAST_LOOKED_UP + 1)
    for first, last in LETTERS:
        points = points[(points < first) | (points > last)]
    kind[points] = [_kind(point) for point in points.tolist()]
    for first, last in UNSPACED:
        block = kind[first : last + 1]
        block[block == WORD] = UNIT
    for first, last in INVISIBLE:
        kind[first : last + 1] = SKIPPED
    return kind


def _kind(point: int) -> int:
    """Return the kind of a character by its Unicode category, as if its script had spaces."""
    if point == ord("_"):
        return WORD
    if point in SEPARATORS:
        return SPACE
    name = category(chr(point))
    if name == "So":
        return UNIT if point >= FIRST_PICTOGRAPH else MARK
    return KIND_OF_CATEGORY.get(name, KIND_OF_CATEGORY.get(name[0], WORD))
