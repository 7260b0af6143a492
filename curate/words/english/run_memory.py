"""Remember how runs of visible characters were split, so that a run that comes again is not split again.

In: hashes of runs. Out: where the words of each run begin. May use: `words`.

Most runs of a text are frequent words, which came before. What is remembered never changes a result, since how a run is
split does not depend on its neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from curate.words.ngrams import MIX, Grams

SLOT_BITS = 17  # 131,072 runs can be looked up: 1.5 MB, so that the slots stay in the cache of the processor
MOST_WORDS = 1 << 19  # words of remembered runs, below 10 MB; with more of them, all runs are forgotten

Split = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass
class RunMemory:
    """Runs that were split: in the slot of a hash, ``keys`` is the hash of a run, and ``rows`` its number.

    ``words`` are the places of the first characters of the words of each run, from the start of the run.
    """

    keys: np.ndarray = field(default_factory=lambda: np.zeros(1 << SLOT_BITS, np.uint64))
    rows: np.ndarray = field(default_factory=lambda: np.zeros(1 << SLOT_BITS, np.int32))
    words: Grams = field(default_factory=lambda: Grams(np.zeros(0, np.int32), np.zeros(1, np.int64)))

    def word_starts(self, hashes: np.ndarray, split: Split) -> Grams:
        """Return where the words of each run begin, counted from the start of the run.

        Args:
            hashes: of the runs, (r,) uint64.
            split: splits the runs with these numbers. It returns how many words each has, and where they begin.
        """
        slots = _slots(hashes)
        rows = self.rows[slots]
        missing = np.flatnonzero(self.keys[slots] != hashes)
        if len(missing):
            new, firsts, numbers = np.unique(hashes[missing], return_index=True, return_inverse=True)
            counts, places = split(missing[firsts])
            before = len(self.words.offsets) - 1
            rows[missing] = before + numbers
            # Of two new runs with one slot the second stays in it.
            slots = _slots(new)
            self.keys[slots], self.rows[slots] = new, np.arange(before, before + len(new))
            offsets = np.concatenate((self.words.offsets, self.words.offsets[-1] + np.cumsum(counts)))
            self.words = Grams(np.concatenate((self.words.values, places.astype(np.int32))), offsets)
        result = self.words.of_texts(rows)
        if len(self.words.values) > MOST_WORDS:
            run_memory.cache_clear()
        return result


def _slots(hashes: np.ndarray) -> np.ndarray:
    return (hashes * MIX) >> np.uint64(64 - SLOT_BITS)


@lru_cache(maxsize=1)
def run_memory() -> RunMemory:
    """Return the memory that all calls in this process share."""
    return RunMemory()
