"""Power law in tokens: y = a n^-b + c (Hestness et al. 2017, arXiv 1712.00409)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.runs.recipes import Recipes

TOKENS = 1e9  # tokens at which a is read


@dataclass(frozen=True)
class Power:
    """y = a (n / 1e9)^-b + c: tokens seen only; size, mixture and repetition do not enter."""

    name = "power"

    def params(self) -> tuple[Param, ...]:
        """a, c in units of y; b an exponent."""
        return (
            Param("a", 1e-6, 1e3, likely=(0.1, 3.0)),
            Param("b", 0.01, 3.0, likely=(0.1, 0.6), shared=True),
            Param("c", 1e-4, 10.0, likely=(0.3, 3.0)),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        return theta["a"] * (recipes.tokens / TOKENS) ** -theta["b"] + theta["c"]
