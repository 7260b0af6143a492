"""Forgetting: how much a model loses on old data while it is fine-tuned on new data."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, TRACE, power
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Forgetting:
    """Predicts the loss on old data after fine-tuning on new data.

    A share p of old data is mixed into the new data. L = E + A D^beta / ((1 + B p) N)^alpha, with D new tokens in 1e10
    and N parameters in 2e8. The new corpus is pool number ``pool`` (from 0; -1 is the last), and p the share of all
    others. E is the old loss before fine-tuning. A is the rise after 1e10 new tokens at 2e8 parameters without old
    data. The factor 1 + B p multiplies the parameters that the old task keeps. ``sizes``: the runs differ in size, and
    E + H (N / 2e8)^-h replaces E.

    Source: Bethune et al. 2025 (arXiv 2502.06042). The formula was known to this project from notes only, without
    fitted constants: fit them.
    """

    pool: int = -1
    sizes: bool = False

    name = "forgetting"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of the formula.

        E, A and H are in nats per token. B has no unit. beta, alpha and h are exponents.
        """
        core = (
            Param("E", 0.01, 10.0, likely=(0.5, 4.0)),
            Param("A", 1e-5, 1e2, likely=(0.05, 2.0)),
            Param("B", 1e-2, 1e7, likely=(10.0, 1e4)),
            Param("beta", 0.02, 3.0, likely=(0.1, 0.7), shared=True),
            Param("alpha", 0.02, 3.0, likely=(0.1, 0.7), shared=True),
        )
        size = (
            Param("H", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("h", 0.02, 2.0, likely=(0.25, 0.45), shared=True),
        )
        return core + size * self.sizes

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses on the old data after fine-tuning, in nats per token."""
        n, new = recipes.params / SIZE, recipes.weights[..., self.pool]
        # Old data acts as if the old task kept more parameters.
        kept = (1 + theta["B"] * (1 - new)) * n
        rise = theta["A"] * power((new + TRACE) * recipes.tokens / TOKENS, theta["beta"]) * power(kept, -theta["alpha"])
        before = theta["E"] + theta["H"] * power(n, -theta["h"]) if self.sizes else theta["E"]
        return before + rise
