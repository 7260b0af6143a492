"""The contract of a law: a pure torch float64 function of parameters and recipe, used both to fit and to plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Param:
    """One parameter (``per_pool``: a vector of p). ``low``, ``high`` are hard bounds.

    ``likely`` is the range it has in most published fits: fits start there, and it is the +-1 standard deviation range
    of a weak prior, which decides only what the runs cannot. ``positive``: fitted on a log scale. ``shared``: evals of
    the same runs have nearly the same value (exponents), so that fits of several evals draw it to their median.
    """

    name: str
    low: float
    high: float
    likely: tuple[float, float]
    per_pool: bool = False
    positive: bool = True
    shared: bool = False


class Law(Protocol):
    """A frozen dataclass without data: the same instance fits any runs. The file name is the name."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    def params(self) -> tuple[Param, ...]:
        """Return its parameters, in the order in which they are stored."""
        ...

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss in nats per token; no branch on values, so that it can be differentiated and batched."""
        ...
