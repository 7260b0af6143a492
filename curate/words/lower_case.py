"""Put texts into lower case and into one Unicode form, as one buffer of bytes.

In: a column of texts. Out: their bytes, lower-cased and in form NFC, and the characters outside ASCII.

Nearly all letters have a small letter of as many bytes, which takes the place of the capital one. Only texts with other
characters are rewritten one by one: where lower case depends on the neighbours (a Greek sigma) or changes the number of
bytes, and where Unicode can write a character in two ways, such as é as one character or as e and an accent.
"""

from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category, is_normalized, normalize

import numpy as np
import polars as pl

from curate.words import utf8
from curate.words.utf8 import POINTS

SAME, LOWERED, REWRITTEN = range(3)  # what happens to a character
JAMO = (0x1100, 0x11FF)  # letters of Korean, which join to syllables
SIGMA = 0x3A3  # a capital sigma becomes another small letter at the end of a word than elsewhere
OTHER_FORMS = (0x2F800, 0x2FA1F)  # Chinese characters that form NFC replaces by others


@dataclass(frozen=True)
class Lowered:
    """Lower-cased texts: a line feed and then each text and a line feed, ``buffer`` (b,) uint8.

    Text i starts at ``offsets[i]`` (n + 1,). ``characters`` are those outside ASCII.
    """

    buffer: np.ndarray
    offsets: np.ndarray
    characters: utf8.Characters


def lowered(texts: pl.Series) -> Lowered:
    """Return a column of texts without nulls in lower case and in form NFC; no text changes with its neighbours."""
    joined = _joined(texts)
    changes = _tables().changes.take(joined.characters.points)
    if (rewritten := changes == REWRITTEN).any():
        places = joined.characters.starts[rewritten]
        texts = _rewritten(texts, np.unique(np.searchsorted(joined.offsets, places, side="right") - 1))
        joined = _joined(texts)
        changes = _tables().changes.take(joined.characters.points)
    capitals = np.flatnonzero(changes == LOWERED)
    if len(capitals):
        characters = joined.characters
        characters.points[capitals] = _tables().small.take(characters.points[capitals])
        changed = (characters.starts[capitals], characters.lengths[capitals], characters.points[capitals])
        utf8.overwrite(joined.buffer, utf8.Characters(*changed))
    return joined


def _joined(texts: pl.Series) -> Lowered:
    """Return texts with only the letters of ASCII in lower case."""
    ends = np.cumsum(texts.str.len_bytes().to_numpy() + 1, dtype=np.int64)
    whole = texts.str.join("\n").cast(pl.Binary).item() if len(texts) else b""
    # a bytearray, so that characters can be overwritten
    buffer = np.frombuffer(bytearray(b"\n%b\n" % whole.lower()), np.uint8)
    return Lowered(buffer, np.concatenate(([0], ends)) + 1, utf8.decode(buffer))


def _rewritten(texts: pl.Series, chosen: np.ndarray) -> pl.Series:
    """Return the column with the texts ``chosen`` in lower case and in form NFC."""
    small = texts.gather(chosen).str.to_lowercase()
    # `scatter` changes the column in its place, and the caller may still need the texts as they were.
    return texts.clone().scatter(chosen, pl.Series([normalize("NFC", text) for text in small.to_list()]))


@dataclass(frozen=True)
class _Tables:
    """What happens to each code point, ``changes`` (1114112,) uint8, and the letter that takes its place.

    ``small`` (1114112,) uint32 is the code point itself where nothing else takes its place.
    """

    changes: np.ndarray
    small: np.ndarray


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    """Look up every character outside ASCII that may change, which takes 0.1 s."""
    changes, small_points = np.full(POINTS, SAME, np.uint8), np.arange(POINTS, dtype=np.uint32)
    points = np.concatenate((utf8.looked_up()[128:], np.arange(OTHER_FORMS[0], OTHER_FORMS[1] + 1)))
    names = [chr(point) for point in points.tolist()]
    characters = pl.Series(names)
    small = characters.str.to_lowercase()
    fits = (small.str.len_bytes() == characters.str.len_bytes()) & (small.str.len_chars() == 1)
    capitals = ((small != characters) & fits).to_numpy()
    small_points[points[capitals]] = [ord(letter) for letter in small.filter(capitals)]
    changes[points[capitals]] = LOWERED
    is_mark = np.array([name[0] == "M" for name in map(category, names)])
    two_forms = is_mark | ~np.array([is_normalized("NFC", name) for name in names])
    changes[points[two_forms | ~fits.to_numpy()]] = REWRITTEN
    changes[JAMO[0] : JAMO[1] + 1] = REWRITTEN
    changes[SIGMA] = REWRITTEN
    return _Tables(changes, small_points)
