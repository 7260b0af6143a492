"""What to take from the sources: the offers, the small runs that inform the choice, and the choice itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from torch import Tensor

from curate.planning import feasible, region_of_limits, search
from curate.planning.limits import Limits
from curate.planning.plan import Plan
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.selection.transport_predictor import DistancePredictor, TransportPredictor

ROUNDING = 1e-6  # an excess over a limit that a descent or rounding explains
NUMBERS = ("distance", "loss", "low", "high", "gain", "gain_low", "gain_high")
SCHEMA = {"name": pl.String()} | dict.fromkeys(NUMBERS, pl.Float64()) | {"allowed": pl.Boolean(), "cost": pl.Float64()}


@dataclass(frozen=True, eq=False)
class Pilots:
    """n small runs over the sources.

    ``recipes``: their mixtures and sizes in examples. ``error`` (n,): the measured error rates or losses, which a law
    is fitted to. ``top``: the error of a model that knows nothing; 0 for a loss, which has no upper bound. ``eval``:
    the name of the error. ``clusters`` (n,): runs of one training share a number. ``notes``: what was left out of the
    table.
    """

    recipes: Recipes
    error: np.ndarray
    top: float
    eval: str
    clusters: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Purchase:
    """How many examples to take in all, from which sources, within which limits. Tokens count examples."""

    pools: tuple[Pool, ...]
    budget: Budget
    limits: Limits

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources."""
        return tuple(pool.name for pool in self.pools)

    def recipes(self, law: Predictor, weights: Tensor) -> Recipes:
        """Return mixtures (k, p) as recipes, with their distance to the target if the law reads it."""
        recipes = search.on_hand(search.match(law, self.pools), [self.budget], weights)
        return law.measured(recipes) if isinstance(law, TransportPredictor | DistancePredictor) else recipes

    def cost(self, weights: Tensor) -> float:
        """Return the price of a mixture (p,)."""
        return feasible.paid(self.pools, self.budget, dict(zip(self.names, weights.tolist(), strict=True)))

    def allows(self, weights: Tensor) -> bool:
        """Return whether a mixture (p,) is within the limits."""
        money = self.limits.money
        region = region_of_limits.region(self.pools, [self.budget], replace(self.limits, money=None))
        in_bounds = (weights >= region.low[0] - ROUNDING) & (weights <= region.high[0] + ROUNDING)
        in_region = bool(in_bounds.all()) and bool((region.excess(weights[None]) <= ROUNDING).all())
        return in_region and (money is None or self.cost(weights) <= money * (1 + ROUNDING))


@dataclass(frozen=True, eq=False)
class ComparedMixture:
    """One way to take examples, such as evenly from all sources.

    ``weights`` (p,): None if it stands for the mean over several mixtures. ``distance`` to the target. With pilots also
    ``loss`` of a new run with its 90 % interval ``low``, ``high``, and ``gain``: how much lower the loss of the chosen
    mixture is, with its 90 % interval over bootstrap draws. ``allowed``: within the limits. ``cost``: None if no source
    has a price.
    """

    name: str
    weights: Tensor | None
    distance: float
    loss: float | None
    low: float | None
    high: float | None
    gain: tuple[float, float, float] | None
    allowed: bool
    cost: float | None

    def row(self) -> dict[str, object]:
        """Return a row of the comparison."""
        gain, gain_low, gain_high = self.gain or (None, None, None)
        return {
            "name": self.name,
            "distance": self.distance,
            "loss": self.loss,
            "low": self.low,
            "high": self.high,
            "gain": gain,
            "gain_low": gain_low,
            "gain_high": gain_high,
            "allowed": self.allowed,
            "cost": self.cost,
        }


@dataclass(frozen=True, eq=False)
class MixtureChoice:
    """The chosen mixture and what it was compared with.

    ``chosen``: the name of one of ``rows``, and ``why``. ``plan``: of its mixture; without pilots its loss is a
    distance. ``examples``: to take from each source. ``form``: the distance or law that decided. ``errors``: mean
    absolute error of every form on left-out pilots.
    """

    chosen: str
    why: str
    plan: Plan
    examples: Mapping[str, int]
    rows: tuple[ComparedMixture, ...]
    errors: Mapping[str, float]
    form: str

    def table(self) -> pl.DataFrame:
        """Return the comparison, one row a way to take examples.

        Columns: name, distance (in units of the target's spread), loss, low, high, gain, gain_low, gain_high, allowed,
        cost.
        """
        return pl.DataFrame([row.row() for row in self.rows], schema=SCHEMA)
