"""Compute what repeated tokens are worth (Muennighoff et al. 2023, arXiv 2305.16264).

All laws that discount repeats use these functions.
"""

import torch
from torch import Tensor

from curate.laws._reference import power
from curate.runs.recipes import Recipes

LEAST = 1e-6  # fewer repeats count as none: R^delta has no finite slope at R = 0 for delta < 1


def saturating(repeats: Tensor, scale: Tensor) -> Tensor:
    """Return scale * (1 - exp(-repeats / scale)): the number of fresh passes that ``repeats`` are worth."""
    # expm1 keeps the result exact where the scale is large and repeats are worth nearly as much as fresh data.
    return -scale * torch.expm1(-repeats.clamp_min(0.0) / scale)


def effective_tokens(recipes: Recipes, scale: Tensor) -> Tensor:
    """Return the (n, p) fresh tokens that the tokens of each pool are worth.

    U unique tokens seen for e > 1 epochs are worth U + U R (1 - exp(-(e - 1) / R)). ``scale`` is R, of a shape that
    broadcasts with (n, p): after R repeats, one more is worth 1/e = 0.37 of a fresh pass.
    """
    if recipes.all_fresh:
        return recipes.seen
    # A pool that never runs out has unique = inf, so it has 0 repeats.
    return recipes.fresh * (1 + saturating(recipes.epochs - 1, scale))


def powered(repeats: Tensor, exponent: Tensor) -> Tensor:
    """Return repeats ** exponent. Where there are no repeats, it is 0 and its slope is finite."""
    return torch.where(repeats > LEAST, power(repeats.clamp_min(LEAST), exponent), 0.0)
