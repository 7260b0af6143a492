"""Keep the best law of a comparison or average the good ones, and refit them on all runs.

In: a comparison of laws on held-out runs. Out: a predictor with its held-out error and its discrepancy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from curate import open_sets
from curate.errors import FitError
from curate.fitting.boosted import Boosted
from curate.fitting.choice import holdout, law_discrepancies
from curate.fitting.choice.held_out_errors import HeldOutErrors
from curate.fitting.choice.without_formula import BOOSTED
from curate.fitting.compare import Comparison, compare, fit_all
from curate.fitting.fitted_laws import FittedLaw, SingleFit
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs

# A law whose scatter is more than this many times the smallest is left out of an average. On the public runs with
# repetition this keeps the one law that describes repeats; on the others it changes the error by less than a tenth.
WORST_RATIO = 1.5


def choose(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = holdout.ROLLING,
    options: FitOptions = DEFAULTS,
) -> tuple[FittedLaw, Comparison]:
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
) -> tuple[FittedLaw, Comparison]:
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
) -> tuple[FittedLaw, Comparison]:
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
) -> FittedLaw:
    """Fit the laws of a weighted sum to all runs. The result knows its held-out error and its discrepancy."""
    errors = comparison.errors(weights)
    fits: list[SingleFit] = []
    shares: list[float] = []
    for spec, weight in weights.items():
        members = fit_all(runs, spec, evals, options)
        fits += members
        shares += [weight / len(members)] * len(members)
    blend = Blend(tuple(fits), tuple(shares), "+".join(evals))
    of_evals = law_discrepancies.of_evals(blend, runs, errors)
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


def _with_heldout(fit: SingleFit, heldout: Mapping[str, float | int | None], discrepancy: Discrepancy) -> SingleFit:
    if isinstance(fit, Boosted):
        return replace(fit, discrepancy=discrepancy)
    return replace(fit, heldout=heldout, discrepancy=discrepancy)
