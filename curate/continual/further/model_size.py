"""Model size against training tokens at fixed compute and a fixed mixture (Que et al. 2024, arXiv 2406.01375)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from curate.continual import share_path
from curate.errors import FitError, SchemaError, first_few
from curate.planning import extrapolation
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

SIZES = 401  # that are compared, even in their logarithm; the best is then refined between its neighbours
WIDEST = 1e4  # sizes are compared up to so many times beyond those fitted, on either side
TAILS = torch.tensor([0.05, 0.95], dtype=torch.float64)  # of a 90 % interval


@dataclass(frozen=True)
class ModelSize:
    """The parameters and tokens with the lowest loss for a given compute, 6 x parameters x tokens.

    ``params_low``, ``params_high``: 90 % interval of the best size over the bootstrap draws. ``loss``, ``low``,
    ``high``: loss of a new run with its 90 % interval, in nats per token.
    """

    budget: Budget
    params_low: float
    params_high: float
    loss: float
    low: float
    high: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, float]:
        """Return an item of the list ``sizes`` of cmr.json."""
        return {
            "flops": self.budget.flops,
            "params": self.budget.params,
            "params_low": self.params_low,
            "params_high": self.params_high,
            "tokens": self.budget.tokens,
            "loss": self.loss,
            "low": self.low,
            "high": self.high,
        }


def best_size(
    predictor: Predictor, flops: float, weights: Mapping[str, float], *, pools: Sequence[Pool] = ()
) -> ModelSize:
    """Return the parameters N and tokens D = flops / (6 N) with the lowest predicted loss.

    ``weights``: the mixture, which is fixed. ``pools``: unique tokens; a pool that is not listed never runs out.

    Raises:
        FitError: if all runs have the same size, which says nothing about size.
        SchemaError: if the compute is not positive, or a pool is not in the fit.
    """
    smallest, largest = predictor.ranges["params"]
    if smallest == largest:
        raise FitError(
            f"all runs have {smallest:.3g} parameters: they say nothing about size; add runs of another size, or fix N"
        )
    recipes = _recipes(predictor, flops, weights, pools)
    log_sizes = torch.linspace(np.log(smallest / WIDEST), np.log(largest * WIDEST), SIZES, dtype=torch.float64)
    compared = recipes(log_sizes)
    best = int(predictor.loss(compared).argmin())
    inside = 0 < best < SIZES - 1
    warnings = [] if inside else ["loss has no lowest point in size: the law trades size for tokens one way"]
    refined = minimize_scalar(
        lambda log_n: float(predictor.loss(recipes(torch.tensor([log_n], dtype=torch.float64)))[0]),
        bounds=(float(log_sizes[max(best - 1, 0)]), float(log_sizes[min(best + 1, SIZES - 1)])),
        method="bounded",
        options={"xatol": 1e-6},
    )
    recipe = recipes(torch.tensor([float(refined.x)], dtype=torch.float64))
    low, high = (float(bound[0]) for bound in predictor.interval(recipe))
    best_of_draws = log_sizes[predictor.draw_losses(compared).argmin(dim=1)]
    params_low, params_high = torch.quantile(best_of_draws, TAILS).exp().tolist()
    return ModelSize(
        budget=Budget(float(recipe.tokens[0]), float(recipe.params[0])),
        params_low=params_low,
        params_high=params_high,
        loss=float(predictor.loss(recipe)[0]),
        low=low,
        high=high,
        warnings=(*warnings, *extrapolation.warnings([predictor], recipe)),
    )


def _recipes(
    predictor: Predictor, flops: float, weights: Mapping[str, float], pools: Sequence[Pool]
) -> Callable[[Tensor], Recipes]:
    """Return a function from (n,) logarithms of the size to n recipes of this compute and mixture."""
    if not (isfinite(flops) and flops > 0):
        raise SchemaError(f"compute of {flops:g} FLOPs: it must be positive, for example 1e20 = 6 N D")
    names = predictor.pools
    if unknown := sorted(set(weights) - set(names)):
        raise SchemaError(f"no pool {unknown[0]!r} in the fit: it knows {first_few(names, near=unknown[0])}")
    mixture = torch.tensor([[weights.get(name, 0.0) for name in names]], dtype=torch.float64)
    unique = share_path.unique_tokens(names, pools)

    def recipes(log_params: Tensor) -> Recipes:
        params = log_params.exp()
        n = len(params)
        return Recipes(mixture.expand(n, -1), flops / (6 * params), params, unique.expand(n, -1))

    return recipes
