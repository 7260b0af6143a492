"""Joint mixture law: the mixture changes the floor and the size and data terms of the loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, power
from curate.laws.mixture_additive import MixtureAdditive, inverse_sum
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class MixtureJoint:
    """Predicts the loss from size, tokens and a mixture that also changes the size and data terms.

    L = E + 1 / sum_i C_i h_i^g_i + A q_A(h) / N^alpha + B q_B(h) / D^beta, with N in 2e8 parameters and D in 1e10
    tokens. q(h) is 1 / sum_i C_i h_i^g_i over its value at equal shares. The best mixture changes with the budget.
    Repetition does not enter. It has 5 + 6 p parameters, and needs many runs.

    Source: Shukor et al. 2025 (arXiv 2507.09404), the joint law. The form of q is the one in which this project
    refitted public runs.
    """

    name = "mixture_joint"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of ``mixture_additive``, and C_A, g_A, C_B and g_B (p,) of the two factors."""
        factors = tuple(
            Param(f"{name}_{term}", low, high, likely=likely, per_pool=True)
            for term in "AB"
            for name, low, high, likely in (("C", 1e-6, 1e6, (0.135, 7.4)), ("g", 1e-3, 10.0, (0.037, 0.27)))
        )
        return MixtureAdditive().params() + factors

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        h = recipes.weights
        # Relative to equal shares, so that A and B keep their meaning as terms of the reference run.
        equal = torch.full_like(h[..., :1, :], 1 / h.shape[-1])
        factor = {}
        for term in "AB":
            c, g = theta[f"C_{term}"], theta[f"g_{term}"]
            factor[term] = inverse_sum(h, c, g) / inverse_sum(equal, c, g)
        size = theta["A"] * factor["A"] * power(recipes.params / SIZE, -theta["alpha"])
        data = theta["B"] * factor["B"] * power(recipes.tokens / TOKENS, -theta["beta"])
        return theta["E"] + inverse_sum(h, theta["C"], theta["g"]) + size + data
