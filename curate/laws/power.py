"""A power law in training tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import power
from curate.runs.recipes import Recipes

TOKENS = 1e9  # a is the term at this count, so that it is in units of y


@dataclass(frozen=True)
class Power:
    """Predicts a loss or an error from training tokens alone.

    y = a (n / 1e9)^-b + c. Size, mixture and repetition do not enter.

    Source: Hestness et al. 2017 (arXiv 1712.00409).
    """

    name = "power"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return a and c in units of y, and the exponent b."""
        return (
            Param("a", 1e-6, 1e3, likely=(0.1, 3.0)),
            Param("b", 0.01, 3.0, likely=(0.1, 0.6), shared=True),
            Param("c", 1e-4, 10.0, likely=(0.3, 3.0)),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        return theta["a"] * power(recipes.tokens / TOKENS, -theta["b"]) + theta["c"]
