"""Count the sentences of lines of text as spaCy's ``sentencizer`` does after its tokenizer for English.

In: a column of texts. Out: the number of sentences of each. May use: `words`.

A sentence begins at the first word after a mark that ends sentences, such as a period. Punctuation between, such as a
closing quote, still belongs to the sentence before. More than one space in a row counts as a word.
"""

from functools import lru_cache

import numpy as np
import polars as pl

from curate.words import ngrams
from curate.words.english.character_flags import TERMINALS, UNKNOWN_TO_SENTENCES, points, punctuation
from curate.words.english.splitting import Words, split

SKIPPED, ENDING, OTHER = range(3)


def sentence_counts(texts: pl.Series) -> np.ndarray:
    """Return the number of sentences of each text, (n,) int64, 1 or more."""
    counts = [np.zeros(0, np.int64)]
    for piece in ngrams.pieces(texts):
        if len(piece) == 1 and len(piece[0]) > ngrams.LONG:
            kinds = np.concatenate([_part_kinds(part) for part in ngrams.long_text_parts(piece[0])])
            owners = np.zeros(len(kinds), np.int64)
        else:
            kinds, owners = _kinds(split(piece), len(piece))
        begins = (kinds[1:] == OTHER) & (kinds[:-1] == ENDING) & (owners[1:] == owners[:-1])
        counts.append(1 + np.bincount(owners[1:][begins], minlength=len(piece)))
    return np.concatenate(counts)


def _part_kinds(part: str) -> np.ndarray:
    """Return the kinds in a part of a long text, with the space that it begins with."""
    kinds, _ = _kinds(split(pl.Series([part])), 1)
    space = part[: len(part) - len(part.lstrip())]
    return kinds if space in ("", " ") else np.append(OTHER, kinds)


def _kinds(words: Words, texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the kind of each word, and of wide space between words, and the text of each; without those skipped."""
    starts, ends = words.starts, words.ends
    marks = np.concatenate(([0], np.cumsum(punctuation()[words.codes])))
    is_punctuation = marks[ends] - marks[starts] == ends - starts
    kinds = np.where(is_punctuation, SKIPPED, OTHER)
    kinds[(ends - starts == 1) & np.isin(words.codes[starts], _ending_marks())] = ENDING
    owners = np.repeat(np.arange(texts), np.diff(words.offsets))
    # Space behind the last word of a text ends where the text does.
    last = np.append(owners[1:] != owners[:-1], True)[: len(owners)]
    following = np.append(starts[1:], 0)[: len(owners)]
    following[last] = words.limits[owners[last] + 1] - 1
    gaps = following - ends
    spaces = np.where((gaps == 0) | (gaps == 1) & (words.codes[ends] == ord(" ")), SKIPPED, OTHER)
    sequence, sequence_owners = np.stack((kinds, spaces), axis=1).ravel(), np.repeat(owners, 2)
    return sequence[sequence != SKIPPED], sequence_owners[sequence != SKIPPED]


@lru_cache(maxsize=1)
def _ending_marks() -> np.ndarray:
    """Return the code points of marks that end a sentence."""
    return np.setdiff1d(points(TERMINALS), points(UNKNOWN_TO_SENTENCES))
