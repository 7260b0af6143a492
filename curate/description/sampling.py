"""Draw a sample of the rows on the engine: those whose ids have the smallest hashes.

In: rows, their number, and the size of the sample. Out: the sampled rows, the same for any number of workers.
With the number of rows it is known about how small a hash must be. So a part returns few rows beyond the sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
import polars as pl

from curate.description.rows import Rows
from curate.tables import batches
from curate.tables.sample import smallest_hashes

# Of random hashes, a sample of n rows needs more than n + 6 sqrt(n) + 6 of the smallest once in a billion times.
SPARE = 6.0
KEYS = 2.0**64  # the number of hashes


@dataclass(frozen=True)
class Drawn:
    """What to draw: ``count`` rows with the ``columns``, or with ``by`` so many of each value of that column.

    ``rows`` are the numbers of rows, by the value of that column (of all rows: by ""). ``seed`` is that of the hashes.
    """

    count: int
    columns: tuple[str, ...]
    rows: Mapping[str, int]
    seed: int
    by: str = ""

    @property
    def limits(self) -> dict[str, np.uint64]:
        """Return the hash below which the sampled rows lie, most likely, by value."""
        share = {name: (self.count + SPARE * sqrt(self.count) + SPARE) / max(1, n) for name, n in self.rows.items()}
        return {name: np.uint64(part * KEYS) for name, part in share.items() if part < 1}

    def is_full(self, sample: pl.DataFrame) -> bool:
        """Return whether a sample has all the rows that it could have."""
        counts = dict(sample[self.by].cast(pl.String).value_counts().iter_rows()) if self.by else {"": sample.height}
        return all(counts.get(name, 0) >= min(self.count, n) for name, n in self.rows.items())


def draw(rows: Rows, columns: Sequence[str], identity: Sequence[str], drawn: Drawn) -> pl.DataFrame:
    """Return ``id`` and the columns of the sampled rows, in the order of their hashes, as `smallest_hashes` does."""
    # Ids that are equal have equal hashes, so a limit may leave too few rows. Then all are looked at.
    for limits in (drawn.limits, {}):
        parts = rows.map(partial(_smallest, drawn, limits), columns, identity)
        filled = (part for part in parts if part.height)
        sample = smallest_hashes(filled, drawn.count, drawn.columns, seed=drawn.seed, by=drawn.by)
        if not limits or drawn.is_full(sample):
            break
    return sample


def _smallest(drawn: Drawn, limits: Mapping[str, np.uint64], frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of a part that may be in the sample."""
    below = (_below(frame, drawn, limits) for frame in frames) if limits else frames
    return smallest_hashes(below, drawn.count, drawn.columns, seed=drawn.seed, by=drawn.by)


def _below(frame: pl.DataFrame, drawn: Drawn, limits: Mapping[str, np.uint64]) -> pl.DataFrame:
    groups = frame[drawn.by].cast(pl.String).to_list() if drawn.by else [""] * frame.height
    largest = np.array([limits.get(group, np.uint64(2**64 - 1)) for group in groups], dtype=np.uint64)
    return frame.filter(batches.keys(frame["id"], drawn.seed) <= largest)
