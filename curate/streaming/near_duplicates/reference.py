"""Near copies of reference texts: each text is compared with the reference texts that share a band with it, exactly.

In: a corpus of reference texts. Out: their signatures and n-grams, and the similarity of other texts to the nearest.
"""

from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import polars as pl
import xxhash

from curate.streaming import equal_keys, minhash
from curate.streaming.hash_set import HashSet
from curate.streaming.near_duplicates.signatures import Bands, ngrams_of
from curate.tables.corpus import Arrays, Corpus, PartRows
from curate.words import ngrams
from curate.words.ngrams import BASE, Grams, mix


@dataclass(frozen=True)
class ReferenceTexts:
    """The r different texts of a reference set, in the order of their hashes.

    digests: (r, 2) uint64, the 128-bit hashes of the texts.
    keys: (k,) uint64, the keys of their bands, in rising order.
    texts: (k,) int64, the number of the text that each key belongs to.
    members: (m,) uint64, the different n-grams of all texts, sorted for each.
    offsets: (r + 1,) int64; text i has the members from ``offsets[i]`` up to ``offsets[i + 1]``.
    """

    digests: np.ndarray = field(repr=False)
    keys: np.ndarray = field(repr=False)
    texts: np.ndarray = field(repr=False)
    members: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)

    def nearest(self, texts: pl.Series, settings: Bands, threshold: float) -> np.ndarray:
        """Return the similarity of each text to the nearest reference text, (n,) float64; 0 where none is near.

        It is 1 for equal bytes, and else the exact Jaccard similarity, if that is at least ``threshold``. Of the
        reference texts, those are compared that share a band with the text. A null text is near to none.
        """
        similarities = [np.zeros(0)]
        for piece in ngrams.pieces(texts):
            similarities.append(self._nearest(piece, settings, threshold))
        result = np.concatenate(similarities)
        return np.where(texts.is_null().to_numpy(), 0.0, result)

    def _nearest(self, piece: pl.Series, settings: Bands, threshold: float) -> np.ndarray:
        result = np.where(self._equal(digests(piece)), 1.0, 0.0)
        if not settings.bands or not len(self.keys):
            return result
        grams = ngrams.ngrams(ngrams.words(piece), settings.ngram, short=True)
        # Copies are settled, and a text without words has no bands.
        compared = np.flatnonzero((grams.counts > 0) & (result < 1))
        band_keys = minhash.band_keys(grams.of_texts(compared), settings.bands, settings.rows, settings.seed)
        pairs = self._candidates(band_keys)
        if not len(pairs):
            return result
        numbers, rows = np.unique(pairs[:, 0], return_inverse=True)
        references, others = np.unique(pairs[:, 1], return_inverse=True)
        sets = minhash.distinct_members(grams.of_texts(compared[numbers]))
        reference_sets = Grams(self.members, self.offsets).of_texts(references)
        both = Grams(
            np.concatenate([sets.values, reference_sets.values]),
            np.concatenate([sets.offsets, sets.offsets[-1] + reference_sets.offsets[1:]]),
        )
        similarity = minhash.jaccard(both, np.stack([rows, len(numbers) + others], axis=1))
        np.maximum.at(result, compared[pairs[:, 0]], np.where(similarity >= threshold, similarity, 0.0))
        return result

    def _equal(self, hashes: np.ndarray) -> np.ndarray:
        """Return which texts have the bytes of a reference text, by their 128-bit hashes (n, 2)."""
        result = self._first_halves.contains(hashes[:, 0])
        for number in np.flatnonzero(result):
            place = np.searchsorted(self.digests[:, 0], hashes[number, 0])
            equal_halves = self.digests[place:][self.digests[place:, 0] == hashes[number, 0]]
            result[number] = (equal_halves[:, 1] == hashes[number, 1]).any()
        return result

    def _candidates(self, band_keys: np.ndarray) -> np.ndarray:
        """Return pairs (p, 2) of a row of ``band_keys`` and a reference text that shares a key with it."""
        flat = band_keys.ravel()
        shared = np.flatnonzero(self._key_set.contains(flat))
        low = np.searchsorted(self.keys, flat[shared], side="left")
        counts = np.searchsorted(self.keys, flat[shared], side="right") - low
        places = np.arange(counts.sum()) + np.repeat(low - (np.cumsum(counts) - counts), counts)
        rows = np.repeat(shared // max(1, band_keys.shape[1]), counts)
        return np.unique(np.stack([rows, self.texts[places]], axis=1), axis=0)

    # cached_property writes to __dict__, which a frozen dataclass allows
    @cached_property
    def _first_halves(self) -> HashSet:
        return HashSet(np.ascontiguousarray(self.digests[:, 0]))

    @cached_property
    def _key_set(self) -> HashSet:
        return HashSet(self.keys)


def reference_texts(corpus: Corpus, settings: Bands) -> tuple[ReferenceTexts, list[int]]:
    """Return the texts of a corpus, and the number of n-grams of each part.

    In memory, texts need about 8 bytes a word, and 60 bytes for each band of a text.
    """
    parts = list(corpus.map(partial(_texts_of_part, settings), ("text",)))
    hashes = np.concatenate([np.zeros((0, 2), np.uint64), *(part["digests"] for part in parts)])
    sizes = np.concatenate([np.zeros(0, np.int64), *(part["sizes"] for part in parts)])
    members = np.concatenate([np.zeros(0, np.uint64), *(part["members"] for part in parts)])
    bands = np.concatenate([np.zeros((0, settings.keys), np.uint64), *(part["bands"] for part in parts)])
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    # Of equal texts one stays.
    chosen = order[np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(order)]]
    sets = Grams(members, np.concatenate(([0], np.cumsum(sizes)))).of_texts(chosen)
    keys, texts = _sorted_keys(bands[chosen], sets.counts > 0)
    reference = ReferenceTexts(hashes[chosen], keys, texts, sets.values, sets.offsets)
    return reference, [int(part["ngrams"]) for part in parts]


