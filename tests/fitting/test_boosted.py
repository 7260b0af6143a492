"""Boosted trees keep what a predictor promises, come back from JSON, and learn what a law alone misses."""

import json

import numpy as np
import pytest
import torch

from curate.errors import FitError, SchemaError
from curate.fitting import fit_files
from curate.fitting.boosted import TreeOptions, fit_boosted
from curate.fitting.fit import FitOptions
from curate.fitting.fit_json import boosted_json
from curate.runs.recipes import Recipes, recipes

POOLS = ("web", "code", "books")
QUICK = TreeOptions(rounds=80, draws=4)
LAW = FitOptions(starts=4, draws=6)


def problem(n: int, seed: int) -> tuple[Recipes, np.ndarray]:
    """Losses of a mixing law with a bump that it cannot express, and noise of .5 %."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(3), size=n)
    bump = 0.3 * (weights[:, 1] > 0.4)
    loss = 2 + np.exp(weights @ [0.5, -1.0, -0.2]) + bump
    sample = recipes(weights, rng.choice([1e9, 4e9], n), np.full(n, 1e8), 1e9 * np.ones((n, 3)))
    return sample, loss * np.exp(0.005 * rng.standard_normal(n))


@pytest.fixture(scope="module", params=["mixing", None])
def fitted(request):
    sample, loss = problem(160, 0)
    return fit_boosted(sample, {"web": loss}, pools=POOLS, base=request.param, options=QUICK, law=LAW)["web"]


def test_it_is_a_predictor_to_search_not_to_differentiate(fitted):
    sample, loss = problem(30, 1)
    assert fitted.differentiable is False
    assert fitted.pools == POOLS
    assert {"tokens", "params", "epochs", "share of web"} <= set(fitted.ranges)
    assert fitted.loss(sample).shape == (30,)
    assert fitted.loss(sample).dtype == torch.float64
    assert fitted.draw_losses(sample).shape == (4 if fitted.base is None else 6, 30)
    low, high = fitted.interval(sample)
    inside = (low <= torch.from_numpy(loss)) & (torch.from_numpy(loss) <= high)
    assert inside.double().mean() > 0.6


def test_it_beats_the_mean_and_the_law_it_stands_on(fitted):
    sample, loss = problem(200, 2)
    error = np.abs(np.asarray(fitted.loss(sample)) - loss).mean()
    assert error < 0.4 * np.abs(fitted.losses.mean() - loss).mean()
    if fitted.base is not None:
        assert error < 0.7 * np.abs(np.asarray(fitted.base.loss(sample)) - loss).mean()


def test_noise_is_the_error_on_unseen_rows(fitted):
    sample, loss = problem(400, 3)
    seen = float(np.sqrt((np.log(np.asarray(fitted.loss(sample)) / loss) ** 2).mean()))
    assert seen / 1.5 < fitted.noise < 1.5 * seen


def test_json_grows_the_same_trees(fitted):
    sample, _ = problem(50, 4)
    back = boosted_json.from_json(json.loads(json.dumps(boosted_json.to_json(fitted), allow_nan=False)))
    assert torch.equal(back.loss(sample), fitted.loss(sample))
    assert torch.equal(back.draw_losses(sample), fitted.draw_losses(sample))
    assert boosted_json.to_json(back) == boosted_json.to_json(fitted)


def test_the_same_runs_give_the_same_predictor():
    sample, loss = problem(60, 5)
    a, b = (fit_boosted(sample, {"web": loss}, pools=POOLS, base="mixing", options=QUICK, law=LAW) for _ in range(2))
    assert boosted_json.to_json(a["web"]) == boosted_json.to_json(b["web"])
    assert torch.equal(a["web"].loss(sample), b["web"].loss(sample))


def test_unlimited_pools_and_missing_losses_are_no_obstacle():
    sample, loss = problem(60, 6)
    free = Recipes(sample.weights, sample.tokens, sample.params, torch.full_like(sample.unique, torch.inf))
    holed = np.where(np.arange(60) < 5, np.nan, loss)
    trees = fit_boosted(free, {"web": loss, "code": holed}, pools=POOLS, base="mixing", options=QUICK, law=LAW)
    assert len(trees["code"].losses) == 55
    assert bool(torch.isfinite(trees["code"].draw_losses(free)).all())
    assert json.dumps(boosted_json.to_json(trees["code"]), allow_nan=False)


def test_checkpoints_of_one_training_stay_in_one_fold():
    sample, loss = problem(60, 7)
    clusters = np.arange(60) // 3
    trees = fit_boosted(sample, {"web": loss}, pools=POOLS, base="mixing", clusters=clusters, options=QUICK, law=LAW)[
        "web"
    ]
    assert len(np.unique(trees.clusters)) == 20
    with pytest.raises(FitError, match="cannot be split into 4 folds"):
        fit_boosted(sample, {"web": loss}, pools=POOLS, base=None, clusters=np.zeros(60), options=QUICK)


def test_another_record_is_refused(fitted):
    with pytest.raises(fit_files.BROKEN):
        boosted_json.from_json({"runs": {}})
    record = boosted_json.to_json(fitted)
    record["runs"]["outside"][3] = 1e4
    with pytest.raises(ValueError, match=r"runs.outside\[3\] is 10000, which is no logarithm of a loss"):
        boosted_json.from_json(record)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"rounds": 0}, "rounds=0 is not between 1 and 100000"),
        ({"folds": 1}, "folds=1 is not between 2"),
        ({"seed": -0.0}, "seed=-0.0 is not a whole number"),
        ({"part": 2}, "part=2 is not between 1e-06 and 1"),
    ],
)
def test_options_with_which_no_trees_grow_are_refused(option, words):
    with pytest.raises(SchemaError, match=words):
        TreeOptions(**option)
