"""Define the predictor that planning needs, and combine several predictors into a weighted sum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from curate.runs.recipes import Recipes

# The medians of 9 equal parts of the standard normal distribution: a new run's noise, in standard deviations.
NORMAL = (-1.5932, -0.9674, -0.5895, -0.2822, 0.0, 0.2822, 0.5895, 0.9674, 1.5932)


class Predictor(Protocol):
    """The interface that planning requires of a fit.

    It predicts the losses of recipes over ``pools``, with bootstrap draws and intervals.
    """

    @property
    def eval(self) -> str:
        """The name of the eval whose loss is predicted: the column ``loss.<eval>`` of the run table."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether the loss has a useful gradient in the weights. If not, a plan searches without one."""
        ...

    @property
    def noise(self) -> float:
        """Standard deviation of the log loss of a new run."""
        ...

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names, in the order of the recipes' columns."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params and epochs of the runs that were fitted."""
        ...

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses in nats per token."""
        ...

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses of every bootstrap draw."""
        ...

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``.

        ``draws`` is (n,). An index beyond the last draw starts again at the first.
        """
        ...

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high ends of the loss that a new run would show."""
        ...


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
    draws = [part.draw_losses(recipes) for part in parts]
    count = max(len(losses) for losses in draws)
    return torch.stack([losses[torch.arange(count) % len(losses)] for losses in draws])


def central(values: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of the central ``level`` of (b, n) values."""
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(values, tails, dim=0)
    return low, high


def spread(draws: Tensor, noise: float, level: float) -> tuple[Tensor, Tensor]:
    """Return the low (n,) and high (n,) ends of the interval of a new run's loss.

    ``draws`` (b, n) are the losses of bootstrap draws. ``noise`` is the standard deviation of the log loss of a run,
    which is taken to be normally distributed.
    """
    shifts = torch.tensor(NORMAL, dtype=torch.float64) * noise
    return central((draws[:, None, :] * torch.exp(shifts)[None, :, None]).flatten(0, 1), level)


@dataclass(frozen=True)
class Blend:
    """A weighted sum of predictors over the same pools.

    The predictors are of several evals, or are several laws for one eval. ``weights`` sum to 1.
    """

    fits: tuple[Predictor, ...]
    weights: tuple[float, ...]
    eval: str

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names."""
        return self.fits[0].pools

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params and epochs of the runs that were fitted."""
        return self.fits[0].ranges

    @property
    def differentiable(self) -> bool:
        """Whether the losses of all members have useful gradients in the weights."""
        return all(fit.differentiable for fit in self.fits)

    @property
    def noise(self) -> float:
        """Standard deviation of the log loss of a new run: the mean over the members.

        This takes the run noise of the members as fully correlated.
        """
        return sum(w * f.noise for w, f in zip(self.weights, self.fits, strict=True))

    def parts(self) -> dict[str, "Blend"]:
        """Return one blend for each eval, by the name of the eval."""
        blends = {}
        for name in dict.fromkeys(fit.eval for fit in self.fits):
            members = [(fit, w) for fit, w in zip(self.fits, self.weights, strict=True) if fit.eval == name]
            total = sum(w for _, w in members)
            blends[name] = Blend(tuple(fit for fit, _ in members), tuple(w / total for _, w in members), name)
        return blends

    def _sum(self, losses: Tensor) -> Tensor:
        # The weights along the first axis, whatever the other axes are.
        shape = (len(self.fits),) + (1,) * (losses.ndim - 1)
        return (losses * losses.new_tensor(self.weights).reshape(shape)).sum(dim=0)

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses, differentiable in the recipes."""
        return self._sum(torch.stack([fit.loss(recipes) for fit in self.fits]))

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses of every draw."""
        return combined_draws(self.fits, self._sum, recipes)

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``."""
        return combined_drawn(self.fits, self._sum, recipes, draws)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the low (n,) and high (n,) ends of the interval of a new run's loss."""
        return spread(self.draw_losses(recipes), self.noise, level)
