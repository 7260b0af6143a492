"""Combine predictors of several evals, or several laws for one eval, into a weighted sum."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.runs import discrepancy
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors import intervals
from curate.runs.predictors.paired_draws import combined_drawn, combined_draws, laws_of_draws, stacked_draws
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Blend:
    """A weighted sum of predictors over the same pools.

    The predictors are for several evals, or are several laws for one eval, or both. ``weights`` sum to 1. The loss is
    the weighted sum. A draw of one eval belongs to one law, and laws have draws in proportion to their weights: so the
    draws differ as much as the laws do. If the weights were fitted, ``draw_weights`` (b, fits) are the weights of each
    draw, and a draw is a weighted sum too.
    """

    fits: tuple[Predictor, ...]
    weights: tuple[float, ...]
    eval: str
    draw_weights: Tensor | None = None

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
    def draw_count(self) -> int:
        """The number b of bootstrap draws: that of the member with the most."""
        return max(fit.draw_count for fit in self.fits)

    @property
    def noise(self) -> float:
        """Standard deviation of the log loss of a new run: the mean over the members.

        This takes the run noise of the members as fully correlated.
        """
        return sum(w * f.noise for w, f in zip(self.weights, self.fits, strict=True))

    @property
    def discrepancy(self) -> Discrepancy | None:
        """What the laws leave open of the level of the loss: the mean over the members."""
        return discrepancy.combined([fit.discrepancy for fit in self.fits], self.weights)

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

    def _of_evals(self) -> "Blend":
        """Return the same weighted sum with one member for each eval."""
        parts = self.parts()
        shares = [sum(w for fit, w in zip(self.fits, self.weights, strict=True) if fit.eval == name) for name in parts]
        return Blend(tuple(parts.values()), tuple(shares), self.eval)

    @property
    def _one_eval(self) -> bool:
        return len({fit.eval for fit in self.fits}) == 1

    @property
    def _one_law_an_eval(self) -> bool:
        return len({fit.eval for fit in self.fits}) == len(self.fits)

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses, differentiable in the recipes."""
        return self._sum(torch.stack([fit.loss(recipes) for fit in self.fits]))

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses of every draw."""
        if self.draw_weights is not None:
            losses = stacked_draws(self.fits, recipes)
            weights = self.draw_weights[torch.arange(losses.shape[1]) % len(self.draw_weights)]
            return torch.einsum("fbn,bf->bn", losses, weights)
        if self._one_law_an_eval:
            return combined_draws(self.fits, self._sum, recipes)
        if not self._one_eval:
            return self._of_evals().draw_losses(recipes)
        losses = stacked_draws(self.fits, recipes)
        draws = torch.arange(losses.shape[1])
        return losses[laws_of_draws(self.weights, draws), draws]

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the draw of index ``draws[i]``."""
        draws = draws % self.draw_count
        if self.draw_weights is not None:
            losses = torch.stack([fit.drawn(recipes, draws) for fit in self.fits])
            return (losses * self.draw_weights[draws % len(self.draw_weights)].T).sum(dim=0)
        if self._one_law_an_eval:
            return combined_drawn(self.fits, self._sum, recipes, draws)
        if not self._one_eval:
            return self._of_evals().drawn(recipes, draws)
        laws = laws_of_draws(self.weights, draws)
        result = torch.empty_like(recipes.tokens)
        for law, fit in enumerate(self.fits):
            rows = torch.nonzero(laws == law)[:, 0]
            # No gradient passes through an empty selection.
            if len(rows):
                result = result.index_copy(0, rows, fit.drawn(recipes.take(rows), draws[rows]))
        return result

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the low (n,) and high (n,) ends of the interval of a new run's loss."""
        return intervals.of_new_runs(self, recipes, level)
