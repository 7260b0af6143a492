"""Find where the words of a single text stand, so that a part of the text can be shown or cut out.

In: a text. Out: the first and the last character of each word, in the order of the words of `ngrams.words`.

`ngrams.words` reads texts that are lower-cased and in form NFC, in which characters may have moved. A few texts of many
need the places of their words, so the characters of these texts are looked up again as they are.
"""

from unicodedata import category, is_normalized, normalize

import numpy as np

from curate.words.character_kinds import JOINED, SKIPPED, SPACE, UNIT, WORD, kinds_of


def word_places(text: str) -> np.ndarray:
    """Return where each word begins and ends, (w, 2) int64. Word i is ``text[places[i, 0] : places[i, 1]]``.

    Places count characters (Unicode code points), as Python, Polars and DuckDB do. There are as many words as
    `ngrams.words` has for the text.
    """
    characters, first, last = _normal_form(text)
    kinds = kinds_of(np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32), marks=False)
    visible = np.flatnonzero(kinds != SKIPPED)
    kinds = kinds[visible]
    begins_unit = kinds == UNIT
    joined = kinds == JOINED
    # A mark that joins belongs to the character before it; after a space it is part of a word.
    base = np.maximum.accumulate(np.where(joined, -1, np.arange(len(kinds))))
    joins_unit = joined & (base >= 0) & (kinds[base] == UNIT)
    kinds = np.where(joined, np.where(joins_unit, np.uint8(UNIT), np.uint8(WORD)), kinds)
    turns = (kinds[1:] != kinds[:-1]) | begins_unit[1:]
    is_word = kinds != SPACE
    edge = np.ones(min(1, len(kinds)), bool)
    starts = visible[is_word & np.concatenate((edge, turns))]
    ends = visible[is_word & np.concatenate((turns, edge))]
    return np.stack([first[starts], last[ends] + 1], axis=1)


def _normal_form(text: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Return a text in form NFC, with the first and the last character of ``text`` from which each character comes."""
    if is_normalized("NFC", text):
        return text, np.arange(len(text)), np.arange(len(text))
    # A character and the marks that follow it are put into form NFC together.
    starts = [i for i, character in enumerate(text) if not i or category(character)[0] != "M"]
    forms, first, last = [], [], []
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        form = normalize("NFC", text[start:stop])
        forms.append(form)
        first += [start] * len(form)
        last += [stop - 1] * len(form)
    return "".join(forms), np.array(first), np.array(last)
