"""Forgetting under fine-tuning with injected pretraining data: L = L0 + A D^beta / ((1 + B p) N)^alpha (Bethune et al.
2025, arXiv 2502.06042).

The symbols of the formula were known to this project from notes only, and no fitted constants: fit them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws.ces import SIZE, TOKENS, TRACE
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Forgetting:
    """The old loss after fine-tuning: p is the share of injected old data, D the tokens seen of the new corpus.

    The new corpus is pool number ``pool`` (0-based; -1 the last), p the share of all others. E is the old loss before;
    A the rise by 1e10 new tokens at 2e8 parameters without injection; 1 + B p multiplies the parameters that the old
    task keeps. ``sizes``: the runs differ in size, and E + H (N / 2e8)^-h stands for E.
    """

    pool: int = -1
    sizes: bool = False

    name = "forgetting"

    def params(self) -> tuple[Param, ...]:
        """E, A, H in nats; B times parameters; beta, alpha, h exponents."""
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
        """Return (n,) old loss."""
        n, new = recipes.params / SIZE, recipes.weights[..., self.pool]
        kept = (1 + theta["B"] * (1 - new)) * n
        rise = theta["A"] * ((new + TRACE) * recipes.tokens / TOKENS) ** theta["beta"] * kept ** -theta["alpha"]
        before = theta["E"] + theta["H"] * n ** -theta["h"] if self.sizes else theta["E"]
        return before + rise
