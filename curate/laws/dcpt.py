"""D-CPT law: L = E + A / N^alpha + B r^eta / D^beta + C / (r + eps)^gamma (Que et al. 2024, arXiv 2406.01375, L3).

The paper's constants per domain are not known here: fit them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws.ces import SIZE, TOKENS, TRACE
from curate.laws.repetition import effective_tokens
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Dcpt:
    """r is the share of the corpus whose loss is modelled: pool number ``pool`` (0-based; -1 the last, the domain).

    ``rest``: the corpus is all pools but that one, r = 1 minus its share: the general loss of continual pretraining.
    A and B are the terms of 2e8 parameters and 1e10 tokens at r = 1; C the last term at r + eps = 1.

    ``repeats`` (ours): U unique tokens are worth U + U R (1 - exp(-(epochs - 1) / R)); D counts these, and so does the
    last term's r, over tokens seen. Repeats can then only hurt; the middle term rises with r by itself, so that a fit
    need not have the paper's required shape dL/dr < 0.
    ``cross`` (the paper's cross-domain law): runs of several domains with + F / K^mu. K is the domain's learnable
    coefficient, one number a run in ``Recipes.distance``: K = w1 / k1 + w2 k2, with the start's loss k1 on the domain
    and its rate of decline k2 over the first steps. The paper does not publish w1 and w2.
    """

    pool: int = -1
    rest: bool = False
    repeats: bool = False
    cross: bool = False

    name = "dcpt"

    def params(self) -> tuple[Param, ...]:
        """E, A, B, C in nats per token, F at K = 1; R repeats after which 1/e of the value is left."""
        core = (
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
        repeated = (Param("R", 0.1, 1e4, likely=(2.0, 50.0), shared=True),)
        crossed = (Param("F", 1e-4, 1e2, likely=(0.1, 2.0)), Param("mu", 0.02, 5.0, likely=(0.2, 2.0)))
        return core + repeated * self.repeats + crossed * self.cross

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        tokens, r = recipes.tokens, self._share(recipes.weights)
        useful = r
        if self.repeats:
            worth = effective_tokens(recipes, theta["R"])
            tokens, useful = worth.sum(dim=-1), self._share(worth / tokens[..., None])
        size = theta["A"] * (recipes.params / SIZE) ** -theta["alpha"]
        data = theta["B"] * (r + TRACE) ** theta["eta"] * (tokens / TOKENS) ** -theta["beta"]
        loss = theta["E"] + size + data + theta["C"] * (useful + theta["eps"]) ** -theta["gamma"]
        if self.cross:
            if recipes.distance is None:
                raise CurateError(
                    "dcpt:cross=true needs the learnable coefficient K of every run's domain in Recipes.distance: "
                    "give it in a column distance.<target> of the run table, or leave out cross"
                )
            loss = loss + theta["F"] * recipes.distance ** -theta["mu"]
        return loss

    def _share(self, parts: Tensor) -> Tensor:
        """(n, p) parts of the pools to (n,): the corpus whose loss is modelled."""
        own = parts[..., self.pool]
        return parts.sum(dim=-1) - own if self.rest else own
