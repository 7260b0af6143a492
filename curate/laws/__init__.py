"""Scaling and mixing laws, one a file: the loss of a run from its recipe, and the contract that they keep.

In: parameters and recipes, as float64 tensors. Out: losses in nats per token, differentiable in both. May use: runs.
The file name is the name on the command line. Files that begin with an underscore are helpers, not laws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Param:
    """One parameter of a law, between the hard bounds ``low`` and ``high``.

    ``likely`` is the range in most published fits. Fits start there, and it is the range of +-1 standard deviation of a
    weak prior, which decides only what the runs cannot. ``per_pool``: the parameter is a vector (p,). ``positive``: it
    is fitted on a log scale. ``shared``: evals of the same runs have nearly the same value, as exponents do; fits of
    several evals draw it to their median.
    """

    name: str
    low: float
    high: float
    likely: tuple[float, float]
    per_pool: bool = False
    positive: bool = True
    shared: bool = False


class Law(Protocol):
    """Predicts the loss of recipes. A frozen dataclass without data, so that the same instance fits any runs."""

    @property
    def name(self) -> str:
        """The name on the command line, which is that of the file."""
        ...

    def params(self) -> tuple[Param, ...]:
        """Return the parameters, in the order in which they are stored."""
        ...

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token.

        ``theta`` holds a scalar for each parameter, or (p,) with one value for each pool. The function has no branch on
        values, so that it can be differentiated and batched.

        A law with the attribute ``batched = True`` also takes parameters with leading axes. Its fits are then several
        times as fast. A parameter is (..., n) or (..., 1), one with a value for each pool (..., n, p) or (..., 1, p),
        and the losses are (..., n). Such a law combines parameters and recipes by broadcasting. A parameter gets a last
        axis of length 1 where it meets values of pools, as in ``weights ** g[..., None]``, and ``(weights *
        t).sum(dim=-1)`` replaces ``weights @ t``.
        """
        ...
