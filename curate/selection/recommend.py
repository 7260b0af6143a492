"""Recommend one of several mixtures: the nearest, unless another is better by more than the law's own error."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.runs.predictors.predictor import Predictor
from curate.selection.purchase import Purchase

NEAREST, LAW, PILOT, UNIFORM = "nearest", "law", "best pilot", "uniform"
TAILS = torch.tensor([0.05, 0.95], dtype=torch.float64)  # of a 90 % interval
SAME = 2e-4  # total difference of shares below which two mixtures are the same


@dataclass(frozen=True)
class Recommendation:
    """The name of the recommended mixture, and why."""

    name: str
    why: str


def recommend(law: Predictor, purchase: Purchase, mixtures: Mapping[str, Tensor], error: float) -> Recommendation:
    """Begin with the nearest mixture, and move to another that is clearly better.

    Clearly better: in 95 % of the bootstrap draws the loss is lower by more than ``error``, a share of the loss. The
    draws cannot show a wrong form of the law; its error on left-out pilots can.
    """
    chosen = NEAREST
    why = f"the pilots promise less than {error:.2g} of the loss, which is how far the law errs on left-out pilots"
    for name in (LAW, PILOT, UNIFORM):
        if not purchase.allows(mixtures[name][0]):
            continue
        gain, gain_low, _ = gains(law, purchase, torch.cat([mixtures[name], mixtures[chosen]]))[1]
        if gain_low > error * _loss(law, purchase, mixtures[chosen]):
            why = f"predicted {gain:.3g} better than {chosen}, at least {gain_low:.3g} in 95 % of draws"
            chosen = name
    return Recommendation(chosen, why + _against_uniform(law, purchase, mixtures, chosen, error))


def gains(law: Predictor, purchase: Purchase, weights: Tensor) -> list[tuple[float, float, float]]:
    """Return the loss of each mixture (k, p) minus that of the first: value, and 5 % and 95 % over paired draws."""
    recipes = purchase.recipes(law, weights)
    values, draws = law.loss(recipes), law.draw_losses(recipes)
    low, high = torch.quantile(draws - draws[:, :1], TAILS, dim=0)
    return list(zip((values - values[0]).tolist(), low.tolist(), high.tolist(), strict=True))


def _against_uniform(
    law: Predictor, purchase: Purchase, mixtures: Mapping[str, Tensor], chosen: str, error: float
) -> str:
    """Return a warning if the pilots cannot tell the chosen mixture from the uniform one, else nothing.

    In our trials the chosen mixture was then worse than the uniform one at times.
    """
    both = torch.cat([mixtures[chosen], mixtures[UNIFORM]])
    if float((both[0] - both[1]).abs().sum()) < SAME or not purchase.allows(both[1]):
        return ""
    gain, gain_low, _ = gains(law, purchase, both)[1]
    margin = error * _loss(law, purchase, mixtures[UNIFORM])
    if gain_low > margin:
        return ""
    return (
        f". These pilots cannot tell it from the uniform mixture: the gain predicted is {gain:.3g}, at least "
        f"{gain_low:.3g} in 95 % of draws, where the law errs by {margin:.3g}. Train both before you buy"
    )


def _loss(law: Predictor, purchase: Purchase, weights: Tensor) -> float:
    return float(law.loss(purchase.recipes(law, weights)).detach())
