"""Define the predictors that planning needs, and combine several predictors into a weighted sum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from curate.runs import discrepancy
from curate.runs.discrepancy import Discrepancy
from curate.runs.recipes import Recipes

TINY = 1e-300  # replaces a standard deviation of 0, to avoid a division by 0
# The search for an end starts this many standard deviations outside the centres, where the probability is negligible.
FAR_OUT = 10.0
HALVINGS = 60  # of the search range: this gives all digits of a float64
# Draw i belongs to the law at which the fractional part of (i + 1/2) times this ratio lies among the summed weights. So
# any number of successive draws is divided among the laws nearly in proportion to their weights.
GOLDEN = (5**0.5 - 1) / 2


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
    def discrepancy(self) -> Discrepancy | None:
        """What the laws leave open of the level of the loss; None if it was not measured."""
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
        """Return (b, n) predicted losses of every draw, for differences between recipes.

        The draws differ by the law and by its parameters, not by the shift that all runs of a size share.
        """
        ...

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``.

        ``draws`` is (n,). An index beyond the last draw starts again at the first.
        """
        ...

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high ends of the loss that a new run would show."""
        ...


class MetricPredictor(Protocol):
    """The interface that planning requires of a downstream metric, such as an error rate.

    It predicts the metric of recipes from the losses of a fit, with bootstrap draws and intervals.
    """

    @property
    def name(self) -> str:
        """The name of the metric: the column ``metric.<name>`` of the run table."""
        ...

    @property
    def better(self) -> str:
        """Which values are better: ``lower`` or ``higher``."""
        ...

    @property
    def reads(self) -> str:
        """The input from which the metric is predicted, in words, such as ``loss.c4``."""
        ...

    @property
    def flat(self) -> str | None:
        """The reason if the runs do not determine how the metric depends on the loss, else None."""
        ...

    @property
    def loss(self) -> Predictor | None:
        """The mean loss whose lowest value gives the best metric, or None if the metric does not depend on a loss."""
        ...

    def values(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted values of the metric."""
        ...

    def draw_values(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted values in every bootstrap draw."""
        ...

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high ends of the metric that a new run would show."""
        ...

    def run_deviation(self, recipes: Recipes) -> Tensor:
        """Return (n,) standard deviations by which the metric differs between two runs of one recipe, over root 2."""
        ...

    def warnings(self, recipes: Recipes) -> tuple[str, ...]:
        """Return one line for each reason to doubt the predictions of these recipes, with the numbers."""
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


def level_deviation(predictor: Predictor, recipes: Recipes) -> Tensor:
    """Return (n,) standard deviations of the log loss of new runs around the draws of a predictor.

    It is the discrepancy of the laws. A fit that does not know it, as of an older version, has only the noise of a run.
    """
    if predictor.discrepancy is None:
        return torch.full_like(recipes.tokens, predictor.noise)
    return predictor.discrepancy.deviation(recipes)


@dataclass(frozen=True, eq=False)
class WrappedPredictor:
    """The part of a predictor that it takes from the predictor ``fit`` as it is: all but the losses."""

    fit: Predictor

    @property
    def eval(self) -> str:
        """The name of the eval whose loss is predicted."""
        return self.fit.eval

    @property
    def differentiable(self) -> bool:
        """Whether the loss has a useful gradient in the weights. If not, a plan searches without one."""
        return self.fit.differentiable

    @property
    def noise(self) -> float:
        """Standard deviation of the log loss of a new run."""
        return self.fit.noise

    @property
    def discrepancy(self) -> Discrepancy | None:
        """What the law leaves open of the level of the loss; None if it was not measured."""
        return self.fit.discrepancy

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names, in the order of the recipes' columns."""
        return self.fit.pools

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params, epochs and shares of the fitted runs."""
        return self.fit.ranges


def laws_of_draws(weights: Sequence[float], draws: Tensor) -> Tensor:
    """Return the positions (n,) of the laws to which the draws of the indices ``draws`` (n,) belong.

    Laws have draws in proportion to their (l,) ``weights``. Draw i of every eval belongs to the same law, if the laws
    have the same weights for every eval.
    """
    ends = torch.tensor(weights, dtype=torch.float64).cumsum(dim=0)
    points = ((draws.double() + 0.5) * GOLDEN).frac() * ends[-1]
    return torch.searchsorted(ends, points, right=True).clamp_max(len(weights) - 1)


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
        """Return the same sum with one member for each eval."""
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
        return spread(self.draw_losses(recipes), level_deviation(self, recipes), level)
