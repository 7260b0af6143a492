"""Influence of a row on test rows, from models trained on random subsets (Feldman and Zhang 2020, arXiv 2008.03703)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers.memorization import check_runs, influence, truths
from curate.tables import batches
from curate.tables.batches import Stream

TESTS = 1024  # compared at a time: bounds memory


@dataclass(frozen=True)
class Influence:
    """``score.influence_max`` and ``score.influence_sum``: largest influence on a test row, and sum of their absolute
    values, float64 (-1 to 1; 0 to tests).

    The influence on a test row is its share right among the models trained with this row, minus among those without.
    High = some test row, or many, depend on it; keep high. ``member`` is as for ``memorization``; ``right`` (q, m)
    uint8 says which of m models get each of q test rows right. A row that all or no models were trained on: 0.
    """

    right: np.ndarray = field(repr=False)
    needs = ("member",)
    schema = {"score.influence_max": pl.Float64(), "score.influence_sum": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"right": self.right}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        member = truths(batch, "member")
        check_runs(member, self.right, "the target's correct")
        largest, total = np.full(batch.height, -np.inf), np.zeros(batch.height)
        for start in range(0, len(self.right) if batch.height else 0, TESTS):
            tests = self.right[start : start + TESTS].astype(np.float64)
            found = influence(member, member @ tests.T, tests.sum(axis=1)[None])
            largest = np.maximum(largest, found.max(axis=1))
            total += np.abs(found).sum(axis=1)
        return pl.DataFrame(dict(zip(self.schema, (largest, total), strict=True)), schema=dict(self.schema))


def learn(stream: Stream, *, target: str = "") -> Influence:
    """Read the column ``correct`` of ``target`` (file, folder or glob): a row a test example, a list of m bools each.

    Memory is q x m bytes.
    """
    if not target:
        raise SchemaError("influence has no target: name a file of test rows with a column `correct`, target=PATH")
    parts = [
        truths(b, "correct").astype(np.uint8)
        for s in batches.shards([target])
        for b in batches.batches(s, ("correct",))
    ]
    if not parts or len({part.shape[1] for part in parts}) > 1:
        raise SchemaError(f"influence: {target} must have test rows, each with one bool a model in `correct`")
    if not any(batch.height for batch in stream(("member",))):
        raise SchemaError("influence: the data has no rows")
    return Influence(np.concatenate(parts))