def digests(texts: pl.Series) -> np.ndarray:
    """Return the 128-bit hashes of texts without nulls, (n, 2) uint64."""
    hashes = map(xxhash.xxh3_128_digest, texts.cast(pl.Binary).to_list())
    return np.frombuffer(b"".join(hashes), "<u8").reshape(-1, 2)


def _texts_of_part(settings: Bands, rows: PartRows) -> Arrays:
    """Return the digests of the texts of a part, their n-grams, and the keys of their bands.

    Texts without words have keys of 0, which are not used.
    """
    hashes, sizes = [np.zeros((0, 2), np.uint64)], [np.zeros(0, np.int64)]
    members, bands, count = [np.zeros(0, np.uint64)], [np.zeros((0, settings.keys), np.uint64)], 0
    for batch in rows.batches():
        hashes.append(digests(batch["text"]))
        for grams in ngrams_of(batch["text"], settings.ngram):
            sets = minhash.distinct_members(grams)
            members.append(sets.values)
            sizes.append(sets.counts)
            count += len(grams.values)
            keys = np.zeros((len(grams.counts), settings.keys), np.uint64)
            worded = np.flatnonzero(grams.counts)
            if settings.bands:
                worded_grams = grams.of_texts(worded)
                keys[worded] = minhash.band_keys(worded_grams, settings.bands, settings.rows, settings.seed)
            bands.append(keys)
    return {
        "digests": np.concatenate(hashes),
        "sizes": np.concatenate(sizes),
        "members": np.concatenate(members),
        "bands": np.concatenate(bands),
        "ngrams": np.array(count),
    }


def _sorted_keys(bands: np.ndarray, worded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of the bands of texts in rising order, and the texts that they belong to.

    Of a key that many texts share only a few texts stay, so that no row is compared with thousands of them.
    """
    texts = np.flatnonzero(worded)
    keys = bands[texts].ravel()
    owners = np.repeat(texts, bands.shape[1])
    # Which texts stay is random, and differs by key. Texts are numbered by their hashes, so the order of files does not
    # matter.
    order = np.lexsort((mix(owners.astype(np.uint64) * BASE + keys), keys))
    keys, owners = keys[order], owners[order]
    starts = equal_keys.group_starts(keys)
    place = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    stays = place < equal_keys.SMALL
    return keys[stays], owners[stays]
