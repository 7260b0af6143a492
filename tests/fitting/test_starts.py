"""Only the best starts are followed to the end: this must lose no minimum that all starts together would find."""

from pathlib import Path

import numpy as np
import pytest
import torch
from problems import law_of, recipes, theta

from curate.fitting.choice import default_laws
from curate.fitting.choice.checkpoints import rows_to_fit
from curate.fitting.choice.without_formula import GAUSSIAN
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.minima import Ends
from curate.fitting.solver.multistart import FitOptions, FitPasses
from curate.runs import run_table
from curate.runs.recipes import Recipes

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "runs"
TABLES = {
    "slimpajama": None,
    "pile5_70m": None,
    "pile5_305m": None,
    "chinchilla": None,
    "repetition": None,
    "overtraining": "corpus = 'c4_original'",
    "regmix_1m": None,
}
# Share of the objective. That of 120 runs is about 60 variances of the noise, so that this share moves a parameter by a
# thirtieth of its standard error.
NO_WORSE = 1e-5


def fit_passes(spec: str, rows: Recipes, losses: np.ndarray, starts: int = 32) -> FitPasses:
    law = law_of(spec)
    coordinates = Coordinates(law.params(), rows.weights.shape[1])
    weights = torch.ones(len(rows), dtype=torch.float64)
    return FitPasses(
        law, coordinates, rows, torch.from_numpy(np.log(losses)), weights, weights, FitOptions(starts=starts)
    )


def worse_than_all_starts(passes: FitPasses) -> float:
    """By which share the objective of the fit is above the best of all starts, the largest over the evals."""
    minima = passes.from_many_starts("the law")
    points = passes.coordinates.starts(passes.options.starts, 0).expand(len(passes.target), -1, -1)
    everywhere = passes.ends(Ends.of_starts(points), minima).objective.reshape(len(points), -1).amin(dim=1)
    kept = passes.ends(Ends.of_starts(minima.point[:, None]), minima).objective
    return float(((kept - everywhere) / everywhere).max())


@pytest.mark.parametrize("spec", ["ces", "mixture_ces:linear=true", "repetition", "farseer"])
def test_the_best_minimum_of_planted_runs_is_kept(spec):
    rows = recipes(60, 3, 5)
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 60))
    truth = np.stack([law_of(spec).loss(theta(spec, 3, seed=s, inner=0.7), rows).numpy() for s in (1, 2)])
    assert worse_than_all_starts(fit_passes(spec, rows, truth * np.exp(noise))) < NO_WORSE


def test_starts_are_compared_on_some_rows_if_there_are_many_and_each_eval_is_complete_there():
    rows = recipes(500, 2, 6)
    losses = np.tile(law_of("chinchilla").loss(theta("chinchilla", 2), rows).numpy(), (2, 1))
    losses[0, ::3] = np.nan
    few = fit_passes("chinchilla", rows, losses).on_few_rows(50)
    assert few.target.shape == (2, 50)
    assert bool(torch.isfinite(few.target).all())
    losses[0, 60:] = np.nan
    every = fit_passes("chinchilla", rows, losses)
    assert every.on_few_rows(50) is every


@pytest.mark.slow
@pytest.mark.skipif(not PUBLIC.exists(), reason="the public run tables are not on this machine")
@pytest.mark.parametrize("table", TABLES)
def test_the_best_minimum_of_public_runs_is_kept(table):
    runs = run_table.read(PUBLIC / f"{table}.csv", where=TABLES[table])
    runs = rows_to_fit(runs, ["auto"], runs.evals[:2]).runs
    laws = [spec for spec in default_laws.candidates(default_laws.shape(runs)) if not spec.startswith(GAUSSIAN)]
    for spec in laws:
        passes = fit_passes(spec, runs.recipes(), np.stack([runs.loss(name, missing=True) for name in runs.evals[:2]]))
        assert worse_than_all_starts(passes) < NO_WORSE, spec
