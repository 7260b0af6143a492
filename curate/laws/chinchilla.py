"""Chinchilla, the scaling law in model size and training tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import power
from curate.runs.recipes import Recipes

# The replication of Besiroglu et al. 2024 (arXiv 2404.10102); standard errors E .0257, alpha .0154, beta .0206.
PUBLISHED = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


@dataclass(frozen=True)
class Chinchilla:
    """Predicts the loss from model size and training tokens alone.

    L = E + A / N^alpha + B / D^beta, with N in parameters and D in tokens, repeats counted. Every mixture and every
    repeated token counts the same.

    Source: Hoffmann et al. 2022 (arXiv 2203.15556), the parametric fit of section 3.3.
    """

    name = "chinchilla"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E in nats per token, A and B (whose units depend on the exponents), and exponents alpha and beta."""
        return (
            Param("E", 0.01, 10.0, likely=(0.3, 3.0)),
            # Wide ranges: the units of A and B change with the exponents.
            Param("A", 1e-3, 1e8, likely=(10.0, 3e3)),
            Param("B", 1e-3, 1e9, likely=(30.0, 1e4)),
            Param("alpha", 0.02, 2.0, likely=(0.2, 0.6), shared=True),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.6), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        size = theta["A"] * power(recipes.params, -theta["alpha"])
        return theta["E"] + size + theta["B"] * power(recipes.tokens, -theta["beta"])
