"""Profiles find what runs can and cannot tell; advice names the runs that the draws disagree about."""

import numpy as np
import polars as pl

from curate.fitting import fit, identify
from curate.runs.recipes import recipes

RNG = np.random.default_rng(3)
FEW = fit.FitOptions(starts=8, draws=40)


def chinchilla(params, tokens, noise=0.003):
    truth = 1.7 + 400 / params**0.34 + 410 / tokens**0.28
    return truth * np.exp(noise * RNG.standard_normal(len(params)))


def test_a_wide_grid_tells_the_floor_and_one_size_does_not_tell_the_size_exponent():
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, 8), np.geomspace(1e9, 1e12, 8)))
    table = recipes(np.ones((64, 1)), d, n)
    loss = chinchilla(n, d)
    wide = identify.identify(fit.fit("chinchilla", table, loss, pools=["all"], options=FEW), table, loss)
    assert not {"E", "alpha", "beta"} & set(wide.unknown)
    row = wide.table().filter(pl.col("param") == "E").row(0, named=True)
    assert row["low"] < 1.7 < row["high"]

    single_size = n == n.max()
    narrow = fit.fit("chinchilla", table.take(single_size), loss[single_size], pools=["all"], options=FEW)
    identified = identify.identify(narrow, table.take(single_size), loss[single_size])
    assert {"A", "alpha"} <= set(identified.unknown)
    assert identified.condition > 1e4


def test_the_repeat_constant_of_runs_without_repeats_is_unknown():
    d = np.geomspace(1e9, 1e12, 24)
    n = np.tile([1e8, 1e9], 12)
    table = recipes(np.ones((24, 1)), d, n)
    loss = chinchilla(n, d)
    result = fit.fit("repetition", table, loss, pools=["all"], options=FEW)
    assert "R_D" in identify.identify(result, table, loss).unknown
    draws = result.draws["R_D"].log()
    assert float(draws.std()) > 1.0  # what the runs do not tell varies as widely as the prior (1.6 log units)


def test_the_most_informative_runs_are_where_the_draws_disagree():
    d = np.geomspace(1e9, 1e10, 12)
    table = recipes(np.ones((12, 1)), d, np.full(12, 1e8))
    result = fit.fit("chinchilla", table, chinchilla(np.full(12, 1e8), d), pools=["all"], options=FEW)
    candidates = recipes(np.ones((3, 1)), [3e9, 1e12, 5e9], np.full(3, 1e8))
    assert identify.most_informative(result, candidates, count=1) == [1]
    assert len(set(identify.most_informative(result, candidates))) == 3
