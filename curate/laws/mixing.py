"""Data mixing law: the loss as an exponential function of the shares, at one budget."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Mixing:
    """Predicts the loss from the mixture alone, at one size and one token count.

    L = c + k exp(sum_i t_i h_i), where t_i < 0 if pool i lowers the loss. Because the shares sum to 1, a factor k is
    the same as a common shift of all t; so k is held at 1. Tokens, size and repetition do not enter.

    Source: Ye et al. 2024 (arXiv 2403.16952).
    """

    name = "mixing"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return c in nats per token, and t (p,) of either sign."""
        return (
            Param("c", 0.01, 10.0, likely=(0.3, 3.0)),
            # Both signs: a pool may help or hurt this eval.
            Param("t", -15.0, 8.0, likely=(-2.0, 2.0), per_pool=True, positive=False),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        return theta["c"] + (recipes.weights * theta["t"]).sum(dim=-1).exp()
