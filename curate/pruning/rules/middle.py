"""The rule `middle`."""

from dataclasses import dataclass

import numpy as np

from curate.pruning.ranking.codes import codes
from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._rule import Rule


@dataclass(frozen=True)
class Middle(Rule):
    """Keep the rows whose ranks are nearest to the median."""

    name = "middle"
    summary = "Keep the rows whose scores are nearest to the median."
    trims = False

    def order(self, ranked: RankedRows) -> Codes:
        """Return the distance of each row's rank from the median rank, from a file that a first sort fills."""
        rows = ranked.column.rows
        distances = np.memmap(ranked.column.folder / "distances", np.uint64, mode="w+", shape=(rows,))
        first = 0
        for block in ranked.sort(lambda rows, _: codes(rows["score"])).blocks():
            ranks = np.arange(first, first + len(block))
            # Twice the distance, so that it is a whole number for an even number of rows too.
            distances[block["position"]] = np.abs(2 * ranks - (rows - 1))
            first += len(block)
        return lambda _, positions: np.asarray(distances[positions])

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"middle keeps the values nearest the median of {score}"
