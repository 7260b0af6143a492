"""The contract of predictors: a recipe that is predicted by one draw is predicted as in the table of all draws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import planted, theta

from curate.fitting.boosted import fit_boosted
from curate.fitting.choice.without_formula import TreeOptions
from curate.fitting.fit import Fit
from curate.fitting.gaussian.fit_gaussian import fit_gaussian
from curate.fitting.solver.multistart import FitOptions
from curate.planning.aims import Worst
from curate.runs.fitted_size import AtFittedSize, at_fitted_size
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes, recipes

POOLS = ("web", "code", "books")
SIZE = (1e8, 1e9)  # params and tokens of the runs
LAW = FitOptions(starts=1, draws=5)


def of(weights: np.ndarray) -> Recipes:
    n = len(weights)
    return recipes(weights, np.full(n, SIZE[1]), np.full(n, SIZE[0]), np.full((n, 3), 1e9))


def law(draws: int, floor: float = 1.0, name: str = "web") -> Fit:
    """A law with another number of draws than the others, so that they do not wrap at the same index."""
    values = theta("ces", 3)
    fit = planted("ces", POOLS, values | {"E": values["E"] * floor}, draws=draws)
    return replace(fit, eval=name)


def of_laws() -> Blend:
    return Blend((law(7), law(4, 1.2), law(3, 1.4)), (0.5, 0.3, 0.2), "web")


def of_evals() -> Blend:
    return Blend((law(7), law(4, name="code")), (0.6, 0.4), "web+code")


def of_laws_and_evals() -> Blend:
    """Two laws for each of two evals."""
    members = (law(7), law(4, 1.2), law(3, name="code"), law(5, 1.3, "code"))
    return Blend(members, (0.3, 0.2, 0.3, 0.2), "web+code")


def stacked() -> Blend:
    """Each draw has its own weights, of which there are fewer than draws."""
    weights = torch.tensor([[0.5, 0.5], [0.1, 0.9], [0.8, 0.2]], dtype=torch.float64)
    return Blend((law(7), law(4, 1.2)), (0.5, 0.5), "web", weights)


def one_size() -> Predictor:
    """A blend of evals whose runs all have one size; the factor to another size has the draws of the blend."""
    members = tuple(
        replace(fit, ranges={**fit.ranges, "params": (1e7, 1e7), "tokens": SIZE[1:] * 2}) for fit in of_evals().fits
    )
    held = at_fitted_size(replace(of_evals(), fits=members))
    assert isinstance(held, Blend) and all(isinstance(member, AtFittedSize) for member in held.fits)
    return held


def worst(*, regret: bool) -> Worst:
    """The largest loss, or the largest excess over the losses of other mixtures, of which there are five draws."""
    levels = torch.linspace(0.1, 0.3, 10, dtype=torch.float64).reshape(2, 5) if regret else None
    return Worst((law(7), law(4, name="code")), (0.2, 0.2), (1.0, 1.0), "worst", levels)


def measured() -> tuple[Recipes, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), size=30)
    return of(weights), {"web": 2 + np.exp(weights @ [0.5, -1.0, -0.2]) * np.exp(0.01 * rng.standard_normal(30))}


def boosted(base: str | None) -> Predictor:
    options = TreeOptions(rounds=5, draws=3, folds=2)
    return fit_boosted(*measured(), pools=POOLS, base=base, options=options, law=LAW)["web"]


def gaussian(base: str | None) -> Predictor:
    return fit_gaussian(*measured(), pools=POOLS, base=base, options=LAW)["web"]


PREDICTORS: Mapping[str, Callable[[], Predictor]] = {
    "a law": lambda: law(7),
    "laws of one eval": of_laws,
    "evals": of_evals,
    "laws and evals": of_laws_and_evals,
    "stacked laws": stacked,
    "a sum of blends": lambda: Blend((of_laws(), replace(stacked(), eval="code")), (0.5, 0.5), "web+code"),
    "one size": one_size,
    "worst loss": lambda: worst(regret=False),
    "worst regret": lambda: worst(regret=True),
    "trees on a law": lambda: boosted("mixing"),
    "trees": lambda: boosted(None),
    "a process on a law": lambda: gaussian("repetition"),
    "a process": lambda: gaussian(None),
}


@cache
def predictor(name: str) -> Predictor:
    return PREDICTORS[name]()


@pytest.mark.parametrize("name", PREDICTORS)
@given(draws=st.lists(st.integers(0, 500), min_size=1, max_size=6), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_each_recipe_by_its_own_draw_is_a_row_of_all_draws(name, draws, seed):
    fit, index = predictor(name), torch.tensor(draws)
    rows = of(np.random.default_rng(seed).dirichlet(np.ones(3), size=len(draws)))
    losses = fit.draw_losses(rows)
    assert losses.shape == (fit.draw_count, len(draws))
    expected = losses[index % fit.draw_count, torch.arange(len(draws))]
    assert torch.allclose(fit.drawn(rows, index), expected, rtol=1e-9)
