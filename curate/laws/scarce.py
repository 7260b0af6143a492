"""Scarce target: a small target corpus that is repeated within a generic one."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, TRACE, column, power
from curate.laws._repeats import effective_tokens
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Scarce:
    """Predicts the loss on a scarce target corpus that is mixed into a generic one.

    L = E + C / N^beta + B N^delta / D_eff^alpha + gamma h, with N in 2e8 parameters and D_eff in 1e10 tokens. The
    target is pool number ``pool`` (from 0; -1 is the last), and h its share. D_eff are its D_T unique tokens times its
    passes r = h D / D_T up to one pass, and times 1 + r1 (1 - exp(-(r - 1) / r1)) beyond.

    Source: Sedova et al. 2026 (arXiv 2605.12715). The paper's constants are not known to this project: fit them.
    """

    pool: int = -1

    name = "scarce"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E, C, B in nats per token, gamma in nats of either sign, r1 in repeats, and exponents."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("C", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("B", 1e-4, 1e2, likely=(0.1, 2.0)),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.5), shared=True),
            Param("alpha", 0.02, 2.0, likely=(0.15, 0.5), shared=True),
            Param("delta", -1.0, 2.0, likely=(-0.1, 0.3), positive=False, shared=True),
            Param("gamma", -10.0, 10.0, likely=(-0.3, 0.3), positive=False),
            Param("r1", 0.1, 1e4, likely=(2.0, 50.0), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        # A trace of the target is always there, so that the loss stays finite at h = 0.
        useful = effective_tokens(recipes, column(theta["r1"]))[..., self.pool] + TRACE * recipes.tokens
        n = recipes.params / SIZE
        data = theta["B"] * power(n, theta["delta"]) * power(useful / TOKENS, -theta["alpha"])
        return (
            theta["E"] + theta["C"] * power(n, -theta["beta"]) + data + theta["gamma"] * recipes.weights[..., self.pool]
        )
