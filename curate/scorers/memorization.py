"""Memorization: what a row's own presence in training does to its being right (Feldman and Zhang 2020, 2008.03703)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _dynamics


@dataclass(frozen=True)
class Memorization:
    """``score.memorization``: share right among the models trained with the row minus share right among those trained
    without it (float64, -1 to 1).

    High = known only by heart: hard, rare or mislabelled. Keep high when data are plenty. ``member`` and ``correct``
    are lists of m truths a row (bools, or 0 and 1), one for each of m models trained on random subsets (70 % in the
    paper): was the row in it, and does the model get it right. A row that all models or none were trained on has no
    estimate: 0.
    """

    needs = ("member", "correct")
    schema = {"score.memorization": pl.Float64()}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        member, right = truths(batch, "member"), truths(batch, "correct")
        check_runs(member, right, "correct")
        found = influence(member, (member * right).sum(axis=1, keepdims=True), right.sum(axis=1, keepdims=True))
        return pl.DataFrame({"score.memorization": found[:, 0]}, schema=dict(self.schema))


def truths(batch: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column of lists of bools as (n, m) float64 zeros and ones."""
    values = _dynamics.matrix(batch, name)
    if (bad := ((values != 0) & (values != 1)).any(axis=1)).any():
        raise SchemaError(
            f"{name} has numbers other than 0 and 1 in {int(bad.sum())} rows of a batch, the first with id "
            f"{batch['id'][int(bad.argmax())]!r}: give one bool a model"
        )
    return values


def check_runs(member: np.ndarray, right: np.ndarray, where: str) -> None:
    """Refuse lists of different numbers of models."""
    if len(member) and len(right) and member.shape[1] != right.shape[1]:
        raise SchemaError(
            f"member has {member.shape[1]} models and {where} {right.shape[1]}: give both for the same models, in order"
        )


def influence(member: np.ndarray, both: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (n, q) shares right with the row minus shares right without it; 0 where either has no model.

    ``member`` (n, m); ``both`` (n, q) models that have the row and get q right; ``right`` (n or 1, q) models that do.
    Counts are whole, so the result is the same however they were summed.
    """
    inside = member.sum(axis=1, keepdims=True)
    outside = member.shape[1] - inside
    found = both / np.maximum(inside, 1) - (right - both) / np.maximum(outside, 1)
    return np.where((inside > 0) & (outside > 0), found, 0.0)
