"""The loss of continual pretraining as an exponential of the domain's share, at one budget."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import growth
from curate.laws._share_forms import check_start, ends
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class ShareExponential:
    """Predicts the general or the domain loss of continual pretraining from the share of the domain.

    L = none + (full - none) (e^(k R) - 1) / (e^k - 1), where R is the share of pool number ``pool`` (from 0; -1 is the
    last, the domain). This is c + exp(k R + b) or c - exp(k R + b), where none and full are the values at R = 0 and R
    = 1. With k = 0 it is linear in R. ``start`` is the loss of the start model: the centre of a weak prior for none,
    or 0 if it is not known. All runs must have the same size and tokens.

    Source: the released notebook of Ye et al. 2024 (arXiv 2403.16952).
    """

    pool: int = -1
    start: float = 0.0

    name = "share_exponential"
    batched = True

    def __post_init__(self) -> None:
        """Check the start's loss."""
        check_start(self.name, self.start)

    def params(self) -> tuple[Param, ...]:
        """Return the losses none (at R = 0) and full (at R = 1) in nats per token, and the rate k."""
        return (*ends(self.start), Param("k", -60.0, 60.0, likely=(-3.0, 3.0), positive=False))

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        share, k = recipes.weights[..., self.pool], theta["k"]
        return theta["none"] + (theta["full"] - theta["none"]) * share * growth(k * share) / growth(k)
