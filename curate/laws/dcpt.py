"""D-CPT law: L = E + A / N^alpha + B r^eta / D^beta + C / (r + eps)^gamma (Que et al. 2024, arXiv 2406.01375, L3).

The paper's constants per domain are not known here: fit them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws.ces import SIZE, TOKENS, TRACE
from curate.recipes import Recipes


@dataclass(frozen=True)
class Dcpt:
    """r is the share of the corpus whose loss is modelled: pool number ``pool`` (0-based; -1 the last, the domain).

    ``rest``: the corpus is all pools but that one, r = 1 minus its share: the general loss of continual pretraining.
    A and B are the terms of 2e8 parameters and 1e10 tokens at r = 1; C the last term at r + eps = 1.
    """

    pool: int = -1
    rest: bool = False

    name = "dcpt"

    def params(self) -> tuple[Param, ...]:
        """E, A, B, C in nats per token."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("A", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("B", 1e-4, 1e2, likely=(0.02, 1.0)),
            Param("C", 1e-6, 1e2, likely=(0.02, 1.0)),
            Param("alpha", 0.02, 2.0, likely=(0.25, 0.45), shared=True),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.45), shared=True),
            Param("gamma", 0.02, 5.0, likely=(0.1, 1.0)),
            Param("eta", 0.02, 5.0, likely=(0.1, 1.0)),
            Param("eps", 1e-6, 1.0, likely=(1e-3, 0.1)),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        share = recipes.weights[..., self.pool]
        r = 1 - share if self.rest else share
        size = theta["A"] * (recipes.params / SIZE) ** -theta["alpha"]
        data = theta["B"] * (r + TRACE) ** theta["eta"] * (recipes.tokens / TOKENS) ** -theta["beta"]
        return theta["E"] + size + data + theta["C"] * (r + theta["eps"]) ** -theta["gamma"]
