"""CMR scaling law: L(R) = alpha R^s + beta in the domain's share R at one budget (Gu et al. 2024, arXiv 2407.17467).

The same paper's eq. 8, R_CMR = a4 T^s4 + b3 with T in 0.2B tokens, gives the critical share at a budget; PUBLISHED are
its constants (table 5, Finance, 20B tokens, by model size).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws.ces import TRACE
from curate.runs.recipes import Recipes

PUBLISHED = {
    "460M": {"a4": 0.22524761, "s4": 0.26944345, "b3": -0.48139982},
    "940M": {"a4": 0.7520627, "s4": 0.13720245, "b3": -1.06581937},
    "1.6B": {"a4": -2.36384831, "s4": -0.15125569, "b3": 1.59223649},
    "3.1B": {"a4": -2.5368197, "s4": -0.42071423, "b3": 0.84375368},
}
UNIT = 0.2e9  # tokens


@dataclass(frozen=True)
class Cmr:
    """Written as L = none + (full - none) R^s: alpha = full - none of either sign, beta = none.

    R is the share of pool number ``pool`` (0-based; -1 the last, the domain). For runs of one size and one budget:
    neither enters. full < none: the domain's loss; full > none: the general loss.
    """

    pool: int = -1

    name = "cmr"

    def params(self) -> tuple[Param, ...]:
        """none, full: nats per token without the domain and with nothing else; s an exponent."""
        return (
            Param("none", 0.01, 30.0, likely=(0.7, 5.0)),
            Param("full", 0.01, 30.0, likely=(0.7, 5.0)),
            Param("s", 0.01, 20.0, likely=(0.15, 2.0), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        share = recipes.weights[..., self.pool] + TRACE
        return theta["none"] + (theta["full"] - theta["none"]) * share ** theta["s"]


def critical_share(constants: Mapping[str, float], tokens: float) -> float:
    """Return the critical share of the domain at ``tokens`` of continual pretraining (eq. 8), held to [0, 1]."""
    share = constants["a4"] * float((tokens / UNIT) ** constants["s4"]) + constants["b3"]
    return min(1.0, max(0.0, share))
