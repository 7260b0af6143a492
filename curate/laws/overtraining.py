"""Over-training: L = E + (a M^eta + b M^-eta) C^-eta, C = 6ND, M = D/N (Gadre et al. 2024, arXiv 2403.08540).

Constants: the paper's, loss on C4 eval, one set a training corpus. Trap: eta is half of the exponent in their code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.runs.recipes import Recipes

PUBLISHED = {
    "c4": {"E": 1.508, "a": 141.28, "b": 189.52, "eta": 0.1212},
    "redpajama": {"E": 1.837, "a": 212.24, "b": 366.69, "eta": 0.1364},
    "refinedweb": {"E": 1.734, "a": 157.12, "b": 246.21, "eta": 0.1272},
}


@dataclass(frozen=True)
class Overtraining:
    """Chinchilla with one exponent 2 eta for N and D: the same slope in compute at every tokens-per-parameter M.

    M^eta C^-eta = (6 N^2)^-eta and M^-eta C^-eta = (6 D^2)^-eta.
    """

    name = "overtraining"

    def params(self) -> tuple[Param, ...]:
        """E in nats per token; a and b are identified only jointly with eta."""
        return (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("a", 1e-2, 1e7, likely=(30.0, 1e3)),
            Param("b", 1e-2, 1e7, likely=(30.0, 2e3)),
            Param("eta", 0.01, 1.0, likely=(0.1, 0.2), shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        eta = theta["eta"]
        size = theta["a"] * (6 * recipes.params**2) ** -eta
        return theta["E"] + size + theta["b"] * (6 * recipes.tokens**2) ** -eta
