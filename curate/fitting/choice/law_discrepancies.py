"""Measure what laws leave open of the losses of new runs, from held-out errors, residuals and draws.

In: a weighted sum of laws, its runs and its held-out errors. Out: a `Discrepancy` of each eval.
"""

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from curate.fitting.choice import holdout
from curate.fitting.choice.held_out_errors import HeldOutErrors
from curate.fitting.fitted_laws import FittedLaw, SingleFit
from curate.runs.discrepancy import SHIFT, UNFINISHED, Discrepancy, usual_shift
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs
from curate.runs.trainings.progress import FINISHED

# How far unfinished runs of the next size are from the prediction, over that of the fitted sizes. With 1.25 the
# intervals hold 90 % of the rows inside the trainings of five pools at a third size. More makes the score of the
# intervals worse on five pools and on seven.
NEXT_UNFINISHED = 1.25
NO_PROGRESS = 0.05  # runs that did less of their training say little about runs that are nearly done
# A run that has done more of its training errs as a finished run does. Divided by its small ln(1 / progress), that
# error would say that all unfinished runs are far off.
NEARLY_DONE = 0.95


def of_evals(blend: Blend, runs: Runs, errors: HeldOutErrors) -> dict[str, Discrepancy]:
    """Return what a weighted sum of laws, fitted to ``runs``, leaves open of each eval."""
    recipes, scatters, of_one_size = runs.recipes(), errors.scatter_of_evals(), errors.scatter_of_one_size()
    last = holdout.finished(recipes, runs.clusters)
    done = recipes.take(last)
    planned = done.tokens / _progress(done)
    mixtures = len(holdout.one_of_each_mixture(done)) > 1
    discrepancies = {}
    for (name, part), scatter, one_size in zip(blend.parts().items(), scatters, of_one_size, strict=True):
        if np.isfinite(scatter):
            measured = float(scatter)
        else:
            measured = _between(part.noise, float(one_size)) if mixtures else part.noise
        discrepancies[name] = Discrepancy(
            scatter=measured if errors.rolling else max(measured, part.noise),
            contrast=_contrast(part, done, measured),
            sizes=holdout.count_of_sizes(recipes),
            smallest=float(recipes.params.min()),
            largest=float(recipes.params.max()),
            longest=float(planned.max()),
            shortest=float(planned.min()),
            unfinished=_unfinished(part, runs, name),
            shift_at_e=usual_shift(name),
        )
    return discrepancies


def _progress(recipes: Recipes) -> Tensor:
    return torch.ones_like(recipes.tokens) if recipes.progress is None else recipes.progress


def _between(noise: float, one_size: float) -> float:
    """Return the scatter at the next size where no size was predicted from two or more: the root mean square of both.

    The residuals of the fit are smaller than the scatter at a new size, above all if the law is wrong. The scatter of
    runs predicted from one size alone is larger, because that fit knew less. On five pools at a third size the scatter
    lies between the two. ``one_size`` is NaN if it is unknown.
    """
    return noise if np.isnan(one_size) else max(noise, float(np.hypot(noise, one_size)) / 2**0.5)


def _contrast(part: Blend, recipes: Recipes, scatter: float) -> float:
    """Return the standard deviation of a difference of log loss between two fitted mixtures, without the run noise.

    It is that of the draws, and of what the scatter on held-out runs has beyond the residuals of the fit.
    """
    mixtures = holdout.one_of_each_mixture(recipes)
    if len(mixtures) < 2:
        return 0.0
    budget = recipes.take(mixtures)
    largest = replace(
        budget,
        tokens=torch.full_like(budget.tokens, float(recipes.tokens.max())),
        params=torch.full_like(budget.params, float(recipes.params.max())),
    )
    draws = part.draw_losses(largest).detach().log()
    # The mean over pairs of the variance of a difference is twice the variance over mixtures of the deviation.
    of_draws = 2 * float((draws - draws.mean(dim=0)).var(dim=1).mean())
    return float(np.sqrt(of_draws + 2 * max(scatter**2 - part.noise**2, 0.0)))


def with_unfinished(kept: FittedLaw, runs: Runs) -> FittedLaw:
    """Return a predictor with the deviation of unfinished runs, measured on checkpoints that were not fitted.

    ``runs`` are the fitted trainings with all their rows.
    """
    parts = kept.parts() if isinstance(kept, Blend) else {kept.eval: kept}
    deviations = {name: _unfinished(part, runs, name) for name, part in parts.items()}

    def widened(fit: SingleFit) -> SingleFit:
        if fit.discrepancy is None:
            return fit
        return replace(fit, discrepancy=replace(fit.discrepancy, unfinished=deviations[fit.eval]))

    if isinstance(kept, Blend):
        return replace(kept, fits=tuple(widened(cast(SingleFit, fit)) for fit in kept.fits))
    return widened(kept)


def _unfinished(part: Predictor, runs: Runs, evaluation: str) -> float:
    """Return the standard deviation of a run that has done 1/e of its training; UNFINISHED if no such runs show it.

    For what a law models of a metric, UNFINISHED is as many times larger as the usual shift of such a fit. Where runs
    show it, it is NEXT_UNFINISHED times the root mean square residual of those that were fitted or could have been,
    each divided by the root of ln(1 / progress), or by that of NEARLY_DONE if it is nearer to its end.
    """
    recipes = runs.recipes()
    progress = _progress(recipes)
    measured = torch.from_numpy(np.isfinite(runs.loss(evaluation, missing=True)).copy())
    rows = torch.nonzero(measured & (progress < FINISHED) & (progress >= NO_PROGRESS))[:, 0]
    if not len(rows):
        return UNFINISHED * usual_shift(evaluation) / SHIFT
    truth = torch.from_numpy(runs.loss(evaluation, missing=True)[rows.numpy()])
    residual = part.loss(recipes.take(rows)).detach().log() - truth.log()
    distance = progress[rows].clamp_max(NEARLY_DONE).log()
    return NEXT_UNFINISHED * float((residual**2 / -distance).mean().sqrt())
