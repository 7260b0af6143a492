"""Repetition with a penalty that saturates: harm from repeats grows with N / U and sets in sooner for larger models.

A law of this project: on 146 public data-constrained runs it extrapolates best of the forms tried (fitted on N below
2.5e8 ... 1.2e9, tested above: 2.1-3.3 %, against 4.2-6.1 % for ``repetition``; benchmarks/fitting/laws.py). It joins
Muennighoff et al. 2023 (arXiv 2305.16264) and the additive penalty of Lovelace et al. 2026 (arXiv 2605.01640).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws.repetition import effective_tokens
from curate.runs.recipes import Recipes

SIZE, TOKENS = exp(19.0), exp(22.0)  # about 1.8e8 parameters and 3.6e9 tokens: where A, B and r1 are read


@dataclass(frozen=True)
class Penalised:
    """L = E + A (N/e^19)^-alpha + B (D'/e^22)^-beta + P (N/U)^kappa sum_i h_i R_i^2 / (R_i^2 + R1^2).

    R_i = max(epochs_i - 1, 0); R1 = r1 (N/e^19)^-rho repeats do half of the harm; D' are the tokens with repeats
    discounted, U_i + U_i R (1 - exp(-R_i/R)) summed over pools; U the unique tokens seen. One pool: the form fitted in
    those runs. Several: harm by share of the repeated tokens, and splitting a pool in two changes nothing.
    """

    name = "penalised"

    def params(self) -> tuple[Param, ...]:
        """E, A, B, P in nats; r1, R in repeats; the rest are exponents."""
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
        """Return (n,) loss."""
        n = recipes.params / SIZE
        half = theta["r1"] * n ** -theta["rho"]
        repeats = (recipes.epochs - 1).clamp_min(0.0)
        harm = (recipes.weights * repeats**2 / (repeats**2 + half[..., None] ** 2)).sum(dim=-1)
        fresh = torch.minimum(recipes.seen, recipes.unique).sum(dim=-1)
        useful = effective_tokens(recipes, theta["R"]).sum(dim=-1)
        penalty = theta["P"] * (recipes.params / fresh) ** theta["kappa"] * harm
        base = theta["A"] * n ** -theta["alpha"] + theta["B"] * (useful / TOKENS) ** -theta["beta"]
        return theta["E"] + base + penalty


def _around(middle: float, width: float) -> tuple[float, float]:
    return middle * exp(-width), middle * exp(width)
