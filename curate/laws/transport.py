"""Error from the transport distance of the mixture to the target, pooled over sizes: log L linear in log n and OT.

The distance as the predictor is Kang et al. 2023 (arXiv 2307.02460); one bounded log-error form over all sizes instead
of a fit per size and a projection is a choice of this project (`curate.selection.published_forms` holds the published
forms).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.errors import SchemaError
from curate.laws import Param
from curate.runs.recipes import Recipes

TOKENS = 1e3  # tokens (examples) at which a is read


@dataclass(frozen=True)
class Transport:
    """z = a (n / 1e3)^-b exp(c OT + t.p + q.p^2); L = floor + z, or top z / (top + z) where there is a ``top``.

    ``top``: the loss of a model that knows nothing (chance error), 0: no bound. ``floor``: with an irreducible loss.
    ``shares``: 0: the distance alone; 1: also linear in the shares; 2: also in their squares; t and q are drawn to 0.
    Repetition does not enter: a distance cannot see it.
    """

    top: float = 0.0
    floor: bool = False
    shares: int = 0
    distance: bool = True

    name = "transport"

    def params(self) -> tuple[Param, ...]:
        """a, floor in units of L; b an exponent; c log loss a unit of distance; t, q (p,) log loss a unit of share."""
        found = [
            Param("a", 1e-6, 1e4, likely=(0.01, 10.0)),
            Param("b", 0.01, 2.0, likely=(0.1, 0.6), shared=True),
        ]
        if self.distance:
            found.append(Param("c", 1e-3, 300.0, likely=(0.3, 10.0)))
        if self.floor:
            found.append(Param("floor", 1e-4, 30.0, likely=(0.01, 3.0)))
        for name in ("t", "q")[: self.shares]:
            found.append(Param(name, -20.0, 20.0, likely=(-1.0, 1.0), per_pool=True, positive=False))
        return tuple(found)

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss; recipes without a distance are an error."""
        power = -theta["b"] * (recipes.tokens / TOKENS).log()
        if self.distance:
            if recipes.distance is None:
                raise SchemaError(
                    "the transport law needs the distance of every mixture to the target, and these recipes have none: "
                    "give a run table with a column distance.<target> (several: choose by --target), or give samples "
                    "of the sources and the target to `curate select`"
                )
            power = power + theta["c"] * recipes.distance
        if self.shares > 0:
            power = power + recipes.weights @ theta["t"]
        if self.shares > 1:
            power = power + recipes.weights**2 @ theta["q"]
        z = theta["a"] * power.exp()
        if self.top:
            z = self.top * z / (self.top + z)
        return z + theta["floor"] if self.floor else z
