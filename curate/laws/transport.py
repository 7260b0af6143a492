"""Transport: predict the error from the optimal-transport distance between a mixture and the target."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from curate.errors import SchemaError
from curate.laws import Param
from curate.runs.recipes import Recipes

TOKENS = 1e3  # examples; a is the term at this count, about that of a pilot


@dataclass(frozen=True)
class Transport:
    """Predicts the loss or the error from training tokens and the distance of the mixture to the target.

    z = a (n / 1e3)^-b exp(c OT + t.h + q.h^2), with OT the transport distance and h the shares. L = floor + z; with a
    ``top``, z is replaced by top z / (top + z). Repetition does not enter, because a distance cannot see it.

    ``top`` is the loss of a model that knows nothing (for an error: chance); 0 means no bound. ``floor``: with an
    irreducible loss. ``shares``: 0 uses the distance alone, 1 adds a linear term in the shares, and 2 one in their
    squares; the prior draws t and q to 0. ``distance``: false leaves the distance out.

    Source: the distance as predictor, Kang et al. 2023 (arXiv 2307.02460). One form over all sizes, in place of a fit
    for each size and a projection, is a choice of this project; `curate.selection.published_forms` has the
    published way.
    """

    top: float = 0.0
    floor: bool = False
    shares: int = 0
    distance: bool = True

    name = "transport"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return the parameters a, b, c, floor, t (p,) and q (p,).

        a and floor have the units of the fitted losses or errors. b is an exponent. c, t and q are in log loss for a
        unit of distance, of share, and of squared share.
        """
        params = [
            Param("a", 1e-6, 1e4, likely=(0.01, 10.0)),
            Param("b", 0.01, 2.0, likely=(0.1, 0.6), shared=True),
        ]
        if self.distance:
            params.append(Param("c", 1e-3, 300.0, likely=(0.3, 10.0)))
        if self.floor:
            params.append(Param("floor", 1e-4, 30.0, likely=(0.01, 3.0)))
        for name in ("t", "q")[: self.shares]:
            params.append(Param(name, -20.0, 20.0, likely=(-1.0, 1.0), per_pool=True, positive=False))
        return tuple(params)

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token, or error rates if the law was fitted to errors.

        Raises:
            SchemaError: if the recipes have no distances.
        """
        power = -theta["b"] * (recipes.tokens / TOKENS).log()
        if self.distance:
            if recipes.distance is None:
                raise SchemaError(
                    "the law transport needs the distance of each mixture to the target; the recipes have none. Add "
                    "a column distance.<target> to the run table (choose one of several with --target), or give "
                    "samples of the sources and of the target to `curate select`"
                )
            power = power + theta["c"] * recipes.distance
        if self.shares > 0:
            power = power + (recipes.weights * theta["t"]).sum(dim=-1)
        if self.shares > 1:
            power = power + (recipes.weights**2 * theta["q"]).sum(dim=-1)
        z = theta["a"] * power.exp()
        if self.top:
            # A saturating form: small errors stay as they are, and none exceeds the top.
            z = self.top * z / (self.top + z)
        return z + theta["floor"] if self.floor else z
