"""Keep the best law of a comparison or average the good ones, and refit them on all runs.

In: a comparison of laws on held-out runs. Out: a predictor with its held-out error and its discrepancy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from curate import open_sets
from curate.errors import FitError
from curate.fitting.boosted import Boosted
from curate.fitting.choice import holdout
from curate.fitting.choice.held_out_errors import HeldOutErrors
from curate.fitting.choice.without_formula import BOOSTED
from curate.fitting.compare import Comparison, compare, fit_all
from curate.fitting.fitted_laws import SingleFit
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.runs.discrepancy import BLIND_SHIFT, SHIFT, UNFINISHED, Discrepancy, usual_shift
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs
from curate.runs.trainings.progress import FINISHED

# A law whose scatter is more than this many times the smallest is left out of an average. On the public runs with
# repetition this keeps the one law that describes repeats; on the others it changes the error by less than a tenth.
WORST_RATIO = 1.5
# How far unfinished runs of the next size are from the prediction, over that of the fitted sizes. With 1.25 the
# intervals hold 90 % of the rows inside the trainings of five pools at a third size. More makes the score of the
# intervals worse on five pools and on seven.
NEXT_UNFINISHED = 1.25
WIDER = 1.2  # times the scatter of the expected error: from there on the sentence on it names that of the intervals
NO_PROGRESS = 0.05  # runs that did less of their training say little about runs that are nearly done
# A run that has done more of its training errs as a finished run does. Divided by its small ln(1 / progress), that
# error would say that all unfinished runs are far off.
NEARLY_DONE = 0.95
SHOWN_EXCESS = 5e-4  # of log loss: a smaller part of the expected error is not named

Kept: TypeAlias = SingleFit | Blend


def choose(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = holdout.ROLLING,
    options: FitOptions = DEFAULTS,
) -> tuple[Kept, Comparison]:
    """Compare laws on held-out runs, and refit the best on all runs; return it with the comparison.

    Several ``evals`` give the mean of their fits.

    Raises:
        FitError: if no law can be fitted.
    """
    return compare_and_refit(runs, specs, evals, _best, how=how, options=options)


def average(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = holdout.ROLLING,
    options: FitOptions = DEFAULTS,
) -> tuple[Kept, Comparison]:
    """Compare laws on held-out runs, and refit their average on all runs; return it with the comparison.

    The weight of a law is one over its squared scatter (see ``weights_of_laws``). Several ``evals`` give the mean of
    their averages.

    Raises:
        FitError: if no law can be fitted.
    """
    return compare_and_refit(runs, specs, evals, weights_of_laws, how=how, options=options)


def compare_and_refit(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    weigh: Callable[[Comparison], Mapping[str, float]],
    *,
    how: str,
    options: FitOptions,
) -> tuple[Kept, Comparison]:
    """Compare laws on held-out runs, and refit on all runs those to which ``weigh`` gives a weight.

    Raises:
        FitError: if no law can be fitted.
    """
    comparison = compare(specs, runs, evals, how=how, options=options)
    if not comparison.predicted:
        raise FitError(f"no law can be fitted: {comparison.rows['why'][0]}")
    return refit(runs, comparison, weigh(comparison), evals, options), comparison


def _best(comparison: Comparison) -> dict[str, float]:
    """Return the whole weight for the law with the smallest expected error, or measured error if none is expected."""
    return {str(comparison.rows["law"][0]): 1.0}


def weights_of_laws(comparison: Comparison) -> dict[str, float]:
    """Return the weights of the laws of an average, which sum to 1, by law.

    They are proportional to one over the squared scatter on held-out runs, because the scatter of a law within a size
    carries over to the next size, and its shift does not. Laws of more than WORST_RATIO times the smallest scatter are
    left out. If no scatter was measured, as with one run of each size, all laws have the same weight. If sizes were not
    held out, the whole error of a law is its scatter.

    Boosted trees have no gradient. They are kept alone if they are the best, and otherwise left out, so that a plan can
    follow the gradient of the average.
    """
    best = str(comparison.rows["law"][0])
    if _is_boosted(best):
        return {best: 1.0}
    scatters: dict[str, float] = {}
    laws = [spec for spec in comparison.predicted if not _is_boosted(spec)]
    for spec in laws:
        errors = comparison.errors({spec: 1.0})
        scatter = errors.scatter() if errors.rolling else errors.record(0)["rms"]
        if scatter is None:
            return dict.fromkeys(laws, 1 / len(laws))
        # A law that fits held-out runs exactly would have an infinite weight.
        scatters[spec] = max(scatter, 1e-6)
    limit = WORST_RATIO * min(scatters.values())
    weights = {spec: scatter**-2 for spec, scatter in scatters.items() if scatter <= limit}
    return {spec: weight / sum(weights.values()) for spec, weight in weights.items()}


def _is_boosted(spec: str) -> bool:
    return open_sets.parse(spec)[0] == BOOSTED


def refit(
    runs: Runs,
    comparison: Comparison,
    weights: Mapping[str, float],
    evals: Sequence[str],
    options: FitOptions,
) -> Kept:
    """Fit the laws of a weighted sum to all runs. The result knows its held-out error and its discrepancy."""
    errors = comparison.errors(weights)
    fits: list[SingleFit] = []
    shares: list[float] = []
    for spec, weight in weights.items():
        members = fit_all(runs, spec, evals, options)
        fits += members
        shares += [weight / len(members)] * len(members)
    blend = Blend(tuple(fits), tuple(shares), "+".join(evals))
    of_evals = _discrepancies(blend, runs, errors)
    parameters = _spread_of_draws(blend, runs, errors)
    heldout = replace(errors, noise=float(np.hypot(blend.noise, parameters or 0.0))).record(options.seed)
    heldout |= {"parameters": parameters}
    kept = tuple(_with_heldout(fit, heldout, of_evals[fit.eval]) for fit in fits)
    return kept[0] if len(kept) == 1 else replace(blend, fits=kept)


def _spread_of_draws(blend: Blend, runs: Runs, errors: HeldOutErrors) -> float | None:
    """Return the standard deviation of log loss by which the draws differ at the next size (or length).

    None where held-out runs show the scatter. Their errors are those of fits to fewer runs, and so contain what the
    parameters leave open. The fitted runs are moved to the next size with their mixtures. If larger models had more
    tokens, the moved runs have more tokens too.
    """
    if not errors.rolling or errors.scatter() is not None:
        return None
    recipes = runs.recipes(blend.pools)
    factor = float(np.exp(errors.distance))
    if holdout.count_of_sizes(recipes) > 1:
        params = torch.full_like(recipes.params, factor * float(recipes.params.max()))
        tokens = recipes.tokens * (params / recipes.params) ** _growth_of_tokens(recipes)
        moved = replace(recipes, tokens=tokens, params=params)
    else:
        moved = replace(recipes, tokens=torch.full_like(recipes.tokens, factor * float(recipes.tokens.max())))
    variances = [part.draw_losses(moved).detach().log().var(dim=0).mean() for part in blend.parts().values()]
    return float(torch.stack(variances).mean().sqrt())


def _growth_of_tokens(recipes: Recipes) -> float:
    """Return the exponent b of tokens = a params^b, by least squares of logarithms; 0 if it is negative.

    Within one compute budget larger models have fewer tokens, and that is no rule for the next size.
    """
    params, tokens = recipes.params.log(), recipes.tokens.log()
    centred = params - params.mean()
    return max(float(centred @ tokens / centred.square().sum()), 0.0)


def error_in_words(predictor: Kept) -> str:
    """Return the expected error of the next runs and its parts, in a few sentences."""
    members = predictor.fits if isinstance(predictor, Blend) else (predictor,)
    # Boosted trees keep no record of their held-out error.
    records = [getattr(fit, "heldout", None) for fit in members]
    heldout = next((record for record in records if record), None)
    discrepancy = predictor.discrepancy
    if heldout is None or discrepancy is None:
        return ""
    if heldout["distance"] is None:
        return f"Held-out runs were missed by {heldout['measured']:.2%} on average."
    what = "size" if discrepancy.sizes > 1 else "length"
    factor = float(np.exp(heldout["distance"]))
    shift = discrepancy.shift_at_e * float(heldout["distance"]) ** 0.5
    # The scatter of the expected error, which that of the intervals exceeds: they allow for how few runs show it.
    each_run = predictor.noise if heldout["scatter"] is None else float(heldout["scatter"])
    parts = [
        f"{shift:.2%} that all runs of that {what} share, which is its usual size on public runs",
        f"{each_run:.2%} that differs from run to run",
    ]
    if (heldout["excess"] or 0.0) >= SHOWN_EXCESS:
        parts.append(f"{heldout['excess']:.2%} by which whole held-out {what}s were missed beyond the usual")
    if heldout["parameters"] is not None:
        parts.append(f"{heldout['parameters']:.2%} from the law's parameters, which so few runs do not determine")
    count = ("two", "three", "four")[len(parts) - 2]
    sentences = [
        f"At {factor:.2g} times the largest fitted {what}, expect predictions to be off by {heldout['heldout']:.2%} on "
        f"average. That error has {count} parts: {'; '.join(parts[:-1])}; and {parts[-1]}. The parts "
        "are standard deviations: their squares add up, and the average error is 0.8 times the root of the sum."
    ]
    if discrepancy.scatter > WIDER * each_run:
        sentences.append(f"Intervals take {discrepancy.scatter:.2%} for each run, because few runs show its scatter.")
    if heldout["levels"] == 1:
        small, changes = ("smaller", "size") if what == "size" else ("shorter", "tokens")
        sentences.append(
            f"Held-out runs, predicted from the {small} {what} alone, were missed by {heldout['measured']:.2%} on "
            f"average. One {what} does not show how the loss changes with {changes}, so little is known of the error "
            f"at the next {what}. Runs of a third {what} would show it."
        )
    else:
        # Fewer sizes show less of how the loss falls, so the next size may be missed by less than these runs.
        sentences.append(
            f"Held-out runs, predicted from fewer {what}s than the fit has now, were missed by "
            f"{heldout['measured']:.2%} on average."
        )
    return " ".join(sentences)


def _with_heldout(fit: SingleFit, heldout: Mapping[str, float | int | None], discrepancy: Discrepancy) -> SingleFit:
    if isinstance(fit, Boosted):
        return replace(fit, discrepancy=discrepancy)
    return replace(fit, heldout=heldout, discrepancy=discrepancy)


def _discrepancies(blend: Blend, runs: Runs, errors: HeldOutErrors) -> dict[str, Discrepancy]:
    """Return what a weighted sum of laws, fitted to ``runs``, leaves open of each eval."""
    recipes, scatters, of_one_size = runs.recipes(), errors.scatter_of_evals(), errors.scatter_of_one_size()
    last = holdout.finished(recipes, runs.clusters)
    done = recipes.take(last)
    planned = done.tokens / _progress(done)
    mixtures = len(_of_each_mixture(done)) > 1
    discrepancies = {}
    by_size = holdout.count_of_sizes(recipes) > 1
    for (name, part), scatter, one_size, excess in zip(
        blend.parts().items(), scatters, of_one_size, errors.excess_shift(), strict=True
    ):
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
            size_shift=max(excess if by_size else 0.0, BLIND_SHIFT if _is_blind(part, done, "params") else 0.0),
            length_shift=max(0.0 if by_size else excess, BLIND_SHIFT if _is_blind(part, done, "tokens") else 0.0),
            unfinished=_unfinished(part, runs, name),
            shift_at_e=usual_shift(name),
        )
    return discrepancies


def _is_blind(part: Blend, recipes: Recipes, column: str) -> bool:
    """Return whether the runs have one value of ``params`` or ``tokens``, and the loss does not depend on it either.

    With several values, held-out runs show how far the laws are off.
    """
    values = getattr(recipes, column)
    if holdout.codes_of_sizes(np.asarray(values)).max() > 0:
        return False
    doubled = part.loss(replace(recipes, **{column: 2 * values})).detach()
    return bool(torch.allclose(doubled, part.loss(recipes).detach(), rtol=1e-9, atol=0.0))


def _progress(recipes: Recipes) -> Tensor:
    return torch.ones_like(recipes.tokens) if recipes.progress is None else recipes.progress


def _between(noise: float, one_size: float) -> float:
    """Return the scatter at the next size where no size was predicted from two or more: the root mean square of both.

    The residuals of the fit are smaller than the scatter at a new size, above all if the law is wrong. The scatter of
    runs predicted from one size alone is larger, because that fit knew less. On five pools at a third size the scatter
    lies between the two. ``one_size`` is NaN if it is unknown.
    """
    return noise if np.isnan(one_size) else max(noise, float(np.hypot(noise, one_size)) / 2**0.5)


def _of_each_mixture(recipes: Recipes) -> np.ndarray:
    """Return the position of one recipe of each distinct mixture."""
    weights = np.round(np.asarray(recipes.weights), holdout.DIGITS)
    return np.asarray(np.unique(weights, axis=0, return_index=True)[1])


def _contrast(part: Blend, recipes: Recipes, scatter: float) -> float:
    """Return the standard deviation of a difference of log loss between two fitted mixtures, without the run noise.

    It is that of the draws, and of what the scatter on held-out runs has beyond the residuals of the fit.
    """
    mixtures = _of_each_mixture(recipes)
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


def with_unfinished(kept: Kept, runs: Runs) -> Kept:
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
