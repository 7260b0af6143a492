"""The rows that are still ranked, and how they are sorted by a rule."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from curate.pruning.budgets.budget import KeepBudget
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.ranking.external_sort import ROW, ExternalSort, chunk_rows
from curate.pruning.rules._verdicts import DROPPED

# Turns rows of a table, and their positions, into codes (n,) uint64: rows of low codes come first.
Codes = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RankedRows:
    """The rows of a column whose verdict (rows,) is still `DROPPED`, which every row has at first."""

    column: ScoreColumn
    verdicts: np.ndarray

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the positions (n,) and the rows (n,) of the table, in order."""
        for start, rows in self.column.table.chunks(chunk_rows(self.column.rows)):
            ranked = self.verdicts[start : start + len(rows)] == DROPPED
            if ranked.any():
                yield start + np.flatnonzero(ranked), rows.compress(ranked)

    def weight(self, budget: KeepBudget) -> int:
        """Return how many rows or tokens they are, as the budget counts."""
        return sum(int(budget.weights(rows["tokens"]).sum()) for _, rows in self.chunks())

    def sort(
        self,
        codes: Codes,
        *,
        weights: Callable[[np.ndarray], np.ndarray] | None = None,
        cells: Callable[[np.ndarray], np.ndarray] | None = None,
        by_cell: bool = False,
    ) -> ExternalSort:
        """Return the rows to sort by ``codes``, rows of equal code by the hash of their ids.

        ``weights`` turns tokens (n,) into weights (n,), by default 1. ``cells`` numbers the cells of rows; with
        ``by_cell`` the rows of a cell come together.
        """

        def chunks() -> Iterator[np.ndarray]:
            for positions, rows in self.chunks():
                sortable = np.zeros(len(rows), ROW)
                sortable["code"], sortable["key"], sortable["position"] = codes(rows, positions), rows["key"], positions
                sortable["weight"] = 1 if weights is None else weights(rows["tokens"])
                if cells is not None:
                    sortable["cell"] = cells(rows)
                yield sortable

        return ExternalSort(chunks, self.column.rows, self.column.folder, by_cell)
