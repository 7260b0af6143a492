"""Compute what is kept of every text: the hash of its id, a digest of its bytes, and the keys of its bands.

In: the rows of a part. Out: arrays, whose rows are those of the part, in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import xxhash

from curate.streaming import minhash
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, PartRows
from curate.words import ngrams
from curate.words.ngrams import Grams

SIGNATURES = "signatures"  # the name under which they are kept


@dataclass(frozen=True)
class Bands:
    """Settings of MinHash over n-grams of ``ngram`` words: the number of bands, and of rows in each band.

    ``seed`` decides the hash functions.
    """

    bands: int
    rows: int
    ngram: int
    seed: int

    @property
    def keys(self) -> int:
        """Keys of a text: `minhash.band_keys` gives two for each band."""
        return 2 * self.bands


def signatures(settings: Bands, rows: PartRows) -> Arrays:
    """Return the signatures of n texts, of which w have words.

    ids: (n,) uint64, hash(id, seed).
    digests: (n, 2) uint64, the 128-bit hash of the text. For a null text it comes from its id, so it equals no other.
    texts: (w,) int64, the row numbers of texts that have words, in ascending order. Without bands there are none.
    bands: (w, 2 bands) uint64, the keys of their bands.
    ngrams: () int64, the number of n-grams of all texts, with repetitions.
    """
    ids, digests, worded = [np.zeros(0, np.uint64)], [b""], [np.zeros(0, np.int64)]
    bands = [np.zeros((0, settings.keys), np.uint64)]
    first_row = count = 0
    for batch in rows.batches():
        ids.append(keys(batch["id"], settings.seed))
        digests.append(b"".join(map(_digest, batch["id"], batch["text"])))
        for grams in ngrams_of(batch["text"], settings.ngram) if settings.bands else ():
            # A text without words has no minimum: it can only be an exact copy.
            with_words = np.flatnonzero(grams.counts)
            worded.append(first_row + with_words)
            first_row += len(grams.counts)
            count += len(grams.values)
            grams = Grams(grams.values, grams.offsets[np.append(with_words, len(grams.counts))])
            bands.append(minhash.band_keys(grams, settings.bands, settings.rows, settings.seed))
    return {
        "ids": np.concatenate(ids),
        "digests": np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2),
        "texts": np.concatenate(worded),
        "bands": np.concatenate(bands),
        "ngrams": np.array(count, np.int64),
    }


def ngrams_of(texts: pl.Series, n: int) -> Iterator[Grams]:
    """Yield the n-grams of each text, piece by piece of the column."""
    for piece in ngrams.pieces(texts):
        yield ngrams.ngrams(ngrams.words(piece), n, short=True)


def _digest(name: str, text: str | None) -> bytes:
    # No text begins with the byte FF: it is not valid in UTF-8.
    return xxhash.xxh3_128_digest(text.encode() if text is not None else b"\xff" + name.encode())
