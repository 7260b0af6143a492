"""Compute the ends of intervals: of mixtures of normal distributions, and of a new run's loss around its draws."""

from collections.abc import Callable

import torch
from torch import Tensor

from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

TINY = 1e-300  # replaces a standard deviation of 0, to avoid a division by 0
# The search for an end starts this many standard deviations outside the centres, where the probability is negligible.
FAR_OUT = 10.0
HALVINGS = 60  # of the search range: this gives all digits of a float64


def central_ends(mass: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of the central ``level`` of n distributions, by bisection.

    ``mass`` gives the probabilities (2, n) below the points (2, n). Both ends lie between ``low`` (n,) and ``high``
    (n,).
    """
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)[:, None]
    low, high = low.expand(2, -1), high.expand(2, -1)
    # The probability below a point increases with the point.
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = mass(middle) < tails
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    ends = (low + high) / 2
    return ends[0], ends[1]


def mixture_ends(centres: Tensor, deviations: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of the central ``level`` of n mixtures of normal distributions.

    A mixture consists of m equally likely normal distributions, with ``centres`` (m, n) and standard ``deviations`` (m,
    n). It is the predictive distribution of a new run: each bootstrap draw gives a centre, and the deviations are the
    noise of a run. Without noise, each end is one of the centres.
    """
    scale = deviations.clamp_min(TINY)
    finite = torch.isfinite(centres)
    low = torch.where(finite, centres - FAR_OUT * scale, torch.inf).amin(dim=0)
    high = torch.where(finite, centres + FAR_OUT * scale, -torch.inf).amax(dim=0)
    ends = central_ends(
        lambda points: torch.special.ndtr((points[:, None] - centres) / scale).mean(dim=1), low, high, level
    )
    unknown = torch.isnan(centres).any(dim=0)
    return torch.where(unknown, torch.nan, ends[0]), torch.where(unknown, torch.nan, ends[1])


def spread(draws: Tensor, deviation: float | Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of the interval of a new run's loss.

    ``draws`` (b, n) are the losses of draws. ``deviation``, a number or (n,), is the standard deviation of the log loss
    of a new run around each of them, which is taken to be normally distributed.
    """
    deviations = torch.as_tensor(deviation, dtype=draws.dtype).expand_as(draws)
    low, high = mixture_ends(draws.log(), deviations, level)
    return low.exp(), high.exp()


def holding(ends: tuple[Tensor, Tensor], prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of intervals, moved outwards where the prediction (n,) lies outside.

    Far outside the fitted runs all draws may lie on one side of the prediction. An interval without its prediction
    would say that the prediction is wrong.
    """
    low, high = ends
    return low.minimum(prediction), high.maximum(prediction)


def of_new_runs(predictor: Predictor, recipes: Recipes, level: float) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of the interval of the loss of new runs. It holds the predicted loss."""
    ends = spread(predictor.draw_losses(recipes), level_deviation(predictor, recipes), level)
    return holding(ends, predictor.loss(recipes).detach())


def level_deviation(predictor: Predictor, recipes: Recipes) -> Tensor:
    """Return (n,) standard deviations of the log loss of new runs around the draws of a predictor.

    It is the discrepancy of the laws. A fit that does not know it, as of an older version, has only the noise of a run.
    """
    if predictor.discrepancy is None:
        return torch.full_like(recipes.tokens, predictor.noise)
    return predictor.discrepancy.deviation(recipes)
