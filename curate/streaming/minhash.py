"""MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, section 3.4).

A set's minimum under a random hash agrees with another set's with probability J, their Jaccard similarity. Rows of
minima are folded into one key a band: two sets share at least one of b keys of r rows with probability
1 - (1 - J^r)^b. Here each minimum serves in two bands, at next to no cost, so fewer pairs are missed than that.
"""

from collections.abc import Iterator

import numpy as np

from curate.streaming.ngrams import BASE, Grams, mix

EXACT_BITS = 52  # of a shingle's hash are kept in comparisons; the other 12 count the sets that are compared at once
MOST_ROWS = 64  # of a band
POWERS = np.cumprod(np.full(MOST_ROWS, BASE))  # a row's minimum counts times BASE^(row + 1) modulo 2^64
BLOCK = 1 << 21  # members of sets compared at once: 16 MB
TOGETHER = 1 << (64 - EXACT_BITS)  # sets, or pairs of sets, compared at once


def band_keys(sets: Grams, bands: int, rows: int, seed: int) -> np.ndarray:
    """Return (n, 2 bands) uint64 keys of n sets of hashes, none of them empty; equal keys are candidates.

    Each of bands x rows hashes is multiplication by a random odd number modulo 2^32 of an already scrambled hash. Of
    that table of minima, the first half of the keys are of its lines, the other half of its diagonals.
    """
    low = sets.values.astype(np.uint32)  # 32 bits: within a text a collision is a chance of 1e-5
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


def distinct(sets: Grams) -> Grams:
    """Return each set's distinct members, sorted, cut to ``EXACT_BITS`` bits; at most ``TOGETHER`` sets."""
    tagged = np.sort(_tagged(sets.values >> np.uint64(64 - EXACT_BITS), sets.owner))
    tagged = tagged[np.append(True, tagged[1:] != tagged[:-1])[: len(tagged)]]
    counts = np.bincount(tagged >> np.uint64(EXACT_BITS), minlength=len(sets.offsets) - 1)
    return Grams(tagged & np.uint64((1 << EXACT_BITS) - 1), np.concatenate(([0], np.cumsum(counts))))


def jaccard(one: Grams, two: Grams) -> np.ndarray:
    """Return |A & B| / |A | B| of row i of ``one`` and row i of ``two``, (m,) float64; sets are from ``distinct``.

    At most ``TOGETHER`` pairs. Exact but for 52-bit collisions (two texts of 1,000 words: a chance of 2e-10).
    """
    both = np.sort(np.concatenate([_tagged(one.values, one.owner), _tagged(two.values, two.owner)]))
    shared = np.bincount(both[1:][both[1:] == both[:-1]] >> np.uint64(EXACT_BITS), minlength=len(one.offsets) - 1)
    union = one.counts + two.counts - shared
    return np.asarray(shared / np.maximum(union, 1))


def compared(sets: Grams, pairs: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the Jaccard similarities of (m, 2) pairs of set numbers in runs, each with its first pair's number.

    ``sets`` may be on disk: a run takes at most ``TOGETHER`` pairs and about ``BLOCK`` members.
    """
    sizes = np.cumsum((sets.offsets[pairs + 1] - sets.offsets[pairs]).max(axis=1))
    low = 0
    while low < len(pairs):
        before = sizes[low - 1] if low else 0
        fits = int(np.searchsorted(sizes, before + BLOCK, side="right"))
        high = min(max(low + 1, fits), low + TOGETHER)
        yield low, jaccard(_taken(sets, pairs[low:high, 0]), _taken(sets, pairs[low:high, 1]))
        low = high


def _taken(sets: Grams, at: np.ndarray) -> Grams:
    sizes = sets.offsets[at + 1] - sets.offsets[at]
    ends = np.concatenate(([0], np.cumsum(sizes)))
    return Grams(sets.values[np.arange(ends[-1]) + np.repeat(sets.offsets[at] - ends[:-1], sizes)], ends)


def _tagged(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    return np.asarray(values | (owner.astype(np.uint64) << np.uint64(EXACT_BITS)))
