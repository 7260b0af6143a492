"""Over-training: one slope in compute at every ratio of tokens to parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import power
from curate.runs.recipes import Recipes

# Gadre et al. 2024: the loss on C4 eval, by training corpus. Their code has the exponent 2 eta, not eta.
PUBLISHED = {
    "c4": {"E": 1.508, "a": 141.28, "b": 189.52, "eta": 0.1212},
    "redpajama": {"E": 1.837, "a": 212.24, "b": 366.69, "eta": 0.1364},
    "refinedweb": {"E": 1.734, "a": 157.12, "b": 246.21, "eta": 0.1272},
}


@dataclass(frozen=True)
class Overtraining:
    """Predicts the loss from compute and the ratio of tokens to parameters.

    L = E + (a M^eta + b M^-eta) C^-eta with C = 6 N D and M = D / N. Because M^eta C^-eta = (6 N^2)^-eta and M^-eta
    C^-eta = (6 D^2)^-eta, this is Chinchilla with one exponent, 2 eta, for both N and D.

    Source: Gadre et al. 2024 (arXiv 2403.08540).
    """

    name = "overtraining"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return E in nats per token, a and b (whose units depend on eta), and the exponent eta."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("a", 1e-2, 1e7, likely=(30.0, 1e3)),
            Param("b", 1e-2, 1e7, likely=(30.0, 2e3)),
            Param("eta", 0.01, 1.0, likely=(0.1, 0.2), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        eta = theta["eta"]
        size = theta["a"] * power(6 * recipes.params**2, -eta)
        return theta["E"] + size + theta["b"] * power(6 * recipes.tokens**2, -eta)
