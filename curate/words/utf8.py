"""Read the characters outside ASCII in a buffer of UTF-8, and write others in their places.

In: bytes. Out: where the characters lie, and their code points; or the buffer with other characters.
"""

from dataclasses import dataclass

import numpy as np

FIRST_LEAD = 0xC0  # every character outside ASCII begins with a byte from here on, and no character has one inside

POINTS = 0x110000  # code points of Unicode
# Blocks that hold only letters without case, so that their characters need not be looked up: Chinese, Hangul, Tangut.
# Looking up all others takes 0.1 s.
LETTERS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xF8FF), (0x17000, 0x18CFF))
LAST_LOOKED_UP = 0x1FFFF  # above lie Chinese, invisible and private characters


def looked_up() -> np.ndarray:
    """Return the code points (p,) int64 that are looked up in the tables of Unicode; all others are letters."""
    points = np.arange(LAST_LOOKED_UP + 1)
    for first, last in LETTERS:
        points = points[(points < first) | (points > last)]
    return points


@dataclass(frozen=True)
class Characters:
    """The m characters of a buffer that are not ASCII, in order.

    ``starts`` (m,) int64 is the place of the first byte of each, ``lengths`` (m,) uint8 its number of bytes, 2 to 4,
    and ``points`` (m,) uint32 its code point.
    """

    starts: np.ndarray
    lengths: np.ndarray
    points: np.ndarray


def decode(buffer: np.ndarray) -> Characters:
    """Return the characters of a buffer of UTF-8, (b,) uint8, that are not ASCII."""
    starts = np.flatnonzero(buffer >= FIRST_LEAD)
    leads = buffer[starts]
    lengths = 2 + (leads >= 0xE0).view(np.uint8) + (leads >= 0xF0).view(np.uint8)
    # a first byte has the bits 110xxxxx, 1110xxxx or 11110xxx, and every other byte 10xxxxxx
    points = (leads & (np.uint8(0x7F) >> lengths)).astype(np.uint32)
    for i in range(1, 4):
        longer = slice(None) if i == 1 else np.flatnonzero(lengths > i)
        points[longer] = (points[longer] << np.uint32(6)) | (buffer[starts[longer] + i] & np.uint8(0x3F))
    return Characters(starts, lengths, points)


def overwrite(buffer: np.ndarray, characters: Characters) -> None:
    """Write characters to their places in a buffer, which has characters of the same lengths there."""
    last = characters.points
    for i in range(3, 0, -1):
        longer = np.flatnonzero(characters.lengths > i)
        buffer[characters.starts[longer] + i] = 0x80 | last[longer] & 0x3F
        last = np.where(characters.lengths > i, last >> np.uint32(6), last)
    # the highest bits say how many bytes follow: 110, 1110 or 11110
    marks = np.array([0xC0, 0xE0, 0xF0], np.uint32)
    buffer[characters.starts] = marks[characters.lengths - 2] | last
