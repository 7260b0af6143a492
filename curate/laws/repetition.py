"""The data-constrained scaling law, in which repeated tokens are worth less than fresh ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws._reference import column, power
from curate.laws._repeats import effective_tokens, saturating
from curate.runs.recipes import Recipes

# Muennighoff et al. 2023. A, B and E are fitted to Chinchilla's runs on C4: they give the value of a repeat, but the
# losses of other setups are shifted.
PUBLISHED = {
    "E": 1.86914,
    "A": 520.825,
    "B": 1487.716,
    "alpha": 0.3526596,
    "beta": 0.3526596,
    "R_D": 15.387756,
    "R_N": 5.309743,
}

# The variant in which excess hurts, from the paper's notebook: the repeats, and the excess of parameters, at which an
# exponent reaches 0.
PUBLISHED_EXCESS = {"R_D": 26530.611, "R_N": 2040.8163}
FORMS = ("decay", "excess")


@dataclass(frozen=True)
class Repetition:
    """Predicts the loss from effective parameters and effective tokens, in which repeats count less.

    L = E + A / N'^alpha + B / D'^beta. D' sums U_i + U_i R_D (1 - exp(-R_i / R_D)) over the pools, with R_i =
    max(epochs_i - 1, 0); so a mixture matters through repetition only. N' has the same form in the excess of N over the
    compute-optimal size for the unique tokens seen.

    ``form="excess"`` is the alternative of the paper's notebook. N and D count in full, and the exponents shrink to
    alpha max(0, 1 - R_N' / R_N) and beta max(0, 1 - R_D' / R_D), where R_D' = tokens / unique - 1, and R_N' is the
    excess of N over the optimal size. Repeats and parameters in excess then raise the loss again.

    Source: Muennighoff et al. 2023 (arXiv 2305.16264).
    """

    form: str = "decay"

    name = "repetition"
    batched = True

    def __post_init__(self) -> None:
        """Check that the form exists."""
        if self.form not in FORMS:
            raise CurateError(f"repetition has no form {self.form!r}: choose one of {', '.join(FORMS)}")

    def params(self) -> tuple[Param, ...]:
        """Return E in nats per token, A and B (whose units depend on the exponents), alpha, beta, R_D and R_N.

        R_D and R_N count repeats of tokens and of excess parameters: those after which a further one is worth 1/e, or
        in the form "excess" those at which an exponent reaches 0.
        """
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
        """Return (n,) losses in nats per token."""
        alpha, beta = theta["alpha"], theta["beta"]
        data = effective_tokens(recipes, column(theta["R_D"])).sum(dim=-1)
        fresh = recipes.fresh.sum(dim=-1)
        # Compute-optimal size for D tokens: alpha A / N^alpha = beta B / D^beta solved for N.
        optimal = power(alpha * theta["A"] / (beta * theta["B"]), 1 / alpha) * power(fresh, beta / alpha)
        # Parameters beyond the optimal size for the unique tokens count less, as repeats do.
        base = torch.minimum(recipes.params, optimal)
        if self.form == "excess":
            repeats, excess = recipes.tokens / fresh - 1, recipes.params / base - 1
            size_exponent = alpha * (1 - excess / theta["R_N"]).clamp_min(0.0)
            data_exponent = beta * (1 - repeats / theta["R_D"]).clamp_min(0.0)
            size_term = theta["A"] * power(recipes.params, -size_exponent)
            return theta["E"] + size_term + theta["B"] * power(recipes.tokens, -data_exponent)
        size = base * (1 + saturating(recipes.params / base - 1, theta["R_N"]))
        return theta["E"] + theta["A"] * power(size, -alpha) + theta["B"] * power(data, -beta)
