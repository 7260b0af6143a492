"""MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, section 3.4).

In: sets of hashed n-grams. Out: keys of bands, which make candidates where they are equal, and exact Jaccard
similarities.

The minimum of a set under a random hash agrees with that of another set with probability J, their Jaccard similarity.
Rows of minima are folded into one key a band: two sets share at least one of b keys of r rows with probability
1 - (1 - J^r)^b. Here each minimum serves in two bands, at next to no cost, so fewer pairs are missed than that.
"""

import numpy as np

from curate.words.ngrams import BASE, Grams, mix

# Bits of an n-gram's hash that are compared. The other 12 number the sets that are sorted together.
EXACT_BITS = 52
MOST_ROWS = 64  # rows of a band
POWERS = np.cumprod(np.full(MOST_ROWS, BASE))  # row i of a band counts times BASE^(i + 1) modulo 2^64 in its key
BLOCK = 1 << 20  # members of sets compared at a time: 8 MB, and several copies of them
MEMBER = np.uint64((1 << EXACT_BITS) - 1)  # mask of the bits that are compared


def band_keys(sets: Grams, bands: int, rows: int, seed: int) -> np.ndarray:
    """Return (n, 2 bands) uint64 keys of n sets of hashes, none of them empty; equal keys make candidates.

    A hash may be repeated in its set.
    The first half of the keys fold the lines of the table of minima (bands x rows), the other half its diagonals.
    """
    # 32 bits are enough for minima: within a text of 1,000 words two hashes collide with a chance of about 1e-4
    low = sets.values.astype(np.uint32)
    # a hash function is the multiplication of an already scrambled hash by a random odd number modulo 2^32
    factors = np.random.default_rng(seed).integers(0, 1 << 32, (bands, rows), dtype=np.uint32) | np.uint32(1)
    n = len(sets.offsets) - 1
    minima = np.empty((bands, rows, n), np.uint64)
    hashed = np.empty_like(low)
    for band in range(bands):
        for row in range(rows):
            np.multiply(low, factors[band, row], out=hashed)
            minima[band, row] = np.minimum.reduceat(hashed, sets.offsets[:-1])
    minima *= POWERS[:rows, None]
    places = np.arange(rows)
    # Diagonal d crosses row r of the table in the band d - r.
    diagonals = minima[(np.arange(bands)[:, None] - places) % max(1, bands), places]
    keys = np.concatenate([minima.sum(axis=1), diagonals.sum(axis=1)])
    return mix(keys).T


def distinct_members(sets: Grams) -> Grams:
    """Return the distinct members of each set, sorted, cut to their lower ``EXACT_BITS`` bits.

    There are at most 4,096 sets, as in a piece of texts.
    """
    tagged = np.sort((sets.values & MEMBER) | (sets.owner.astype(np.uint64) << np.uint64(EXACT_BITS)))
    tagged = tagged[np.append(True, tagged[1:] != tagged[:-1])[: len(tagged)]]
    counts = np.bincount(tagged >> np.uint64(EXACT_BITS), minlength=len(sets.offsets) - 1)
    return Grams(tagged & MEMBER, np.concatenate(([0], np.cumsum(counts))))


def jaccard(sets: Grams, pairs: np.ndarray) -> np.ndarray:
    """Return the Jaccard similarities (m,) of (m, 2) pairs of set numbers, |A & B| / |A | B|.

    Sets come from `distinct_members`. The result is exact but for collisions of 52-bit hashes: for two texts of 1,000
    words a chance of 2e-10. Memory is a few times the ``sets``, and 100 MB.
    """
    if not len(pairs):
        return np.zeros(0)
    # Imported where it is used: it takes a tenth of a second, and most tasks of workers do without it.
    from scipy.sparse import csr_array

    sizes = sets.counts
    # A sparse matrix with a row for each set: the product of two rows is scipy's merge of sorted lists.
    entries = (np.ones(len(sets.values), np.int8), sets.values.view(np.int64), sets.offsets)
    members = csr_array(entries, shape=(len(sizes), 1 << EXACT_BITS))
    members.has_sorted_indices = members.has_canonical_format = True
    ends = np.cumsum(sizes[pairs].sum(axis=1))
    shared = np.zeros(len(pairs), np.int64)
    low = 0
    while low < len(pairs):
        before = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        both = members[pairs[low:high, 0]].multiply(members[pairs[low:high, 1]])
        shared[low:high] = np.diff(both.indptr)
        low = high
    union = sizes[pairs].sum(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1))
