"""L = E + 1 / sum_i C_i h_i^g_i + A / N^alpha + B / D^beta (Shukor et al. 2025, arXiv 2507.09404)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws.ces import SIZE, TOKENS, TRACE
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class MixtureAdditive:
    """The mixture moves the floor only: the best mixture is the same at every size. Repetition does not enter.

    A and B are the size and data terms of a run of 2e8 parameters and 1e10 tokens.
    """

    name = "mixture_additive"

    def params(self) -> tuple[Param, ...]:
        """E, A, B in nats; C (p,) in 1 / nats; g (p,) exponents."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("A", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("B", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("alpha", 0.02, 2.0, likely=(0.25, 0.45), shared=True),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.45), shared=True),
            Param("C", 1e-6, 1e6, likely=(0.135, 7.4), per_pool=True),
            Param("g", 1e-3, 10.0, likely=(0.037, 0.27), per_pool=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        size = theta["A"] * (recipes.params / SIZE) ** -theta["alpha"]
        data = theta["B"] * (recipes.tokens / TOKENS) ** -theta["beta"]
        return theta["E"] + inverse_sum(recipes.weights, theta["C"], theta["g"]) + size + data


def inverse_sum(shares: Tensor, c: Tensor, g: Tensor) -> Tensor:
    """(n,) 1 / sum_i c_i h_i^g_i of shares (n, p); TRACE keeps its gradient finite where a share is 0."""
    return 1 / (c * (shares + TRACE) ** g).sum(dim=-1)
