"""CMR: the loss of continual pretraining as a power of the domain's share, and the critical share at a budget."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import TRACE, power
from curate.laws._share_forms import check_start, ends
from curate.runs.recipes import Recipes

# Constants of eq. 8 for the domain Finance and 20B tokens, by model size (Gu et al. 2024, table 5).
PUBLISHED = {
    "460M": {"a4": 0.22524761, "s4": 0.26944345, "b3": -0.48139982},
    "940M": {"a4": 0.7520627, "s4": 0.13720245, "b3": -1.06581937},
    "1.6B": {"a4": -2.36384831, "s4": -0.15125569, "b3": 1.59223649},
    "3.1B": {"a4": -2.5368197, "s4": -0.42071423, "b3": 0.84375368},
}
UNIT = 0.2e9  # tokens; T of eq. 8 counts these


@dataclass(frozen=True)
class Cmr:
    """Predicts the general or the domain loss of continual pretraining from the share of the domain.

    L = none + (full - none) R^s, where R is the share of pool number ``pool`` (from 0; -1 is the last, the domain). The
    paper writes L = alpha R^s + beta, so alpha = full - none and beta = none. The loss of the domain falls with R (full
    < none); the general loss rises. ``start`` is the loss of the start model: the centre of a weak prior for none, or 0
    if it is not known. All runs must have the same size and tokens, since the law has no term for either.

    Source: Gu et al. 2024 (arXiv 2407.17467).
    """

    pool: int = -1
    start: float = 0.0

    name = "cmr"
    batched = True

    def __post_init__(self) -> None:
        """Check the start's loss."""
        check_start(self.name, self.start)

    def params(self) -> tuple[Param, ...]:
        """Return the losses none (at R = 0) and full (at R = 1) in nats per token, and the exponent s."""
        # Near share 1 the general loss can rise very steeply: s = 26 on D-CPT's published table (shares .9 to 1).
        return (*ends(self.start), Param("s", 0.01, 100.0, likely=(0.15, 2.0), shared=True))

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        share = recipes.weights[..., self.pool] + TRACE
        return theta["none"] + (theta["full"] - theta["none"]) * power(share, theta["s"])


def critical_share(constants: Mapping[str, float], tokens: float) -> float:
    """Return the critical share of the domain after ``tokens`` of continual pretraining, clipped to [0, 1].

    R_CMR = a4 T^s4 + b3 with T in 0.2B tokens (Gu et al. 2024, arXiv 2407.17467, eq. 8).
    """
    # The power law leaves [0, 1] at small and at large budgets.
    share = constants["a4"] * float((tokens / UNIT) ** constants["s4"]) + constants["b3"]
    return min(1.0, max(0.0, share))
