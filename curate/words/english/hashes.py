"""Hash parts of a text, and look hashes up in a small table.

In: code points. Out: 64-bit hashes. May use: `words`.

The hash of the characters c_0, c_1, ... is the sum of (c_i + 1) BASE^i modulo 2^64. The hash of a word and of what
follows it give the hash of both together, so that no part is read twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.words.ngrams import MIX, powers

# A table of 2^16 cells, by the upper bits of a hash, rules out nearly all hashes that are not in a set of thousands.
FILTER_BITS = 16


@dataclass(frozen=True)
class Hasher:
    """Hashes of parts of ``c`` characters: ``sums`` (c + 1,) uint64 are those of the characters before each place."""

    sums: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> "Hasher":
        """Return the hasher of these code points."""
        up, _ = powers(len(codes))
        sums = np.zeros(len(codes) + 1, np.uint64)
        np.multiply(codes + np.uint64(1), up[: len(codes)], out=sums[1:])
        np.cumsum(sums, out=sums)
        return cls(sums)

    def hashes(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return the hash of the characters between each start and end."""
        hashes: np.ndarray = (self.sums[ends] - self.sums[starts]) * powers(len(self.sums))[1][starts]
        return hashes


@dataclass(frozen=True)
class HashTable:
    """A set of short strings: their ``hashes`` in order, ``rows`` that number them, and a filter by the upper bits."""

    hashes: np.ndarray
    rows: np.ndarray
    possible: np.ndarray
    longest: int

    @classmethod
    def of(cls, forms: Sequence[str]) -> "HashTable":
        """Return the table of these strings."""
        codes = np.frombuffer("".join(forms).encode("utf-32-le"), np.uint32)
        lengths = np.array(list(map(len, forms)))
        ends = np.cumsum(lengths)
        return cls.of_hashes(Hasher.of(codes).hashes(ends - lengths, ends), int(lengths.max()))

    @classmethod
    def of_hashes(cls, hashes: np.ndarray, longest: int = 0) -> "HashTable":
        """Return the table of these hashes."""
        rows = np.argsort(hashes, kind="stable")
        possible = np.zeros(1 << FILTER_BITS, bool)
        possible[_upper(hashes)] = True
        return cls(hashes[rows], rows, possible, longest)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Return the row of each hash, or -1 if it is not in the table."""
        result = np.full(len(hashes), -1, np.int64)
        chosen = np.flatnonzero(self.possible[_upper(hashes)])
        places = np.minimum(np.searchsorted(self.hashes, hashes[chosen]), len(self.hashes) - 1)
        equal = self.hashes[places] == hashes[chosen]
        result[chosen[equal]] = self.rows[places[equal]]
        return result


def _upper(hashes: np.ndarray) -> np.ndarray:
    """Return the upper bits of scrambled hashes."""
    return (hashes * MIX) >> np.uint64(64 - FILTER_BITS)
