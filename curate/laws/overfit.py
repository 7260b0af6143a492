"""Overfitting: Chinchilla with a penalty on repetition that grows without bound."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, column, power
from curate.laws._repeats import powered
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Overfit:
    """Predicts the loss from size, tokens and a penalty on repetition that grows without bound.

    L = E + A / N^alpha + B / D^beta + P R^delta (N / U)^kappa, with R = D / U - 1 repeats of U unique tokens. In the
    first terms N counts 2e8 parameters and D 1e10 tokens, repeated tokens in full. With several pools R^delta is the
    mean of R_i^delta over the shares, and U are the unique tokens seen of all pools.

    Source: Lovelace et al. 2026 (arXiv 2605.01640). The paper's P, delta and kappa are not known to this project: fit
    them.
    """

    name = "overfit"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E, A, B in nats per token, exponents, and P, the harm in nats of one repeat where N = U."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("A", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("B", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("alpha", 0.02, 2.0, likely=(0.25, 0.45), shared=True),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.45), shared=True),
            Param("P", 1e-8, 1e3, likely=(2e-3, 0.2)),
            Param("delta", 0.02, 5.0, likely=(0.25, 1.2), shared=True),
            Param("kappa", 0.02, 5.0, likely=(0.3, 1.5), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        repeats = recipes.epochs - 1
        risen = powered(repeats, column(theta["delta"]))
        fresh = recipes.fresh.sum(dim=-1)
        penalty = theta["P"] * (recipes.weights * risen).sum(dim=-1) * power(recipes.params / fresh, theta["kappa"])
        size = theta["A"] * power(recipes.params / SIZE, -theta["alpha"])
        return theta["E"] + size + theta["B"] * power(recipes.tokens / TOKENS, -theta["beta"]) + penalty
