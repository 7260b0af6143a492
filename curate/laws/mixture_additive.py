"""Additive mixture law: the mixture changes the floor of the loss, size and tokens the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, TRACE, power
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class MixtureAdditive:
    """Predicts the loss from size, tokens and a mixture that changes the floor only.

    L = E + 1 / sum_i C_i h_i^g_i + A / N^alpha + B / D^beta, with N in 2e8 parameters and D in 1e10 tokens. The best
    mixture is therefore the same at every size and budget. Repetition does not enter.

    Source: Shukor et al. 2025 (arXiv 2507.09404), the additive law.
    """

    name = "mixture_additive"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E, A, B in nats per token, C (p,) in 1 / nats, and exponents alpha, beta and g (p,)."""
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
        """Return (n,) losses in nats per token."""
        size = theta["A"] * power(recipes.params / SIZE, -theta["alpha"])
        data = theta["B"] * power(recipes.tokens / TOKENS, -theta["beta"])
        return theta["E"] + inverse_sum(recipes.weights, theta["C"], theta["g"]) + size + data


def inverse_sum(shares: Tensor, c: Tensor, g: Tensor) -> Tensor:
    """Return (n,) values of 1 / sum_i c_i h_i^g_i from shares (n, p)."""
    return 1 / (c * power(shares + TRACE, g)).sum(dim=-1)
