"""Additive penalty on repetition: L = E + A/N^alpha + B/D^beta + P R^delta (N/U)^kappa (Lovelace et al. 2026, arXiv
2605.01640). The paper's P, delta and kappa are not known here: fit them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws.ces import SIZE, TOKENS
from curate.runs.recipes import Recipes

LEAST = 1e-6  # repeats below this do no harm; R^delta has no derivative at 0


@dataclass(frozen=True)
class Overfit:
    """Repeated tokens count in full (D = U (1 + R)), and harm grows without bound with R = D/U - 1 and N/U.

    A and B are the size and data terms of a run of 2e8 parameters and 1e10 tokens. Several pools: R^delta is the mean
    of R_i^delta by share of tokens, and U the unique tokens seen of all pools.
    """

    name = "overfit"

    def params(self) -> tuple[Param, ...]:
        """E, A, B, P in nats: P is the harm of one repeat where there is one unique token a parameter."""
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
        """Return (n,) loss."""
        repeats = recipes.epochs - 1
        power = torch.where(repeats > LEAST, repeats.clamp_min(LEAST) ** theta["delta"], 0.0)
        fresh = torch.minimum(recipes.seen, recipes.unique).sum(dim=-1)
        penalty = theta["P"] * (recipes.weights * power).sum(dim=-1) * (recipes.params / fresh) ** theta["kappa"]
        size = theta["A"] * (recipes.params / SIZE) ** -theta["alpha"]
        return theta["E"] + size + theta["B"] * (recipes.tokens / TOKENS) ** -theta["beta"] + penalty
