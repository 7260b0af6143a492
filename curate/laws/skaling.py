"""Skaling: limits of size and of data that interact."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws._reference import SIZE, TOKENS, power
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Skaling:
    """Predicts the loss from size and tokens, whose limits interact.

    L = (A / N^alpha + B / D^beta)^k + E. k = 1 is Chinchilla; the paper finds .31 to .45. It is written with a^(1/k)
    (N / 2e8)^-alpha for A / N^alpha, and b^(1/k) (D / 1e10)^-beta for B / D^beta. So a and b are the losses in nats
    that size alone would leave at 2e8 parameters, and data alone at 1e10 tokens.

    ``form="paper"``: alpha and beta are free. ``form="equal"``: beta = alpha, one parameter less; this extrapolated
    best on over-trained runs (benchmarks/fitting/laws.py).

    Source: arXiv 2608.07222. Its fitted constants are not known to this project: fit them.
    """

    form: str = "paper"

    name = "skaling"
    batched = True

    def __post_init__(self) -> None:
        """Check that the form exists."""
        if self.form not in ("paper", "equal"):
            raise CurateError(f"law skaling has no form={self.form!r}: choose paper or equal")

    def params(self) -> tuple[Param, ...]:
        """Return E, a, b in nats per token, and exponents; alpha k and beta k compare with those of Chinchilla."""
        exponents = ("alpha", "beta") if self.form == "paper" else ("alpha",)
        return (
            Param("E", 0.01, 10.0, likely=(0.3, 3.0)),
            Param("a", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("b", 1e-4, 1e2, likely=(0.2, 2.0)),
            *(Param(name, 0.02, 4.0, likely=(0.3, 1.2), shared=True) for name in exponents),
            Param("k", 0.05, 2.0, likely=(0.3, 1.0), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        alpha, k = theta["alpha"], theta["k"]
        beta = theta["beta"] if self.form == "paper" else alpha
        size = power(theta["a"], 1 / k) * power(recipes.params / SIZE, -alpha)
        data = power(theta["b"], 1 / k) * power(recipes.tokens / TOKENS, -beta)
        return theta["E"] + power(size + data, k)
