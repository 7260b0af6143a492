"""CES: pools that replace each other only in part. A law of this project."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, TRACE, column, log_mean, power
from curate.laws._repeats import effective_tokens
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Ces:
    """Predicts the loss from size and effective tokens, to which pools contribute as partial substitutes.

    L = E + A (N / 2e8)^-alpha + B (D_eff / 1e10)^-beta, D_eff = (sum_i k_i D_i^g)^(1/g), where D_i are the tokens of
    pool i with its repeats discounted: U_i + U_i R (1 - exp(-R_i / R)), R_i = max(epochs_i - 1, 0). D_eff is scaled so
    that equal fresh shares count in full; a common factor of k changes nothing. With g = 1 pools are perfect
    substitutes; with small g every pool is needed. With one pool this is Chinchilla in effective tokens.

    ``tied``: one R for all pools; otherwise one for each.

    Sources: constant elasticity of substitution, Arrow et al. 1961 (Rev. Econ. Stat. 43); repeats, Muennighoff et al.
    2023 (arXiv 2305.16264).
    """

    tied: bool = True

    name = "ces"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E, A, B in nats per token, exponents, R in repeats, and values k (p,) without a unit."""
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
        """Return (n,) losses in nats per token."""
        scale = column(theta["R"]) if self.tied else theta["R"]
        shares = effective_tokens(recipes, scale) / recipes.tokens[..., None]
        data = recipes.tokens * log_mean(shares, theta["k"], theta["g"], TRACE).exp()
        size = theta["A"] * power(recipes.params / SIZE, -theta["alpha"])
        return theta["E"] + size + theta["B"] * power(data / TOKENS, -theta["beta"])
