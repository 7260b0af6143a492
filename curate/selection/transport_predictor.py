"""Predict losses from the distance between a mixture and the target, in the form that a planner needs.

In: a fitted law, or no law, and a `MixtureDistance`. Out: a `Predictor`, which can be planned with like any fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors.predictor_wrapper import PredictorWrapper
from curate.runs.recipes import Recipes
from curate.selection.mixture_distance import MixtureDistance


@dataclass(frozen=True, eq=False)
class TransportPredictor(PredictorWrapper):
    """A fitted law that reads the distance of each mixture to the target.

    Recipes without distances may be given: ``measure`` computes them.
    """

    measure: MixtureDistance

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses, differentiable in the weights if the fitted law is."""
        return self.fit.loss(self.measured(recipes))

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses, one row for each bootstrap draw."""
        return self.fit.draw_losses(self.measured(recipes))

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``."""
        return self.fit.drawn(self.measured(recipes), draws)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the ends of the interval of a new run's loss: low (n,) and high (n,)."""
        return self.fit.interval(self.measured(recipes), level)

    def measured(self, recipes: Recipes) -> Recipes:
        """Return the recipes with their distances, which are added where they are missing."""
        return _measured(recipes, self.measure)


@dataclass(frozen=True, eq=False)
class DistancePredictor:
    """A predictor that needs no runs: it takes the distance to the target as the loss, without noise."""

    measure: MixtureDistance
    eval: str = "distance"
    differentiable: bool = True
    noise: float = 0.0
    draw_count: int = 1
    discrepancy: Discrepancy | None = None

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self.measure.problem.names

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Unlimited ranges: nothing was fitted, so no recipe is an extrapolation."""
        wide = {name: (0.0, float("inf")) for name in ("tokens", "params", "epochs")}
        return wide | {f"share of {name}": (0.0, 1.0) for name in self.pools}

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) distances to the target."""
        distances = self.measured(recipes).distance
        assert distances is not None
        return distances

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (1, n) distances: the single row stands for all draws, which do not differ."""
        return self.loss(recipes)[None]

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) distances, which are the same for every draw."""
        return self.loss(recipes)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the (n,) distances twice, because both ends of the interval are equal."""
        distances = self.loss(recipes).detach()
        return distances, distances

    def measured(self, recipes: Recipes) -> Recipes:
        """Return the recipes with their distances, which are added where they are missing."""
        return _measured(recipes, self.measure)


def _measured(recipes: Recipes, measure: MixtureDistance) -> Recipes:
    return recipes if recipes.distance is not None else replace(recipes, distance=measure(recipes.weights))
