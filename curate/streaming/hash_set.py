"""Look up many 64-bit hashes in a set that is in memory: exact, but for collisions of the hashes themselves.

In: the hashes of a set, and others. Out: which of the others are in the set.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

# Cells of the table for each hash of the set: with 8, a hash that is not in the set passes the table once in 8 times.
CELLS_PER_HASH = 8
MOST_BITS = 28  # of a cell's number: 256 MB for sets of 32 million hashes and more


@dataclass(frozen=True)
class HashSet:
    """A set of s hashes: ``values`` (s,) uint64 in rising order.

    Memory is 8 bytes a hash, and 8 to 16 bytes a hash for a table that rejects most other hashes at once.
    """

    values: np.ndarray = field(repr=False)

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Return which of the (h,) uint64 hashes are in the set, (h,) bool."""
        if not len(self.values):
            return np.zeros(len(hashes), bool)
        # Most hashes are in no cell of the table. Looking there first takes a third of the time of a search alone.
        result = self._table[hashes >> self._shift]
        possible = np.flatnonzero(result)
        candidates = hashes[possible]
        places = np.minimum(np.searchsorted(self.values, candidates), len(self.values) - 1)
        result[possible] = self.values[places] == candidates
        return np.asarray(result)

    # cached_property writes to __dict__, which a frozen dataclass allows
    @cached_property
    def _table(self) -> np.ndarray:
        """Which values the upper bits of a hash in the set may have, (2^bits,) bool."""
        table = np.zeros(1 << (64 - int(self._shift)), bool)
        table[self.values >> self._shift] = True
        return table

    @property
    def _shift(self) -> np.uint64:
        return np.uint64(64 - min(MOST_BITS, (CELLS_PER_HASH * len(self.values) - 1).bit_length()))
