"""Memorization: what a row's own presence in training does to its being right (Feldman and Zhang 2020, 2008.03703)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _predictions


@dataclass(frozen=True)
class Memorization:
    """How much training on a row helps a model to get it right; high is hard.

    ``score.memorization`` (float64, -1 to 1) is the share of models right on the row among those trained with it, minus
    the share among those trained without it. A high score is a rare or mislabelled row, known by heart. Keep high
    scores when data are plenty. The columns ``member`` and ``correct`` are lists of m bools (or 0 and 1), one for each
    of m models trained on random subsets (70 % of the rows in the paper): whether the row was in the subset, and
    whether the model is right on it. A row with which all models or none were trained has no estimate: 0.

    Source: Feldman and Zhang 2020, arXiv 2008.03703.
    """

    needs = ("member", "correct")
    schema = {"score.memorization": pl.Float64()}
    meanings = {"score.memorization": "hardness"}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        member, right = truths(batch, "member"), truths(batch, "correct")
        check_models(member, right, "correct")
        scores = influence(member, (member * right).sum(axis=1, keepdims=True), right.sum(axis=1, keepdims=True))
        return pl.DataFrame({"score.memorization": scores[:, 0]}, schema=dict(self.schema))


def truths(batch: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column of lists of bools as (n, m) float64 zeros and ones.

    Raises:
        SchemaError: if a list holds other numbers.
    """
    values = _predictions.matrix(batch, name)
    if (bad := ((values != 0) & (values != 1)).any(axis=1)).any():
        raise SchemaError(
            f"{name} has numbers other than 0 and 1 in {int(bad.sum())} rows of a batch, the first with id "
            f"{batch['id'][int(bad.argmax())]!r}. Give one bool for each model"
        )
    return values


def check_models(member: np.ndarray, right: np.ndarray, where: str) -> None:
    """Stop if ``member`` (n, m) and ``right``, the column ``where``, are of different numbers of models."""
    if len(member) and len(right) and member.shape[1] != right.shape[1]:
        raise SchemaError(
            f"member has {member.shape[1]} models and {where} {right.shape[1]}. Give both for the same models, in one "
            "order"
        )


def influence(member: np.ndarray, both: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the influence (n, q) of each row on each test row: the share right with the row minus that without it.

    It is 0 if all models or none were trained with the row. ``member`` (n, m) says which models were trained with each
    row; ``both`` (n, q) counts the models that were and are right on test row q; ``right`` (n or 1, q) counts the
    models that are right. Counts are whole numbers, so the result is the same however they were summed.
    """
    inside = member.sum(axis=1, keepdims=True)
    outside = member.shape[1] - inside
    difference = both / np.maximum(inside, 1) - (right - both) / np.maximum(outside, 1)
    return np.where((inside > 0) & (outside > 0), difference, 0.0)
