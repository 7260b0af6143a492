"""D-CPT: the loss of continual pretraining from size, tokens and the share of a domain."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, TRACE, column, corpus, power
from curate.laws._repeats import effective_tokens
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Dcpt:
    """Predicts the general or the domain loss of continual pretraining from size, tokens and the domain's share.

    L = E + A / N^alpha + B r^eta / D^beta + C / (r + eps)^gamma. r is the share of the corpus whose loss is modelled:
    pool number ``pool`` (from 0; -1 is the last, the domain). N counts 2e8 parameters and D 1e10 tokens, so that A and
    B are the terms of such a run at r = 1; C is the last term at r + eps = 1.

    ``rest``: the corpus is all pools except that one, and r is 1 minus its share. This is the general loss.
    ``repeats`` (of this project): U unique tokens are worth U + U R (1 - exp(-(epochs - 1) / R)). D counts these, and
    so does r of the last term. Repeats can then only hurt. The middle term rises with r, so a fit need not have the
    shape dL/dr < 0 that the paper requires.
    ``cross`` (the paper's cross-domain law): adds F / K^mu for runs of several domains. K is the learnable coefficient
    of a run's domain, and lies in ``Recipes.distance``. K = w1 / k1 + w2 k2, with the start's loss k1 on the domain and
    its rate of decline k2 over the first steps; the paper does not publish w1 and w2.

    Source: Que et al. 2024 (arXiv 2406.01375, L3). The paper's constants are not known to this project: fit them.
    """

    pool: int = -1
    rest: bool = False
    repeats: bool = False
    cross: bool = False

    name = "dcpt"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of the formula.

        E, A, B, C and F (at K = 1) are in nats per token, eps is a share, and R counts repeats. The rest are exponents.
        """
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
        """Return (n,) losses in nats per token.

        Raises:
            CurateError: ``cross`` without a learnable coefficient in the recipes.
        """
        tokens, r = recipes.tokens, corpus(recipes.weights, self.pool, rest=self.rest)
        # Without ``repeats`` a repeated token counts as a fresh one.
        useful = r
        if self.repeats:
            worth = effective_tokens(recipes, column(theta["R"]))
            useful = corpus(worth / tokens[..., None], self.pool, rest=self.rest)
            tokens = worth.sum(dim=-1)
        size = theta["A"] * power(recipes.params / SIZE, -theta["alpha"])
        data = theta["B"] * power(r + TRACE, theta["eta"]) * power(tokens / TOKENS, -theta["beta"])
        loss = theta["E"] + size + data + theta["C"] * power(useful + theta["eps"], -theta["gamma"])
        if self.cross:
            if recipes.distance is None:
                raise CurateError(
                    "dcpt:cross=true needs the learnable coefficient K of every run's domain in Recipes.distance: "
                    "give it in a column distance.<target> of the run table, or leave out cross"
                )
            loss = loss + theta["F"] * power(recipes.distance, -theta["mu"])
        return loss
