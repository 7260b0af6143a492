"""The order of rows without a score."""

from dataclasses import dataclass

import numpy as np

from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._rule import Rule


@dataclass(frozen=True)
class Unranked(Rule):
    """Keep rows by the hash of their ids, which is as good as at random: what a budget or a cap does without --by."""

    name = "random"
    summary = "Keep rows at random."
    trims = False

    def order(self, ranked: RankedRows) -> Codes:
        """Return the hash of the id."""
        return lambda rows, _: np.asarray(rows["key"])

    def sentence(self, by: str) -> str:
        """Return a sentence that says which rows are kept."""
        return "rows are kept at random, by the hash of their ids"

    def dropped_reason(self, by: str) -> str:
        """Return the reason of a row that is not kept."""
        return "random: by the hash of its id"
