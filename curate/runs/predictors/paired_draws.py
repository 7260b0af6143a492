"""Pair the bootstrap draws of several predictors, so that they can be combined draw by draw."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

# Draw i belongs to the law at which the fractional part of (i + 1/2) times this ratio lies among the summed weights. So
# any number of successive draws is divided among the laws nearly in proportion to their weights.
GOLDEN = (5**0.5 - 1) / 2
Combine = Callable[[Tensor], Tensor]  # (parts, ...) losses of several predictors -> (...) of all together


def combined_draws(parts: Sequence[Predictor], combine: Combine, recipes: Recipes) -> Tensor:
    """Combine the losses of several predictors in each bootstrap draw, (b, n).

    Draws are paired by their index, because draw i of every fit has the same resampled trainings.
    """
    return combine(stacked_draws(parts, recipes))


def combined_drawn(parts: Sequence[Predictor], combine: Combine, recipes: Recipes, draws: Tensor) -> Tensor:
    """Combine the losses of several predictors, (n,): recipe i by the bootstrap draw of index ``draws[i]``."""
    return combine(torch.stack([part.drawn(recipes, draws) for part in parts]))


def stacked_draws(parts: Sequence[Predictor], recipes: Recipes) -> Tensor:
    """Return (parts, b, n) losses of every bootstrap draw of several predictors.

    A predictor with fewer draws than the others starts again at its first.
    """
    return stacked([part.draw_losses(recipes) for part in parts])


def stacked(draws: Sequence[Tensor]) -> Tensor:
    """Return (parts, b, ...) draws of several quantities. One with fewer draws starts again at its first."""
    count = max(len(values) for values in draws)
    return torch.stack([values[torch.arange(count) % len(values)] for values in draws])


def laws_of_draws(weights: Sequence[float], draws: Tensor) -> Tensor:
    """Return the positions (n,) of the laws to which the draws of the indices ``draws`` (n,) belong.

    Laws have draws in proportion to their (l,) ``weights``. Draw i of every eval belongs to the same law, if the laws
    have the same weights for every eval.
    """
    ends = torch.tensor(weights, dtype=torch.float64).cumsum(dim=0)
    points = ((draws.double() + 0.5) * GOLDEN).frac() * ends[-1]
    return torch.searchsorted(ends, points, right=True).clamp_max(len(weights) - 1)
