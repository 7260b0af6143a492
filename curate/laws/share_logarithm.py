"""The loss of continual pretraining as a line in the logarithm of a corpus's share, at one budget."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import corpus
from curate.laws._share_forms import check_start, ends
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class ShareLogarithm:
    """Predicts the general or the domain loss of continual pretraining from the share of the domain.

    The loss is linear in ln(r + eps), where r is the share of the corpus whose loss is modelled. Without ``rest`` this
    corpus is pool number ``pool`` (from 0; -1 is the last, the domain). With ``rest`` it is all other pools, the
    replay. The loss is ``none`` at a domain share R of 0, and ``full`` at R = 1: L = none + (full - none) g, with g =
    ln((r + eps) / (r0 + eps)) / ln((r1 + eps) / (r0 + eps)). r0 and r1 are the values of r at R = 0 and R = 1.
    ``start`` is the loss of the start model: the centre of a weak prior for none, or 0 if it is not known. All runs
    must have the same size and tokens.

    Source: in the tables of Ibrahim et al. 2024 (arXiv 2403.08763) the loss is nearly linear in ln r.
    """

    pool: int = -1
    rest: bool = False
    start: float = 0.0

    name = "share_logarithm"
    batched = True

    def __post_init__(self) -> None:
        """Check the start's loss."""
        check_start(self.name, self.start)

    def params(self) -> tuple[Param, ...]:
        """Return the losses none (at R = 0) and full (at R = 1) in nats per token, and eps, a share."""
        return (*ends(self.start), Param("eps", 1e-7, 1.0, likely=(1e-3, 0.1)))

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        r, eps = corpus(recipes.weights, self.pool, rest=self.rest), theta["eps"]
        risen = ((r + eps) / eps).log() / ((1 + eps) / eps).log()  # from 0 at r = 0 to 1 at r = 1
        return theta["none"] + (theta["full"] - theta["none"]) * (1 - risen if self.rest else risen)
