"""Let any law predict unfinished runs too, whose learning rate has still to fall."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Law, Param
from curate.runs.recipes import Recipes

# The likely range is that of fits to seven pools at 122M parameters and to five pools at 70M to 305M
# (benchmarks/fitting/checkpoints.py).
TERM = (
    Param("unfinished", -3.0, 3.0, likely=(-0.1, 0.1), positive=False, shared=True),
    Param("unfinished_squared", -3.0, 3.0, likely=(-0.1, 0.1), positive=False, shared=True),
)


@dataclass(frozen=True)
class Unfinished:
    """Multiplies the loss of unfinished runs.

    L = L' exp(s r + q r^2), where L' is the loss that ``law`` gives for a finished run of as many tokens, and r = 1 -
    progress is the part of the training that remains. s is ``unfinished`` and q ``unfinished_squared``, without unit.
    They are nearly the same for all evals of the same runs. A finished run has r = 0, so the term changes nothing.

    A form of this project. To multiply only the part of the loss above its floor is no better
    (benchmarks/fitting/checkpoints.py), and not every law has a parameter for its floor.
    """

    law: Law

    @property
    def name(self) -> str:
        """The name of the law."""
        return self.law.name

    @property
    def batched(self) -> bool:
        """Whether the law takes parameters with leading axes."""
        return bool(getattr(self.law, "batched", False))

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of the law, and those of the term."""
        return (*self.law.params(), *TERM)

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        loss = self.law.loss(theta, recipes)
        if recipes.progress is None:
            return loss
        slope, curvature = (theta[param.name] for param in TERM)
        return loss * (slope * recipes.remaining + curvature * recipes.remaining**2).exp()
