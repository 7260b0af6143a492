"""Predict the largest loss or regret over several evals, so that a plan can make it small.

In: a fit of several evals. Out: a `Worst`, which a plan minimises as it minimises a loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from curate.errors import SchemaError, first_few
from curate.planning import aims, search
from curate.planning.aims import Aim, Worst
from curate.pool.pool import Budget, Pool
from curate.runs.predictors import paired_draws
from curate.runs.predictors.predictor import Predictor


def alone(aim: Aim) -> Aim:
    """Return the aim of a plan for one eval alone. Its loss is the level from which a regret is counted."""
    return replace(aim, worst=None, prior=None, strength=0.0)


def largest_loss(fit: Predictor) -> Worst:
    """Return a predictor of the largest loss over the evals of ``fit``.

    Raises:
        SchemaError: if the fit has one eval only.
    """
    parts = several(fit)
    ones = (1.0,) * len(parts)
    return Worst(parts, (0.0,) * len(parts), ones, f"worst of {first_few(part.eval for part in parts)}")


def largest_regret(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    mixtures: Sequence[Mapping[str, float]],
    levels: Sequence[float],
) -> Worst:
    """Return a predictor of the largest excess over the lowest loss of each eval of ``fit``.

    ``mixtures`` and ``levels`` have one entry an eval: the best mixture for that eval alone, and its loss.
    """
    target, ordered = largest_loss(fit), search.match(fit, pools)
    drawn = []
    for part, mixture in zip(target.parts, mixtures, strict=True):
        shares = torch.tensor([[mixture[pool.name] for pool in ordered]], dtype=torch.float64)
        drawn.append(part.draw_losses(search.on_hand(ordered, [budget], shares)).detach()[:, 0])
    return replace(target, levels=tuple(levels), drawn_levels=paired_draws.stacked(drawn))


def several(fit: Predictor) -> tuple[Predictor, ...]:
    """Return the predictors of the evals of a fit, of which there must be two or more."""
    parts = aims.evals(fit)
    if len(parts) < 2:
        raise SchemaError(
            f"the worst of several evals needs several: this fit has only {parts[0].eval}; fit more at once"
        )
    return parts
