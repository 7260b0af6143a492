"""Fit a law, boosted trees or a Gaussian process, by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, cast

import numpy as np

from curate import open_sets
from curate.fitting.boosted import Boosted, TreeOptions, fit_boosted
from curate.fitting.choice import without_formula
from curate.fitting.choice.without_formula import BOOSTED, GAUSSIAN, OPTIONS
from curate.fitting.fit import Fit, fit_evals
from curate.fitting.gaussian.fit_gaussian import fit_gaussian
from curate.fitting.gaussian.gaussian import Gaussian
from curate.fitting.solver.multistart import FitOptions
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import Recipes

SingleFit: TypeAlias = Fit | Boosted | Gaussian  # of one eval
FittedLaw: TypeAlias = SingleFit | Blend


def fit_named(
    spec: str,
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    clusters: np.ndarray | None,
    options: FitOptions,
) -> dict[str, SingleFit]:
    """Fit a law, ``boosted`` or ``gaussian`` to several evals of the same runs.

    See ``fit_evals``, ``fit_boosted`` and ``fit_gaussian``.

    Raises:
        FitError: if the runs cannot determine the law.
        CurateError: if ``boosted`` or ``gaussian`` has no such option (the message gives the nearest one).
        SchemaError: if an option has a value of the wrong type.
    """
    name, named_options = open_sets.parse(spec)
    if name == GAUSSIAN:
        open_sets.check_options(name, named_options, _option_types(name))
        base = str(named_options.get("base", without_formula.GAUSSIAN_BASE))
        law = None if base == "none" else base
        return dict(fit_gaussian(recipes, losses, pools=pools, base=law, clusters=clusters, options=options))
    if name != BOOSTED:
        return dict(fit_evals(spec, recipes, losses, pools=pools, clusters=clusters, options=options))
    open_sets.check_options(BOOSTED, named_options, _option_types(BOOSTED))
    base = str(named_options.pop("base", without_formula.BOOSTED_BASE))
    trees = fit_boosted(
        recipes,
        losses,
        pools=pools,
        base=None if base == "none" else base,
        clusters=clusters,
        options=replace(TreeOptions(seed=options.seed), **cast(dict[str, int], named_options)),
        law=options,
    )
    return dict(trees)


def _option_types(name: str) -> dict[str, object]:
    """Return the type of each option of `boosted` or `gaussian`."""
    return {option.name: option.type for option in open_sets.option_fields(OPTIONS[name])}


def members_of(predictor: FittedLaw) -> tuple[SingleFit, ...]:
    """Return the laws of a predictor: those of a blend, or itself."""
    members = predictor.fits if isinstance(predictor, Blend) else (predictor,)
    return cast(tuple[SingleFit, ...], members)
