"""Predict larger models from runs of one size: mixtures are compared at that size, and only the level is extrapolated.

In: a predictor whose runs all have one size. Out: a predictor for every size. Runs of one size do not determine how the
loss falls with size, so a law takes that from its priors. What the priors say of differences between mixtures is worse
than the differences that were measured.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.runs.discrepancy import SAME_SIZE
from curate.runs.predictors import intervals
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.predictors.predictor_wrapper import PredictorWrapper
from curate.runs.recipes import Recipes

# Standard deviation of log loss by which a mixture at e times the fitted size departs from the ratios at the fitted
# size. The variance grows with the logarithm of the size, or of the length if all runs have one length. Measured on two
# public tables: the errors of differences between mixtures are .9, 1.3 and .5 % at 2.3, 4.4 and 2.5 times the size
# (benchmarks/fitting/one_size.py).
DEPARTURE = 0.0065

# A law without terms of size and tokens says nothing of the level at another budget. The loss is then taken to fall as
# E + A / N^a + B / D^a: E is this part of the loss at the fitted budget, and A and B have half of the rest each. The
# values are the middle and the ends over which draws vary; the exponents are the likely ones of the law `chinchilla`.
USUAL_FLOOR = (0.3, 0.55, 0.8)
USUAL_EXPONENT = (0.2, 0.35, 0.6)
GOLDEN = (5**0.5 - 1) / 2  # its multiples, without their integer parts, cover 0 to 1 evenly
PROBE = 10.0  # a law without such terms predicts the same loss at a budget this many times as large


def at_fitted_size(predictor: Predictor) -> Predictor:
    """Return a predictor that compares mixtures at the fitted size, if all runs of ``predictor`` have one size.

    A predictor of runs of several sizes is returned as it is. All members of a blend get the same factor from the
    fitted to another size. Therefore the order of mixtures by the mean of several evals, by a weighted sum of them, or
    by the worst of them is the same at every size.
    """
    if not is_one_value(predictor, "params"):
        return predictor
    factor = LevelFactor(predictor)
    if isinstance(predictor, Blend):
        return replace(predictor, fits=tuple(AtFittedSize(member, factor) for member in predictor.fits))
    return AtFittedSize(predictor, factor)


def is_one_value(predictor: Predictor, column: str) -> bool:
    """Return whether all fitted runs have the same ``params`` or ``tokens``, up to the factor SAME_SIZE."""
    low, high = predictor.ranges[column]
    return high < SAME_SIZE * low


def relative_run_deviation(predictor: Predictor, recipes: Recipes) -> Tensor:
    """Return the standard deviations (n,) of log losses of new runs, without what all runs of a size share.

    They do not cancel in a difference between two runs. They are the scatter of runs of one size around the laws, which
    is at least the noise of a run, and, if mixtures are compared at the only fitted size, how far mixtures depart from
    that at another size.
    """
    discrepancy = predictor.discrepancy
    # Laws that miss mixtures of a size by more than their own residuals miss their differences by as much.
    noise = torch.full_like(recipes.tokens, max(predictor.noise, 0.0 if discrepancy is None else discrepancy.scatter))
    members = predictor.fits if isinstance(predictor, Blend) else (predictor,)
    if isinstance(members[0], Blend):
        members = members[0].fits  # a weighted sum of evals, each of which is a blend
    if not isinstance(members[0], AtFittedSize):
        return noise
    return torch.hypot(noise, DEPARTURE * members[0].factor.distance(recipes).sqrt())


@dataclass(frozen=True, eq=False)
class LevelFactor:
    """The factor by which the loss changes from the fitted size to another size, for all mixtures and evals alike.

    It is the ratio of two predictions of ``fit`` for one mixture without repeats, in the middle of the fitted shares.
    Laws without terms of size and tokens, such as `mixing`, do not count in it. If there are no others, it is the usual
    factor (USUAL_FLOOR, USUAL_EXPONENT). Each budget is computed once and kept.
    """

    fit: Predictor
    factors: dict[tuple[float, float], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def held(self, recipes: Recipes) -> Recipes:
        """Return the recipes at the fitted size, with their epochs unchanged.

        If all runs have the same number of tokens as well, recipes get that number. Their unique tokens shrink by the
        same factor, so that a pool is repeated as often as in the recipe itself.
        """
        params = recipes.params.clamp(*self.fit.ranges["params"])
        if not is_one_value(self.fit, "tokens"):
            return replace(recipes, params=params)
        tokens = recipes.tokens.clamp(*self.fit.ranges["tokens"])
        unique = recipes.unique * (tokens / recipes.tokens)[:, None]
        return replace(recipes, params=params, tokens=tokens, unique=unique)

    def distance(self, recipes: Recipes) -> Tensor:
        """Return how far (n,) recipes are from where they are compared: the larger logarithm of two ratios.

        The ratios are those of the parameters and of the tokens; that of the tokens is 1 unless all runs have one
        number of tokens.
        """
        held = self.held(recipes)
        return (recipes.params / held.params).log().abs().maximum((recipes.tokens / held.tokens).log().abs())

    def predicted(self, recipes: Recipes) -> Tensor:
        """Return the factors (n,) that the fit predicts."""
        budgets, rows = _budgets(recipes)
        return torch.stack([self._of_budget(*budget)[0] for budget in budgets])[rows]

    def drawn(self, recipes: Recipes) -> Tensor:
        """Return the factors (b, n) in every bootstrap draw."""
        budgets, rows = _budgets(recipes)
        return torch.stack([self._of_budget(*budget)[1] for budget in budgets], dim=1)[:, rows]

    def _of_budget(self, tokens: float, params: float) -> tuple[Tensor, Tensor]:
        """Return the factor of one budget, a scalar, and its value (b,) in every bootstrap draw."""
        if (tokens, params) not in self.factors:
            planned = self._middle_mixture(tokens, params)
            held = self.held(planned)
            if (fit := self.of_size) is None:
                self.factors[tokens, params] = _usual(held, planned, self.fit.draw_count)
            else:
                draws = fit.draw_losses(planned) / fit.draw_losses(held)
                loss = fit.loss(planned) / fit.loss(held)
                self.factors[tokens, params] = loss[0].detach(), draws[:, 0].detach()
        return self.factors[tokens, params]

    @cached_property
    def of_size(self) -> Predictor | None:
        """The part of the fit whose laws change from the fitted size to another; None if there is none."""
        if not isinstance(self.fit, Blend):
            return self.fit if self._depends_on_size(self.fit) else None
        members = zip(self.fit.fits, self.fit.weights, strict=True)
        kept = [(member, weight) for member, weight in members if weight > 0 and self._depends_on_size(member)]
        if len(kept) == len(self.fit.fits):
            return self.fit
        total = sum(weight for _, weight in kept)
        if not kept:
            return None
        return Blend(tuple(m for m, _ in kept), tuple(weight / total for _, weight in kept), self.fit.eval)

    def _depends_on_size(self, fit: Predictor) -> bool:
        larger = self._middle_mixture(PROBE * self.fit.ranges["tokens"][1], PROBE * self.fit.ranges["params"][1])
        return bool((fit.loss(self.held(larger)) != fit.loss(larger)).any())

    def _middle_mixture(self, tokens: float, params: float) -> Recipes:
        """Return the mixture in the middle of the fitted shares, at one budget. No pool runs out."""
        ends = torch.tensor([self.fit.ranges[f"share of {name}"] for name in self.fit.pools], dtype=torch.float64)
        middle = ends.mean(dim=1)
        return Recipes(
            weights=(middle / middle.sum())[None],
            tokens=torch.tensor([tokens], dtype=torch.float64),
            params=torch.tensor([params], dtype=torch.float64),
            unique=torch.full((1, len(middle)), torch.inf, dtype=torch.float64),
            # Laws that read the distance to the target get the same one at both sizes.
            distance=torch.ones(1, dtype=torch.float64),
        )


@dataclass(frozen=True, eq=False)
class AtFittedSize(PredictorWrapper):
    """A predictor that multiplies the losses of ``fit`` at the fitted size by the factor to the size of the recipe.

    The relative differences between mixtures are those at the fitted size. The methods are those of
    `curate.runs.predictors.predictor.Predictor`.
    """

    factor: LevelFactor

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses in nats per token, differentiable in the weights if the fit is."""
        return self.fit.loss(self.factor.held(recipes)) * self.factor.predicted(recipes)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses of every bootstrap draw."""
        losses, factors = self.fit.draw_losses(self.factor.held(recipes)), self.factor.drawn(recipes)
        # Draws are paired by their index. A blend may have more draws than one of its members.
        return losses * factors[torch.arange(len(losses)) % len(factors)]

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``."""
        draws = draws % self.draw_count
        factors = self.factor.drawn(recipes)
        rows = torch.arange(len(recipes))
        return self.fit.drawn(self.factor.held(recipes), draws) * factors[draws % len(factors), rows]

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the (n,) ends of the loss that a new run would show: as wide, in ratio, as those that the fit gives.

        The fit's interval at another size has the width that its priors leave. A law without terms of size and tokens
        has no such priors, so the draws of the usual factor take their place.
        """
        if self.factor.of_size is None:
            return intervals.of_new_runs(self, recipes, level)
        low, high = self.fit.interval(recipes, level)
        moved = self.loss(recipes) / self.fit.loss(recipes)
        return low * moved, high * moved


def _usual(held: Recipes, planned: Recipes, count: int) -> tuple[Tensor, Tensor]:
    """Return the usual factor of the loss from one budget to another, a scalar, and ``count`` draws of it."""

    def factor(floor: Tensor, exponent: Tensor) -> Tensor:
        terms = (held.params / planned.params) ** exponent + (held.tokens / planned.tokens) ** exponent
        return floor + (1 - floor) / 2 * terms

    low, middle, high = torch.tensor([USUAL_FLOOR, USUAL_EXPONENT], dtype=torch.float64).T
    i = torch.arange(1, count + 1, dtype=torch.float64)
    floors = low[0] + (high[0] - low[0]) * ((i - 0.5) / count)
    exponents = low[1] * (high[1] / low[1]) ** (GOLDEN * i % 1.0)
    return factor(middle[0], middle[1])[0], factor(floors, exponents)


def _budgets(recipes: Recipes) -> tuple[list[tuple[float, float]], Tensor]:
    """Return the distinct (tokens, params) of n recipes, and for each recipe the position of its own (n,)."""
    # A plan asks for thousands of mixtures of a few budgets at each step.
    of_recipes = np.stack([recipes.tokens.numpy(), recipes.params.numpy()], axis=1)
    budgets, rows = np.unique(of_recipes, axis=0, return_inverse=True)
    return [(tokens, params) for tokens, params in budgets.tolist()], torch.from_numpy(rows.reshape(-1))
