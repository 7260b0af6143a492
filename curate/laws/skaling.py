"""Skaling: L = (A / N^alpha + B / D^beta)^k + E (arXiv 2608.07222): size and data limits that interact.

The paper finds k of .31 to .45; k = 1 is Chinchilla. Fitted constants are not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws.ces import SIZE, TOKENS
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Skaling:
    """Written with a^(1/k) (N/2e8)^-alpha for A/N^alpha and b^(1/k) (D/1e10)^-beta for B/D^beta, so that a and b are
    the losses, in nats, that size or data alone would leave at 2e8 parameters or 1e10 tokens.

    ``form="paper"``: alpha and beta free. ``form="equal"``: beta = alpha, one parameter less, which extrapolated best
    on over-trained runs (benchmarks/fitting/laws.py).
    """

    form: str = "paper"

    name = "skaling"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.form not in ("paper", "equal"):
            raise CurateError(f"law skaling has no form={self.form!r}: choose paper or equal")

    def params(self) -> tuple[Param, ...]:
        """E, a, b in nats; alpha k and beta k are the exponents that Chinchilla would have."""
        exponents = ("alpha", "beta") if self.form == "paper" else ("alpha",)
        return (
            Param("E", 0.01, 10.0, likely=(0.3, 3.0)),
            Param("a", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("b", 1e-4, 1e2, likely=(0.2, 2.0)),
            *(Param(name, 0.02, 4.0, likely=(0.3, 1.2), shared=True) for name in exponents),
            Param("k", 0.05, 2.0, likely=(0.3, 1.0), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        alpha, k = theta["alpha"], theta["k"]
        beta = theta["beta"] if self.form == "paper" else alpha
        size = theta["a"] ** (1 / k) * (recipes.params / SIZE) ** -alpha
        return theta["E"] + (size + theta["b"] ** (1 / k) * (recipes.tokens / TOKENS) ** -beta) ** k
