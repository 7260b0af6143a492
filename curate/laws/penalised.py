"""Repetition with a penalty that saturates. A law of this project."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import column, power
from curate.laws._repeats import effective_tokens
from curate.runs.recipes import Recipes

# The run at which A, B and r1 are read, about 1.8e8 parameters and 3.6e9 tokens: the middle of the 146 public runs.
SIZE, TOKENS = exp(19.0), exp(22.0)


@dataclass(frozen=True)
class Penalised:
    """Predicts the loss from size, effective tokens and a harm of repeats that saturates.

    L = E + A (N/e^19)^-alpha + B (D'/e^22)^-beta + P (N/U)^kappa sum_i h_i R_i^2 / (R_i^2 + R1^2), where R_i =
    max(epochs_i - 1, 0), and R1 = r1 (N/e^19)^-rho repeats do half of the harm. D' are the tokens with repeats
    discounted, U_i + U_i R (1 - exp(-R_i/R)) summed over pools, and U the unique tokens seen. Harm grows with N / U,
    and sets in sooner for larger models. Splitting a pool in two changes nothing.

    On 146 public data-constrained runs it extrapolates best of the forms tried: fitted on models below 2.5e8 ... 1.2e9
    parameters and tested above, its error is 2.1 to 3.3 %, that of ``repetition`` 4.2 to 6.1 %
    (benchmarks/fitting/laws.py).

    Sources: repeats, Muennighoff et al. 2023 (arXiv 2305.16264); an additive penalty, Lovelace et al. 2026 (arXiv
    2605.01640).
    """

    name = "penalised"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E, A, B, P in nats per token, r1 and R in repeats, and exponents."""
        return (
            Param("E", 0.01, 10.0, likely=_around(1.8, 0.5)),
            Param("A", 1e-5, 1e3, likely=_around(exp(-1.0), 3.0)),
            Param("B", 1e-5, 1e3, likely=_around(exp(-1.0), 3.0)),
            Param("alpha", 0.02, 2.0, likely=_around(0.35, 0.3), shared=True),
            Param("beta", 0.02, 2.0, likely=_around(0.35, 0.3), shared=True),
            Param("P", 1e-6, 1e4, likely=_around(exp(-0.6), 1.0)),
            Param("kappa", 1e-3, 10.0, likely=_around(0.9, 1.5), shared=True),
            Param("r1", 0.1, 1e5, likely=_around(exp(4.5), 1.5), shared=True),
            Param("rho", -3.0, 5.0, likely=(0.4 - 1.5, 0.4 + 1.5), positive=False, shared=True),
            Param("R", 0.1, 1e5, likely=_around(exp(4.0), 1.5), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        n = recipes.params / SIZE
        # Repeats that do half of the harm; larger models need fewer.
        half = theta["r1"] * power(n, -theta["rho"])
        repeats = (recipes.epochs - 1).clamp_min(0.0)
        harm = (recipes.weights * repeats**2 / (repeats**2 + column(half) ** 2)).sum(dim=-1)
        fresh = recipes.fresh.sum(dim=-1)
        useful = effective_tokens(recipes, column(theta["R"])).sum(dim=-1)
        penalty = theta["P"] * power(recipes.params / fresh, theta["kappa"]) * harm
        base = theta["A"] * power(n, -theta["alpha"]) + theta["B"] * power(useful / TOKENS, -theta["beta"])
        return theta["E"] + base + penalty


def _around(middle: float, width: float) -> tuple[float, float]:
    """Return the range of a factor exp(width) around ``middle``."""
    return middle * exp(-width), middle * exp(width)
