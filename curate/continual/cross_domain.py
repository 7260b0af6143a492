"""One law over several domains, told apart by how learnable each is (Que et al. 2024, arXiv 2406.01375).

Fit ``dcpt:cross=true`` to runs of several domains, each row with its domain's K in ``Recipes.distance``; then
``of_domain(fit, K)`` is the fit of a domain that was never run.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite

from torch import Tensor

from curate import open_sets
from curate.errors import SchemaError
from curate.fitting.fit import Fit

CROSS = "cross=true"


def learnability(initial: float, decline: float, *, weights: tuple[float, float] = (1.0, 1.0)) -> float:
    """Return K = w1 / k1 + w2 k2, the learnable coefficient of a domain.

    ``initial``: k1, the start's validation loss on it; ``decline``: k2, its rate of decline over the first steps (about
    1 % of a run). The paper's weights are not known here: choose them on domains that were run.
    """
    k = weights[0] / initial + weights[1] * decline
    if not (isfinite(k) and k > 0):
        raise SchemaError(
            f"initial loss {initial:g} and decline {decline:g} give the learnable coefficient {k:g}: it must be over 0"
        )
    return k


def of_domain(fit: Fit, learnable: float) -> Fit:
    """Return the fit of ``dcpt:cross=true`` for the domain with K = ``learnable``: its F / K^mu becomes part of E."""
    name, options = open_sets.parse(fit.spec)
    if name != "dcpt" or not options.pop("cross", False):
        raise SchemaError(f"{fit.spec} knows no domains: fit dcpt:{CROSS} to runs of several, each with its K")
    rest = ",".join(f"{key}={str(value).lower()}" for key, value in options.items())
    spec = f"{name}:{rest}" if rest else name
    return replace(fit, spec=spec, theta=_joined(fit.theta, learnable), draws=_joined(fit.draws, learnable))


def _joined(theta: Mapping[str, Tensor], learnable: float) -> dict[str, Tensor]:
    kept = {name: value for name, value in theta.items() if name not in ("F", "mu")}
    return kept | {"E": theta["E"] + theta["F"] * learnable ** -theta["mu"]}
