"""Warn where a recipe lies outside the runs that a law was fitted to, and where repeats of a pool harm.

In: fits and one recipe. Out: lines of text.
"""

from collections.abc import Sequence

from curate.pool import repeats
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

NEAR = 1.01  # up to so many times the fitted range is no extrapolation: it is rounding of the budget
SMALL_SHARE = 0.02  # a share below it is too small to matter, so it is never called an extrapolation
NO_SHARE = 1e-3  # shares below it count as zero: a ratio of two of them would say nothing


def warnings(fits: Sequence[Predictor], recipe: Recipes) -> tuple[str, ...]:
    """Return one line for each number of a recipe (n = 1) that lies outside what all fits have seen.

    The numbers are tokens, parameters, the share of each pool, and the most passes over a pool, which count only beyond
    the first. Further lines warn of repeats that are known to harm.
    """
    pools = fits[0].pools
    shares, epochs = recipe.weights[0].tolist(), recipe.epochs[0].tolist()
    numbers = {"tokens": float(recipe.tokens[0]), "params": float(recipe.params[0]), "epochs": max(epochs)}
    numbers |= {f"share of {name}": share * (share >= NO_SHARE) for name, share in zip(pools, shares, strict=True)}
    # Below these, a number counts as fitted even if no run had it.
    always_fitted = {"epochs": 1.0} | {f"share of {name}": SMALL_SHARE for name in pools}
    lines = []
    for name, value in numbers.items():
        smallest = max(fit.ranges[name][0] for fit in fits)
        largest = min(fit.ranges[name][1] for fit in fits)
        if value > max(largest, always_fitted.get(name, 0.0)) * NEAR:
            times = f"{value / largest:.3g}x" if largest > 0 else "above"
            lines.append(f"extrapolated: {name} {value:.3g} is {times} the largest fitted ({largest:.3g})")
        if value < smallest / NEAR and smallest > always_fitted.get(name, 0.0) and name != "epochs":
            times = f"{smallest / value:.3g}x below" if value > 0 else "below"
            lines.append(f"extrapolated: {name} {value:.3g} is {times} the smallest fitted ({smallest:.3g})")
    for name, passes in zip(pools, epochs, strict=True):
        if harm := repeats.warning(passes - 1, numbers["params"]) or repeats.spent(passes):
            lines.append(f"{name}: {harm}")
    return tuple(lines)
