"""Profiles find what runs can and cannot tell; advice names the runs that the draws disagree about."""

import numpy as np
import polars as pl
import pytest
import torch
from problems import planted
from problems import recipes as varied

from curate.fitting import fit, identify
from curate.runs.recipes import recipes

RNG = np.random.default_rng(3)
CES = {"E": 1.7, "A": 0.5, "alpha": 0.34, "B": 0.6, "beta": 0.28, "R": 10.0}
TWO = {"k": [1.0, 2.0], "g": 0.5}
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
    (first, *others) = identify.most_informative(result, candidates)
    # 5e9 tokens are less than a factor of 2 from 3e9, so only one of the two is advised.
    assert first.position == 1 and len(others) == 1
    assert 0 < first.settled < others[0].settled <= 1


def test_the_advised_runs_differ_and_each_settles_what_those_before_it_leave_open():
    fit_of_three = planted("ces", "abc", {**CES, "k": [1.0, 0.5, 2.0], "g": 0.5}, draws=200)
    candidates = varied(200, 3, seed=1, distance=False)
    chosen = identify.most_informative(fit_of_three, candidates, count=5)
    positions = [run.position for run in chosen]
    assert len(set(positions)) == 5
    for i, position in enumerate(positions):
        assert all(float(identify.distances(candidates, position)[other]) >= 1 for other in positions[:i])
    # Conditioning on the chosen runs by the textbook formula leaves the same variance.
    draws = fit_of_three.draw_losses(candidates).log()
    covariance = torch.cov(draws.T, correction=0)
    between = covariance[:, positions]
    noisy = between[positions] + fit_of_three.noise**2 * torch.eye(5, dtype=torch.float64)
    settled = float((between @ torch.linalg.solve(noisy, between.T)).trace() / covariance.trace())
    assert chosen[-1].settled == pytest.approx(settled, rel=1e-6)
    assert [run.settled for run in chosen] == sorted(run.settled for run in chosen)


def test_an_explanation_of_several_laws_names_their_weights_and_three_different_runs(tmp_path, cli):
    table, law = varied(40, 2, seed=4, distance=False), planted("ces", "ab", {**CES, **TWO})
    columns = {"run": [f"r{i}" for i in range(40)], "params": table.params.numpy(), "tokens": table.tokens.numpy()}
    columns |= {f"weight.{name}": table.weights[:, i].numpy() for i, name in enumerate("ab")}
    losses = law.loss(table).numpy() * np.exp(0.003 * RNG.standard_normal((2, 40)))
    pl.DataFrame(columns | {"loss.web": losses[0], "loss.code": 1.1 * losses[1]}).write_csv(tmp_path / "runs.csv")
    flags = ["--law", "ces,mixing", "--stack", "--explain", "--starts", 2, "--draws", 20]
    output = cli("fit", tmp_path / "runs.csv", *flags, "--out", tmp_path / "fit.json")
    assert output.code == 0, output.err
    assert (
        "The prediction rests on one law, ces." in output.out
        or "The prediction is a weighted mean of 2 laws: ces (" in output.out
    )
    assert "Not known: what repeats cost. No run saw a pool more than once." in output.out
    runs = [line[3:].partition(" (")[0] for line in output.out.splitlines() if line[:2] in ("1.", "2.", "3.")]
    assert len(set(runs)) == 3
