"""CES: Chinchilla in effective tokens with constant elasticity of substitution between pools (Arrow et al. 1961,
Rev. Econ. Stat. 43), with the repetition of Muennighoff et al. 2023 (arXiv 2305.16264); a law of this project.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws.repetition import effective_tokens
from curate.runs.recipes import Recipes

SIZE, TOKENS = 2e8, 1e10  # reference run: A and B are its size and data terms, in nats
TRACE = 1e-6  # share of every pool that the others hold anyway: gradients stay finite where a share is 0


@dataclass(frozen=True)
class Ces:
    """L = E + A (N / 2e8)^-alpha + B (D_eff / 1e10)^-beta, D_eff = (sum_i k_i D_i^g)^(1/g).

    D_i = U_i + U_i R (1 - exp(-R_i / R)), R_i = max(epochs_i - 1, 0): tokens of pool i, repeats discounted. D_eff is in
    tokens at equal fresh shares, so a common factor of k does nothing. g = 1: perfect substitutes; small g: every pool
    is needed. ``tied``: one R for all pools, else one each. One pool: Chinchilla in effective tokens.
    """

    tied: bool = True

    name = "ces"

    def params(self) -> tuple[Param, ...]:
        """E, A, B in nats; k (p,) values; R repeats after which 1/e of the value is left."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("A", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("B", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("alpha", 0.02, 2.0, likely=(0.25, 0.45), shared=True),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.45), shared=True),
            Param("g", 0.02, 2.0, likely=(0.15, 0.75)),
            Param("R", 0.1, 1e4, likely=(2.0, 50.0), per_pool=not self.tied, shared=True),
            Param("k", 1e-6, 1e6, likely=(0.135, 7.4), per_pool=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        shares = effective_tokens(recipes, theta["R"]) / recipes.tokens[..., None]
        data = recipes.tokens * log_value(shares, theta["k"], theta["g"], TRACE).exp()
        size = theta["A"] * (recipes.params / SIZE) ** -theta["alpha"]
        return theta["E"] + size + theta["B"] * (data / TOKENS) ** -theta["beta"]


def log_value(shares: Tensor, k: Tensor, g: Tensor, trace: Tensor | float) -> Tensor:
    """(n,) log of the k-weighted power mean with exponent g of shares (n, p), over its value at equal shares 1/p.

    (1/g) [ln sum_i k_i (h_i + trace)^g - ln sum_i k_i p^-g]: 0 at equal shares, -ln r where all shares are 1/r of that.
    """
    top = (k * (shares + trace) ** g).sum(dim=-1)
    return (top.log() - k.sum(dim=-1).log()) / g + math.log(shares.shape[-1])
