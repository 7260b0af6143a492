"""Data mixing law: L = c + k * exp(sum_i t_i h_i) at one budget (Ye et al. 2024, arXiv 2403.16952)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Mixing:
    """Mixture only: tokens, size and repetition do not enter. t_i < 0 where pool i lowers the loss.

    k and a common shift of all t are the same thing (the shares sum to 1), so k is held at 1.
    """

    name = "mixing"

    def params(self) -> tuple[Param, ...]:
        """c in nats per token; t (p,) free of sign."""
        return (
            Param("c", 0.01, 10.0, likely=(0.3, 3.0)),
            Param("t", -15.0, 8.0, likely=(-2.0, 2.0), per_pool=True, positive=False),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        return theta["c"] + (recipes.weights @ theta["t"]).exp()
