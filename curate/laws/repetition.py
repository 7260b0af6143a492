"""Data-constrained scaling law (Muennighoff et al. 2023, arXiv 2305.16264)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.runs.recipes import Recipes

# A, B, E come from Chinchilla's C4 dots: right for the value of a repeat, offset as absolute losses of other setups.
PUBLISHED = {
    "E": 1.86914, "A": 520.825, "B": 1487.716, "alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743,
}  # fmt: skip


# The variant in which excess hurts, from the paper's notebook: repeats and excess at which an exponent reaches 0.
PUBLISHED_EXCESS = {"R_D": 26530.611, "R_N": 2040.8163}
FORMS = ("decay", "excess")


@dataclass(frozen=True)
class Repetition:
    """L = E + A / N'^alpha + B / D'^beta with effective parameters N' and effective tokens D'.

    D' sums U_i + U_i R_D (1 - exp(-R_i / R_D)) over the pools, R_i = max(epochs_i - 1, 0): a mixture matters through
    repetition only. N' is the same form in N over the compute-optimal size for the unique tokens seen.

    ``form="excess"`` (the notebook's alternative): N and D as they are, and the exponents shrink to
    alpha max(0, 1 - R_N' / R_N) and beta max(0, 1 - R_D' / R_D), R_D' = tokens / unique - 1 and R_N' the excess of N
    over the optimal size: repeats and parameters in excess then raise the loss again.
    """

    form: str = "decay"

    name = "repetition"

    def __post_init__(self) -> None:
        """Check the form."""
        if self.form not in FORMS:
            raise CurateError(f"repetition has no form {self.form!r}: choose one of {', '.join(FORMS)}")

    def params(self) -> tuple[Param, ...]:
        """R_D, R_N: repeats (of tokens, of excess parameters) after which 1/e of the value is left, or where (in the
        excess form) an exponent reaches 0."""
        high, likely = (1e4, (2.0, 50.0)) if self.form == "decay" else (1e6, (100.0, 1e5))
        return (
            Param("E", 0.01, 10.0, likely=(0.3, 3.0)),
            Param("A", 1e-3, 1e8, likely=(10.0, 3e3)),
            Param("B", 1e-3, 1e9, likely=(30.0, 1e4)),
            Param("alpha", 0.02, 2.0, likely=(0.2, 0.6), shared=True),
            Param("beta", 0.02, 2.0, likely=(0.2, 0.6), shared=True),
            Param("R_D", 0.1, high, likely=likely, shared=True),
            Param("R_N", 0.1, high, likely=likely, shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        alpha, beta = theta["alpha"], theta["beta"]
        data = effective_tokens(recipes, theta["R_D"]).sum(dim=-1)
        fresh = torch.minimum(recipes.seen, recipes.unique).sum(dim=-1)
        # Compute-optimal size for D tokens: alpha A / N^alpha = beta B / D^beta solved for N.
        optimal = (alpha * theta["A"] / (beta * theta["B"])) ** (1 / alpha) * fresh ** (beta / alpha)
        base = torch.minimum(recipes.params, optimal)
        if self.form == "excess":
            repeats, excess = recipes.tokens / fresh - 1, recipes.params / base - 1
            size_exponent = alpha * (1 - excess / theta["R_N"]).clamp_min(0.0)
            data_exponent = beta * (1 - repeats / theta["R_D"]).clamp_min(0.0)
            size_term = theta["A"] * recipes.params**-size_exponent
            return theta["E"] + size_term + theta["B"] * recipes.tokens**-data_exponent
        size = base * (1 + saturating(recipes.params / base - 1, theta["R_N"]))
        return theta["E"] + theta["A"] * size**-alpha + theta["B"] * data**-beta


def saturating(repeats: Tensor, scale: Tensor) -> Tensor:
    """Return scale * (1 - exp(-repeats / scale)): repeats in fresh units; expm1 keeps large scales exact."""
    return -scale * torch.expm1(-repeats.clamp_min(0.0) / scale)


def effective_tokens(recipes: Recipes, scale: Tensor) -> Tensor:
    """(n, p) tokens of each pool with its repeats discounted; ``scale`` is one number or (p,)."""
    fresh = torch.minimum(recipes.seen, recipes.unique)
    # A pool that is not limiting has unique = inf: 0 repeats, and fresh tokens as they are.
    return fresh * (1 + saturating(recipes.epochs - 1, scale))
