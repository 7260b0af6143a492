"""Compare documents with a sample of texts exactly, and keep the nearest one to each.

In: documents, and the n-grams of the sample. Out: similarities, and the nearest text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from curate.words import ngrams
from curate.words.ngrams import Grams


class Document(NamedTuple):
    """One row with its text."""

    id: str
    source: str
    score: float
    text: str
    kept: bool


@dataclass(frozen=True)
class NearestText:
    """The text nearest to a removed one so far: its Jaccard similarity, hash and id. The smallest hash wins a tie."""

    similarity: float = 0.0
    key: int = 1 << 64
    id: str = "-"

    def or_nearer(self, other: "NearestText") -> "NearestText":
        """Return the nearer of two texts."""
        # The id decides between equal hashes, so that the order of files does not matter.
        return min(self, other, key=lambda text: (-text.similarity, text.key, text.id))


@dataclass(frozen=True)
class NearestPair:
    """The text nearest to a removed one so far, and the nearest of those that are kept."""

    of_all: NearestText = NearestText()
    of_kept: NearestText = NearestText()

    def or_nearer(self, other: "NearestPair") -> "NearestPair":
        """Return the nearer texts of two pairs."""
        return NearestPair(self.of_all.or_nearer(other.of_all), self.of_kept.or_nearer(other.of_kept))


@dataclass(frozen=True)
class SampledTexts:
    """A sample of removed documents with their n-grams.

    ``vocabulary`` (grams,) are the sorted n-grams. ``members`` (grams, sampled) bool says which document has which
    n-gram. ``places`` maps each text to the positions of the sampled documents that have this text.
    """

    n: int
    vocabulary: np.ndarray
    members: np.ndarray
    places: Mapping[str, Sequence[int]]


def with_ngrams(documents: Sequence[Document], n: int) -> SampledTexts:
    """Return the sampled documents with their n-grams."""
    texts = [document.text for document in documents]
    grams = _ngrams(texts, n)
    vocabulary = np.unique(grams.values)
    members = np.zeros((len(vocabulary), len(texts)), dtype=bool)
    members[np.searchsorted(vocabulary, grams.values), grams.owner] = True
    places: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        places.setdefault(text, []).append(i)
    return SampledTexts(n, vocabulary, members, places)


def batched(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Yield as many documents at a time as the n-grams of a batch may come from."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters > ngrams.PIECE or len(batch) == ngrams.PIECE_TEXTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def compared(batch: list[Document], sample: SampledTexts) -> Iterator[tuple[Document, np.ndarray]]:
    """Yield the documents that resemble a sampled one at all, with their similarities (sampled,) to each of them."""
    grams = _ngrams([document.text for document in batch], sample.n)
    place = np.searchsorted(sample.vocabulary, grams.values)
    shared = place < len(sample.vocabulary)
    shared[shared] = sample.vocabulary[place[shared]] == grams.values[shared]
    sizes = sample.members.sum(axis=0)
    equal = {i for i, document in enumerate(batch) if document.text in sample.places}
    for i in sorted({*grams.owner[shared].tolist(), *equal}):
        own = slice(grams.offsets[i], grams.offsets[i + 1])
        distinct = len(np.unique(grams.values[own]))
        common = sample.members[np.unique(place[own][shared[own]])].sum(axis=0)
        # Two texts without n-grams, such as rows of dashes, have an empty union.
        similarity = common / np.maximum(distinct + sizes - common, 1)
        similarity[list(sample.places.get(batch[i].text, ()))] = 1.0
        yield batch[i], similarity


def _ngrams(texts: Sequence[str], n: int) -> Grams:
    """Return the n-grams of texts as the scorer hashes them; a text without words has none."""
    return ngrams.ngrams(ngrams.words(pl.Series(texts, dtype=pl.String)), n, short=True)
