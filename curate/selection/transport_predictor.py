"""Distances of mixtures as a law and a plan need them: a fit whose recipes get their distance from their weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from curate.errors import SchemaError
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.transport import distance
from curate.transport.ground_cost import TransportProblem
from curate.transport.nearest_draws import Order, order, reach
from curate.transport.surrogates import Energies, Slices, energies, energy, sliced, slices

KINDS = {"transport": "OT", "sliced": "sliced", "energy": "energy"}  # and how tables call them


@dataclass(frozen=True, eq=False)
class Measure:
    """Distance of mixtures of ``problem`` to its target by ``kind``, or the reach of ``draws`` examples.

    Every transport solve starts cold: a value must not depend on what was asked before.
    """

    problem: TransportProblem
    draws: float | None = None
    kind: str = "transport"

    def __post_init__(self) -> None:
        """Raise SchemaError for a kind that is none."""
        if self.kind not in KINDS:
            raise SchemaError(f"no distance {self.kind!r}: there are {', '.join(KINDS)}")

    @property
    def name(self) -> str:
        """How tables call it."""
        return KINDS[self.kind] if self.draws is None else f"reach {self.draws:g}"

    @cached_property
    def _slices(self) -> Slices:
        return slices(self.problem)

    @cached_property
    def _energies(self) -> Energies:
        return energies(self.problem)

    @cached_property
    def _order(self) -> Order:
        return order(self.problem)

    def __call__(self, weights: Tensor) -> Tensor:
        """(m,) distances of mixtures (m, p) in units of the problem's scale; differentiable. Raises Unconverged."""
        if self.draws is not None:
            return reach(self.problem, weights, self.draws, sorted_=self._order)
        if self.kind == "sliced":
            return sliced(self.problem, weights, slices_=self._slices)
        if self.kind == "energy":
            return energy(self.problem, weights, energies_=self._energies)
        return distance.distance(self.problem, weights)


@dataclass(frozen=True, eq=False)
class Transported:
    """A Predictor: ``fit`` of a law that reads distances, on recipes that have none: ``measure`` gives them."""

    fit: Predictor
    measure: Measure

    @property
    def eval(self) -> str:
        """What is predicted."""
        return self.fit.eval

    @property
    def differentiable(self) -> bool:
        """Whether the fit is."""
        return self.fit.differentiable

    @property
    def noise(self) -> float:
        """Standard deviation of log loss of a new run."""
        return self.fit.noise

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self.fit.pools

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params, epochs and shares fitted."""
        return self.fit.ranges

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted loss; differentiable in the weights."""
        return self.fit.loss(self.measured(recipes))

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted loss of every bootstrap draw."""
        return self.fit.draw_losses(self.measured(recipes))

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted loss, every recipe by its own draw (n,)."""
        return self.fit.drawn(self.measured(recipes), draws)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high of a new run's loss."""
        return self.fit.interval(self.measured(recipes), level)

    def measured(self, recipes: Recipes) -> Recipes:
        """Return the recipes with their distance, where they have none."""
        return _measured(recipes, self.measure)


@dataclass(frozen=True, eq=False)
class Nearest:
    """A Predictor without trainings: its "loss" is the distance itself, known without noise."""

    measure: Measure
    eval: str = "distance"
    differentiable: bool = True
    noise: float = 0.0

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self.measure.problem.names

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Nothing was fitted, so nothing is extrapolated."""
        wide = {name: (0.0, float("inf")) for name in ("tokens", "params", "epochs")}
        return wide | {f"share of {name}": (0.0, 1.0) for name in self.pools}

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) distances."""
        found = self.measured(recipes).distance
        assert found is not None
        return found

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (1, n) distances."""
        return self.loss(recipes)[None]

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) distances, whatever the draw."""
        return self.loss(recipes)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) the distance twice."""
        found = self.loss(recipes).detach()
        return found, found

    def measured(self, recipes: Recipes) -> Recipes:
        """Return the recipes with their distance, where they have none."""
        return _measured(recipes, self.measure)


def _measured(recipes: Recipes, measure: Measure) -> Recipes:
    return recipes if recipes.distance is not None else replace(recipes, distance=measure(recipes.weights))
