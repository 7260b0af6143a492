"""Farseer: a data term whose factor and exponent depend on model size."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.laws import Param
from curate.laws._reference import power
from curate.runs.recipes import Recipes

# Li et al. 2025: in bits per character (nats per token: times ln 2 and characters a token). N counts parameters without
# embeddings, 1e8 to 2.5e10; D 1e9 to 5e11 tokens.
PUBLISHED = {
    "s": -0.062465473,
    "q": 0.13,
    "S": 0.1284880679442551,
    "B": 230.73437075885855,
    "b": 0.1729,
    "Q": -1.544209554,
    "A": -1.665630816,
    "a": 0.0459,
    "E": 3.133347198805445,
}


@dataclass(frozen=True)
class Farseer:
    """Predicts the loss from model size and training tokens, with a data term that changes with size.

    L = exp(s N^q + S) + exp(B N^b + Q) D^-exp(A N^a + E). Its nine parameters fit dense grids of sizes and tokens very
    well, and explode on few runs. The exponent b is positive here; the paper writes -b.

    Source: Li et al. 2025 (arXiv 2506.10972).
    """

    name = "farseer"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of the formula.

        s, q and S belong to the floor. B, b and Q belong to the factor of the data term, A, a and E to its exponent.
        """
        return (
            Param("s", -2.0, 0.5, likely=(-0.12, 0.0), positive=False),
            Param("q", 0.01, 0.5, likely=(0.08, 0.2), shared=True),
            Param("S", -5.0, 5.0, likely=(-0.5, 2.0), positive=False),
            Param("B", 1.0, 1e4, likely=(50.0, 800.0)),
            Param("b", 0.02, 0.5, likely=(0.13, 0.22), shared=True),
            Param("Q", -10.0, 10.0, likely=(-3.0, 2.0), positive=False),
            Param("A", -10.0, 2.0, likely=(-2.5, -0.5), positive=False),
            Param("a", 0.005, 0.3, likely=(0.03, 0.07), shared=True),
            Param("E", -3.0, 15.0, likely=(1.0, 4.0), positive=False),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token (or in the unit of the runs)."""
        n = recipes.params
        floor = theta["s"] * power(n, theta["q"]) + theta["S"]
        # Far from a fit the exponents overflow. They are held below 50 (and 5 within), which no run reaches.
        exponent = (theta["A"] * power(n, theta["a"]) + theta["E"]).clamp_max(5.0).exp()
        data = theta["B"] * power(n, -theta["b"]) + theta["Q"] - exponent * recipes.tokens.log()
        return floor.clamp_max(50.0).exp() + data.clamp_max(50.0).exp()
