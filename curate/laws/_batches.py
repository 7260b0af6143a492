"""Evaluate a law for many parameters at once: each with all recipes, or each with its own recipe.

In: a law, parameters with a leading axis, and recipes. Out: losses. A law that takes parameters with leading axes is
called once. Any other law runs under ``torch.func.vmap``, which costs several times as much.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.func import vmap

from curate.laws import Law
from curate.runs.recipes import Recipes


def is_batched(law: Law) -> bool:
    """Return whether a law declares that it takes parameters with leading axes; see ``Law.loss``."""
    return bool(getattr(law, "batched", False))


def all_pairs(law: Law, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
    """Return the (b, n) losses of n recipes for each of b parameters: (b,), or (b, p) with one value for each pool."""
    if not is_batched(law):
        return vmap(lambda values: law.loss(values, recipes))(dict(theta))
    # Parameters (b, 1) and (b, 1, p) broadcast with the n recipes. A law that reads no recipe returns one column.
    loss = law.loss({name: values.unsqueeze(1) for name, values in theta.items()}, recipes)
    return loss.expand(len(loss), len(recipes))


def paired(law: Law, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
    """Return the (n,) losses of n recipes, each for its own parameters: (n,), or (n, p) with a value for each pool."""
    if is_batched(law):
        return law.loss(theta, recipes)
    return vmap(lambda values, row: law.loss(values, Recipes.single(row))[0])(dict(theta), recipes.rows)
