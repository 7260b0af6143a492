"""MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, section 3.4).

In: sets of hashed n-grams. Out: band keys, of which equal ones make candidates, and exact Jaccard similarities.

The minimum of a set under a random hash agrees with that of another set with probability J, their Jaccard similarity.
Rows of minima are folded into one key a band: two sets share at least one of b keys of r rows with probability
1 - (1 - J^r)^b. Here each minimum serves in two bands, at next to no cost, so fewer pairs are missed than that.
"""

from collections.abc import Iterator

import numpy as np

from curate.words.ngrams import BASE, Grams, mix

EXACT_BITS = 52  # bits of an n-gram's hash that are compared; the other 12 number the sets that are compared together
MOST_ROWS = 64  # rows of a band
POWERS = np.cumprod(np.full(MOST_ROWS, BASE))  # row i of a band counts times BASE^(i + 1) modulo 2^64 in its key
BLOCK = 1 << 21  # members of sets compared at a time: 16 MB
TOGETHER = 1 << (64 - EXACT_BITS)  # sets, or pairs of sets, compared at a time


def band_keys(sets: Grams, bands: int, rows: int, seed: int) -> np.ndarray:
    """Return (n, 2 bands) uint64 keys of n sets of hashes, none of them empty; equal keys make candidates.

    The first half of the keys fold the lines of the table of minima (bands x rows), the other half its diagonals.
    """
    # 32 bits are enough for minima: within a text of 1,000 words two hashes collide with a chance of about 1e-4
    low = sets.values.astype(np.uint32)
    # a hash function is the multiplication of an already scrambled hash by a random odd number modulo 2^32
    factors = np.random.default_rng(seed).integers(0, 1 << 32, (bands, rows), dtype=np.uint32) | np.uint32(1)
    keys = np.zeros((2 * bands, len(sets.offsets) - 1), np.uint64)
    hashed = np.empty_like(low)
    for band in range(bands):
        for row in range(rows):
            np.multiply(low, factors[band, row], out=hashed)
            minima = np.minimum.reduceat(hashed, sets.offsets[:-1])
            for key in (keys[band], keys[bands + (band + row) % bands]):
                key += minima * POWERS[row]
    return mix(keys).T


def distinct_members(sets: Grams) -> Grams:
    """Return the distinct members of each set, sorted, cut to ``EXACT_BITS`` bits; at most ``TOGETHER`` sets."""
    tagged = np.sort(_tagged(sets.values >> np.uint64(64 - EXACT_BITS), sets.owner))
    tagged = tagged[np.append(True, tagged[1:] != tagged[:-1])[: len(tagged)]]
    counts = np.bincount(tagged >> np.uint64(EXACT_BITS), minlength=len(sets.offsets) - 1)
    return Grams(tagged & np.uint64((1 << EXACT_BITS) - 1), np.concatenate(([0], np.cumsum(counts))))


def jaccard(first: Grams, second: Grams) -> np.ndarray:
    """Return the Jaccard similarities (m,) of the sets of ``first`` with those of ``second``, one by one.

    The Jaccard similarity is |A & B| / |A | B|. Sets come from ``distinct_members``; there are at most ``TOGETHER``
    pairs. The result is exact but for collisions of 52-bit hashes: for two texts of 1,000 words a chance of 2e-10.
    """
    both = np.sort(np.concatenate([_tagged(first.values, first.owner), _tagged(second.values, second.owner)]))
    shared = np.bincount(both[1:][both[1:] == both[:-1]] >> np.uint64(EXACT_BITS), minlength=len(first.offsets) - 1)
    union = first.counts + second.counts - shared
    return np.asarray(shared / np.maximum(union, 1))


def pair_similarities(sets: Grams, pairs: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the Jaccard similarities of (m, 2) pairs of set numbers, each run with its first pair's number.

    ``sets`` may be on disk: a run takes at most ``TOGETHER`` pairs and about ``BLOCK`` members.
    """
    sizes = np.cumsum((sets.offsets[pairs + 1] - sets.offsets[pairs]).max(axis=1))
    low = 0
    while low < len(pairs):
        before = sizes[low - 1] if low else 0
        fits = int(np.searchsorted(sizes, before + BLOCK, side="right"))
        high = min(max(low + 1, fits), low + TOGETHER)
        yield low, jaccard(_subset(sets, pairs[low:high, 0]), _subset(sets, pairs[low:high, 1]))
        low = high


def _subset(sets: Grams, numbers: np.ndarray) -> Grams:
    sizes = sets.offsets[numbers + 1] - sets.offsets[numbers]
    ends = np.concatenate(([0], np.cumsum(sizes)))
    return Grams(sets.values[np.arange(ends[-1]) + np.repeat(sets.offsets[numbers] - ends[:-1], sizes)], ends)


def _tagged(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return values with the number of their set in the upper bits: one sort orders all sets at once."""
    return np.asarray(values | (owner.astype(np.uint64) << np.uint64(EXACT_BITS)))
