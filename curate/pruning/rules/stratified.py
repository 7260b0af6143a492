"""The rule `stratified`."""

from dataclasses import dataclass

import numpy as np

from curate.pruning import quotas
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._rule import CellCounts, Cells, Rule


@dataclass(frozen=True)
class Stratified(Rule):
    """Keep as many rows of each part of the score's range, drawn by the hash of the id (Zheng et al. 2023)."""

    name = "stratified"
    summary = "Keep the same number of rows from every band of the score (coverage-centric selection)."
    one_group = True
    exact = True

    def order(self, ranked: RankedRows) -> Codes:
        """Return the hash of the id."""
        return lambda rows, _: np.asarray(rows["key"])

    def cells(self, ranked: RankedRows) -> "Strata":
        """Return the strata of each group: equal parts of the range of the scores that are ranked."""
        low, high = np.inf, -np.inf
        for _, rows in ranked.chunks():
            low, high = min(low, float(rows["score"].min())), max(high, float(rows["score"].max()))
        return Strata(len(ranked.column.groups) * quotas.STRATA, low, high)

    def quotas(self, column: ScoreColumn, counts: CellCounts, target: int, share: float) -> np.ndarray:
        """Return the exact rows or tokens of each stratum of each group."""
        strata, all_strata = (cells.reshape(len(column.groups), -1) for cells in (counts.ranked, counts.all))
        sizes = strata.sum(axis=1)
        group_totals = self.group_quotas(column, CellCounts(sizes, all_strata.sum(axis=1)), target, share)
        if self.balance.how == "floor":
            # Without floors, strata would give each group this much on average; floors move that as little as needed.
            budget = quotas.strata(strata.sum(axis=0), target)
            expected = (strata * (budget / np.maximum(strata.sum(axis=0), 1))).sum(axis=1)
            group_totals = quotas.quadratic(expected / max(1, target), sizes, target, least=group_totals)
        return np.concatenate([quotas.strata(offered, int(n)) for offered, n in zip(strata, group_totals, strict=True)])


@dataclass(frozen=True)
class Strata(Cells):
    """The parts of the range from ``low`` to ``high``, within each group."""

    low: float
    high: float

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the stratum of each row (n,) of a table."""
        return np.asarray(rows["group"] * quotas.STRATA + quotas.stratum(rows["score"], self.low, self.high))
