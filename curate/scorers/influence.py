"""Influence of a row on test rows, from models trained on random subsets (Feldman and Zhang 2020, arXiv 2008.03703)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers._target import batches_of_files
from curate.scorers.memorization import check_models, influence, truths
from curate.tables.corpus import Corpus

TESTS = 1024  # test rows compared at a time, to bound memory


@dataclass(frozen=True)
class Influence:
    """The influence of a training row on the results of models on test rows; high is useful.

    The influence on a test row is the share of models right on it among those trained with this row, minus the share
    among those trained without it. ``score.influence_max`` (float64, -1 to 1) is the largest influence on a test row,
    ``score.influence_sum`` (float64, 0 to the number of test rows) the sum of the absolute influences. Keep high
    scores. The column ``member`` is that of ``memorization``. A row with which all models or none were trained scores
    0. ``right`` (q, m) uint8 says which of m models are right on each of q test rows.

    Source: Feldman and Zhang 2020, arXiv 2008.03703.
    """

    right: np.ndarray = field(repr=False)
    needs = ("member",)
    schema = {"score.influence_max": pl.Float64(), "score.influence_sum": pl.Float64()}
    meanings = {"score.influence_max": "quality", "score.influence_sum": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The learned arrays to save."""
        return {"right": self.right}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        member = truths(batch, "member")
        check_models(member, self.right, "the target's correct")
        # the influence of a batch on all test rows is n x q numbers: take the tests in blocks
        largest, total = np.full(batch.height, -np.inf), np.zeros(batch.height)
        for start in range(0, len(self.right) if batch.height else 0, TESTS):
            tests = self.right[start : start + TESTS].astype(np.float64)
            influences = influence(member, member @ tests.T, tests.sum(axis=1)[None])
            largest = np.maximum(largest, influences.max(axis=1))
            total += np.abs(influences).sum(axis=1)
        return pl.DataFrame(dict(zip(self.schema, (largest, total), strict=True)), schema=dict(self.schema))


def learn(corpus: Corpus, *, target: str = "") -> Influence:
    """Return the scorer with the test rows of ``target``. Memory is q x m bytes.

    The data is not read: all that is learned is in ``target``.

    Options:
        target: files, folders or globs, joined by +, of test rows with the column ``correct``: a list of m bools, which
            say whether each model is right on the row (required).

    Raises:
        SchemaError: if there is no target, the data has no rows, or the lists have different lengths.
    """
    if not target:
        raise SchemaError(
            "influence has no target. Name a file of test rows with a column `correct`: influence:target=PATH"
        )
    rows = batches_of_files(corpus, target, ("correct",))
    parts = [truths(batch, "correct").astype(np.uint8) for batch in rows]
    if not parts or len({part.shape[1] for part in parts}) > 1:
        raise SchemaError(f"influence: {target} must have test rows with one bool for each model in `correct`")
    if corpus.first_batch(("member",)) is None:
        raise SchemaError(
            "influence: the data has no rows. Score data with a column `member`, which says which models were trained "
            "on each row"
        )
    return Influence(np.concatenate(parts))
