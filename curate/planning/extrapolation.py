"""What a recipe asks of fits beyond the runs that they saw, and repeats that harm, in words."""

from collections.abc import Sequence

from curate.pool import repeats
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

NEAR = 1.01  # times the fitted range up to which nothing is said
SMALL_SHARE = 0.02  # a share below it is not called an extrapolation
NO_SHARE = 1e-3  # what a share below it is of the fitted ones says nothing


def warnings(fits: Sequence[Predictor], recipe: Recipes) -> tuple[str, ...]:
    """Return one line for each of tokens, params, shares and epochs of one recipe (n = 1) outside what all fits saw.

    Passes over a pool are one only beyond the first.
    """
    pools = fits[0].pools
    shares, epochs = recipe.weights[0].tolist(), recipe.epochs[0].tolist()
    asked = {"tokens": float(recipe.tokens[0]), "params": float(recipe.params[0]), "epochs": max(epochs)}
    asked |= {f"share of {name}": share * (share >= NO_SHARE) for name, share in zip(pools, shares, strict=True)}
    least = {"epochs": 1.0} | {f"share of {name}": SMALL_SHARE for name in pools}
    found = []
    for what, value in asked.items():
        smallest = max(one.ranges[what][0] for one in fits)
        largest = min(one.ranges[what][1] for one in fits)
        if value > max(largest, least.get(what, 0.0)) * NEAR:
            times = f"{value / largest:.3g}x" if largest > 0 else "above"
            found.append(f"extrapolated: {what} {value:.3g} is {times} the largest fitted ({largest:.3g})")
        if value < smallest / NEAR and smallest > least.get(what, 0.0) and what != "epochs":
            times = f"{smallest / value:.3g}x below" if value > 0 else "below"
            found.append(f"extrapolated: {what} {value:.3g} is {times} the smallest fitted ({smallest:.3g})")
    for name, passes in zip(pools, epochs, strict=True):
        if said := repeats.warning(passes - 1, asked["params"]) or repeats.spent(passes):
            found.append(f"{name}: {said}")
    return tuple(found)
