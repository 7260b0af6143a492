"""Evaluate what least squares fits: n predictions and their slopes for b parameter vectors at a time.

In: points (b, k). Out: values (b, n) and slopes (b, n, k). ``LogLosses`` is for laws, ``RowByRow`` for any function.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from curate.fitting.solver.coordinates import Coordinates
from curate.laws import Law, _batches
from curate.runs.recipes import Recipes

Rows = tuple[Tensor, ...]  # each (n, ...): what a prediction reads of every row
Predict = Callable[[Tensor, Rows], Tensor]  # (k,) parameters and one row -> its prediction, a scalar


class ModelFunction(Protocol):
    """The n predictions of a least-squares problem as a function of k parameters."""

    def values(self, points: Tensor) -> Tensor:
        """Return the (b, n) predictions at ``points`` (b, k)."""
        ...

    def slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (b, n, k) derivatives and the (b, n) predictions at ``points`` (b, k)."""
        ...


@dataclass(frozen=True)
class RowByRow:
    """The predictions of a function of one row, which is mapped over all rows and points."""

    predict: Predict
    rows: Rows

    def values(self, points: Tensor) -> Tensor:
        """Return the (b, n) predictions at ``points`` (b, k)."""
        return vmap(vmap(self.predict, in_dims=(None, 0)), in_dims=(0, None))(points, self.rows)

    def slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (b, n, k) derivatives and the (b, n) predictions at ``points`` (b, k)."""
        # A prediction depends on the parameters and its own row alone. So one reverse pass gives the whole (n, k)
        # Jacobian, for about the price of four predictions, whatever k is.
        per_row = vmap(grad_and_value(self.predict), in_dims=(None, 0))
        slopes, values = vmap(per_row, in_dims=(0, None))(points, self.rows)
        return slopes, values


@dataclass(frozen=True)
class LogLosses:
    """The log losses that a law predicts for n recipes, as a function of its coordinates.

    The law must take parameters with leading axes; see ``curate.laws.Law.loss``.
    """

    law: Law
    coordinates: Coordinates
    recipes: Recipes

    def values(self, points: Tensor) -> Tensor:
        """Return the (b, n) log losses at ``points`` (b, k)."""
        return _batches.all_pairs(self.law, self.coordinates.theta(points), self.recipes).log()

    def slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (b, n, k) derivatives and the (b, n) log losses at ``points`` (b, k)."""
        b, n = len(points), len(self.recipes)
        # Every recipe gets its own copy of the parameters. Loss j depends on copy j alone, so that one reverse pass of
        # the sum of all losses gives all slopes. The copies take no memory.
        copies = {
            name: values[:, None].expand(b, n, *values.shape[1:]).detach().requires_grad_()
            for name, values in self.coordinates.theta(points).items()
        }
        values = self.law.loss(copies, self.recipes).log()
        slopes = torch.autograd.grad(values.sum(), list(copies.values()), allow_unused=True, materialize_grads=True)
        by_parameter = torch.cat([slope.reshape(b, n, -1) for slope in slopes], dim=2)
        # Each parameter is a function of one coordinate. In place: these are the largest tensors of a fit.
        return by_parameter.mul_(self.coordinates.scale(points)[:, None]), values.detach()


def log_losses(law: Law, coordinates: Coordinates, recipes: Recipes) -> ModelFunction:
    """Return the log losses that a law predicts for n recipes, by the fastest way that the law allows."""
    if _batches.is_batched(law):
        # Where nothing repeats, this saves half of the work of the laws that discount repeats.
        return LogLosses(law, coordinates, replace(recipes, all_fresh=bool((recipes.epochs < 1).all())))

    def predict(u: Tensor, row: Rows) -> Tensor:
        return law.loss(coordinates.theta(u), Recipes.single(row)).log()[0]

    return RowByRow(predict, recipes.rows)
