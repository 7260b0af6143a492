"""InfoLaw: information from buckets of falling quality, less the more often they repeat."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws._reference import column, power
from curate.runs.recipes import Recipes

# Liu et al. 2026. The unit of M is inferred: billions of tokens give the level of loss of the paper. Relative losses
# and the best mixture do not depend on it.
PUBLISHED = {"theta": 0.922, "a": 0.140, "b": 0.018, "alpha": 3.7373, "beta": 0.0441}
BILLION = 1e9


@dataclass(frozen=True)
class Infolaw:
    """Predicts the loss from size and from buckets of data by quality, whose repeats tell less and less.

    L = alpha info^-beta, info = sum_d exp(-theta d) M_d ln K (1 - exp(-lambda R_d / ln K)), lambda = a ln N + b. The
    pools are quality buckets d = 0, 1 ... from best to worst, in that order. K are all tokens of the run, M_d the
    unique tokens seen of bucket d in billions, and R_d >= 1 its passes. In the paper no bucket has a larger share than
    a better one.

    Source: Liu et al. 2026 (arXiv 2605.02364).
    """

    name = "infolaw"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return theta (log quality lost a bucket), a and b of the rate lambda, alpha in nats per token, and beta."""
        return (
            Param("theta", 1e-3, 10.0, likely=(0.3, 2.0), shared=True),
            Param("a", 0.01, 10.0, likely=(0.05, 0.4), shared=True),
            # The lower bound keeps lambda positive, since a ln N is over 0.1 for every real model.
            Param("b", -0.1, 5.0, likely=(-0.05, 0.5), positive=False, shared=True),
            Param("alpha", 0.1, 50.0, likely=(2.0, 8.0)),
            Param("beta", 1e-3, 1.0, likely=(0.02, 0.1), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        log_tokens = column(recipes.tokens.log())
        rate = column(theta["a"] * recipes.params.log() + theta["b"])
        unique = recipes.fresh / BILLION
        quality = torch.exp(-column(theta["theta"]) * torch.arange(unique.shape[-1], dtype=torch.float64))
        # expm1 is exact where few passes teach little.
        learned = -log_tokens * torch.expm1(-rate * recipes.epochs.clamp_min(1.0) / log_tokens)
        return theta["alpha"] * power((quality * unique * learned).sum(dim=-1), -theta["beta"])
