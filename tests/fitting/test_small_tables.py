"""Fits of a handful of runs: the prior decides only what the runs cannot, and intervals hold what they say."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from curate.fitting.fit import FitOptions, fit
from curate.fitting.solver.redraws import redraw
from curate.fitting.solver.residual_noise import FIRST_NOISE, as_normal, noise_of_residuals, robust_noise
from curate.runs.recipes import recipes

# Gu et al. 2024 (arXiv 2407.17467), table 2: domain loss at these shares.
SHARES = (1.0, 0.75, 0.5, 1 / 3, 0.25)
TABLE_2 = {
    "460M": (1.4628, 1.4844, 1.5122, 1.5387, 1.5561),
    "940M": (1.3723, 1.3910, 1.4155, 1.4385, 1.4538),
    "1.6B": (1.3242, 1.3416, 1.3643, 1.3854, 1.3994),
    "3.1B": (1.2585, 1.2750, 1.2965, 1.3170, 1.3305),
}


@pytest.mark.parametrize("model", TABLE_2)
def test_four_shares_predict_the_fifth_within_a_hundredth_of_a_percent(cli, tmp_path, model):
    """The paper's own error is .02 to .05 %."""
    rows = [(f"r{i}", 1e9, 2e10, 1 - x, x, y) for i, (x, y) in enumerate(zip(SHARES, TABLE_2[model], strict=True))]
    columns = ["run", "params", "tokens", "weight.general", "weight.fin", "loss.fin"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    frame.head(4).write_csv(tmp_path / "runs.csv")
    frame.tail(1).write_csv(tmp_path / "quarter.csv")
    flags = ("--law", "cmr", "--eval", "fin", "--holdout", "random:0.25", "--out", tmp_path / "fit.json")
    reply = cli("fit", tmp_path / "runs.csv", *flags)
    assert reply.code == 0, reply.err
    reply = cli("predict", tmp_path / "fit.json", tmp_path / "quarter.csv", "--out", tmp_path / "predicted.parquet")
    assert reply.code == 0, reply.err
    row = pl.read_parquet(tmp_path / "predicted.parquet").row(0, named=True)
    assert row["predicted"] == pytest.approx(TABLE_2[model][-1], rel=1e-4)
    assert row["low"] < TABLE_2[model][-1] < row["high"]
    assert json.loads((tmp_path / "fit.json").read_text())["rmse"] < 2e-4


def planted(count, seed, noise):
    """Runs of general loss 2.51 + a R^s at ``count`` shares, and new runs of the same law."""
    rng = np.random.default_rng([seed, count])
    s, a, new = rng.uniform(1.2, 3), rng.uniform(0.06, 0.15), np.array([0.15, 0.3, 0.55, 0.9])
    x = np.linspace(0.1, 1, count)
    losses = [2.51 + a * r**s + noise * rng.standard_normal(len(r)) for r in (x, new)]
    runs = [recipes(np.column_stack([1 - r, r]), [2e10] * len(r), [1e9] * len(r)) for r in (x, new)]
    return runs, losses


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 6, 7])
def test_intervals_of_few_runs_hold_new_runs(count):
    inside = []
    for seed in range(60):
        (fitted, new), (losses, truth) = planted(count, seed, 0.002)
        low, high = fit("cmr", fitted, losses, pools="ab", options=FitOptions(starts=8)).interval(new)
        inside.append(((low.numpy() <= truth) & (truth <= high.numpy())).mean())
    assert np.mean(inside) >= 0.85


def test_exact_runs_are_not_drawn_to_the_prior():
    (fitted, new), (losses, truth) = planted(5, 1, 0.0)
    result = fit("cmr", fitted, losses, pools="ab", options=FitOptions(starts=8, draws=50))
    assert result.loss(new).tolist() == pytest.approx(truth.tolist(), abs=5e-5)
    low, high = result.interval(new)
    assert float((high - low).max()) < 1e-3


def test_as_many_runs_as_parameters_say_nothing_about_their_noise():
    (fitted, new), (losses, _) = planted(3, 0, 0.002)
    low, high = fit("cmr", fitted, losses, pools="ab", options=FitOptions(starts=8, draws=50)).interval(new)
    assert float((high / low - 1).min()) > 2 * FIRST_NOISE


def test_residuals_that_a_fit_makes_vanish_do_not_count():
    residuals = torch.tensor([[0.0, 0.0, 0.0, 0.01, -0.01], [0.0, 0.0, 0.0, torch.nan, torch.nan]]).double()
    assert robust_noise(residuals, 3).tolist() == pytest.approx([0.014826, FIRST_NOISE])
    noise, free = noise_of_residuals(residuals, torch.tensor([3.0, 3.0]).double(), torch.ones(residuals.shape[1]))
    assert noise.tolist() == pytest.approx([0.01, FIRST_NOISE])
    assert free[0] == 2
    # Student's 95 % quantiles over the normal one.
    wide = as_normal(torch.ones(3).double(), torch.tensor([1.0, 2.0, 10.0]).double())
    assert wide.tolist() == pytest.approx([6.3138 / 1.64485, 2.9200 / 1.64485, 1.8125 / 1.64485], rel=1e-4)


def test_few_rows_all_stay_in_every_draw():
    redraws = redraw(np.arange(5), 3, 400, 0)
    assert redraws.few
    assert bool((redraws.counts == 1).all())
    assert float(redraws.errors.std()) == pytest.approx(1, abs=0.05)
    # The square of the noise over its estimate is 2 over a chi-square variable of 2 degrees of freedom (median 1.386).
    assert float(redraws.scales(torch.tensor([2.0]).double()).median()) == pytest.approx((2 / 1.386) ** 0.5, rel=0.01)
    many = redraw(np.arange(9), 3, 400, 0)
    assert not many.few
    assert not bool(many.errors.any())
    assert bool((many.scales(torch.tensor([6.0]).double()) == 1).all())


def test_checkpoints_of_one_training_count_as_one_run():
    redraws = redraw(np.array([0, 0, 0, 0, 1]), 3, 2000, 0)
    assert redraws.errors.std(dim=0).tolist() == pytest.approx([2, 2, 2, 2, 1], rel=0.06)
