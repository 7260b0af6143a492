"""What a plan needs of a fit, and weighted sums of such predictors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from curate.runs.recipes import Recipes

NORMAL = (-1.5932, -0.9674, -0.5895, -0.2822, 0.0, 0.2822, 0.5895, 0.9674, 1.5932)  # 9 equal-mass normal quantiles


class Predictor(Protocol):
    """What a plan needs of a fit: losses of recipes over ``pools``, with bootstrap draws and intervals."""

    @property
    def eval(self) -> str:
        """What is predicted: ``loss.<eval>``."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether the loss has a useful gradient in the weights; else a plan searches."""
        ...

    @property
    def noise(self) -> float:
        """Standard deviation of log loss of a new run."""
        ...

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names, in the order of the recipes' columns."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params and epochs that were fitted."""
        ...

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted loss."""
        ...

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted loss of every bootstrap draw."""
        ...

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted loss, every recipe by its own bootstrap draw: (n,) indices, wrapped around."""
        ...

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high of the loss a new run would show."""
        ...


@dataclass(frozen=True)
class Blend:
    """A weighted sum of predictors over the same pools: the mean of several evals, or a stack of laws for one eval.

    ``weights`` sum to 1. Draws are summed index by index, which pairs resampled trainings.
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
        """Smallest and largest tokens, params and epochs fitted."""
        return self.fits[0].ranges

    @property
    def differentiable(self) -> bool:
        """Whether all members are."""
        return all(one.differentiable for one in self.fits)

    @property
    def noise(self) -> float:
        """Standard deviation of log loss of a new run: the members' mean, as if their errors went together."""
        return sum(w * f.noise for w, f in zip(self.weights, self.fits, strict=True))

    def parts(self) -> dict[str, "Blend"]:
        """Return the blend of every eval on its own, by name."""
        names = dict.fromkeys(one.eval for one in self.fits)
        found = {}
        for name in names:
            mine = [(one, w) for one, w in zip(self.fits, self.weights, strict=True) if one.eval == name]
            total = sum(w for _, w in mine)
            found[name] = Blend(tuple(one for one, _ in mine), tuple(w / total for _, w in mine), name)
        return found

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted loss; differentiable in the recipes."""
        return torch.stack([w * f.loss(recipes) for w, f in zip(self.weights, self.fits, strict=True)]).sum(dim=0)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses."""
        draws = [w * f.draw_losses(recipes) for w, f in zip(self.weights, self.fits, strict=True)]
        count = max(len(x) for x in draws)
        return torch.stack([x[torch.arange(count) % len(x)] for x in draws]).sum(dim=0)

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted loss, every recipe by its own draw (n,)."""
        return torch.stack([w * f.drawn(recipes, draws) for w, f in zip(self.weights, self.fits, strict=True)]).sum(
            dim=0
        )

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high of a new run's loss."""
        return spread(self.draw_losses(recipes), self.noise, level)


def spread(draws: Tensor, noise: float, level: float) -> tuple[Tensor, Tensor]:
    """(b, n) losses of draws to (n,) low and high with log-normal run noise of standard deviation ``noise``."""
    shifts = torch.tensor(NORMAL, dtype=torch.float64) * noise
    values = (draws[:, None, :] * torch.exp(shifts)[None, :, None]).flatten(0, 1)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(values, tails, dim=0)
    return low, high
