"""Curves from loss, tokens and compute to a metric: planted ones come back, others are called misaligned."""

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import FitError
from curate.fitting.curves import annealing, downstream

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("kind", "theta", "x"),
    [
        ("error", downstream.PUBLISHED[17]["c4"], np.linspace(2.2, 5.0, 30)),
        ("translation", {"A": 1e-2, "alpha": 0.9, "beta": 1.1}, np.geomspace(1e6, 1e10, 30)),
        ("accuracy", {"g": 0.25, "a": 1.0, "b": 0.5, "c": 0.1}, np.geomspace(1e19, 1e24, 30)),
    ],
)
def test_a_planted_curve_comes_back_and_extrapolates(kind, theta, x):
    truth = downstream.KINDS[kind].function({k: torch.tensor(v) for k, v in theta.items()}, torch.from_numpy(x)).numpy()
    noise = 0.003 * truth.std() * RNG.standard_normal(len(x))
    better = x < np.median(x) if kind == "error" else x > np.median(x)
    curve = downstream.fit(kind, x[~better], (truth + noise)[~better], draws=20)
    assert curve.misaligned is None and curve.explained > 0.99
    assert np.abs(curve.metric(torch.from_numpy(x)).numpy() - truth)[better].mean() < 0.06 * np.ptp(truth)
    low, high = curve.interval(torch.from_numpy(x))
    assert torch.all(low < high)


def test_a_metric_that_falls_with_more_data_is_misaligned():
    tokens = np.geomspace(1e6, 1e10, 12)
    curve = downstream.fit("translation", tokens, 30 - 2 * np.log10(tokens), draws=5)
    assert curve.misaligned is not None and "do not seem to serve this task" in curve.misaligned


def test_too_few_rows_are_refused():
    with pytest.raises(FitError, match="3 rows cannot determine the 3 parameters of error: give at least 4"):
        downstream.fit("error", np.array([2.0, 3.0, 4.0]), np.array([0.5, 0.6, 0.7]))


def test_a_curve_or_a_comparison_takes_one_law_and_one_eval(tmp_path):
    import typer

    from pipelines import fit as job

    pl.DataFrame({"run": ["a"], "params": 1e8, "tokens": 1e9, "loss.c4": 2.0}).write_parquet(tmp_path / "runs.parquet")
    with pytest.raises(typer.BadParameter, match="--law downstream takes one law and one eval; 2 and 1 are given"):
        job.main(tmp_path / "runs.parquet", law="chinchilla,downstream", evaluation="c4", out=tmp_path / "o.json")
    with pytest.raises(typer.BadParameter, match="--by takes one law and one eval; 1 and 2 are given"):
        job.main(tmp_path / "runs.parquet", law="chinchilla", evaluation="c4,x", out=tmp_path / "o.json", by="corpus")


def test_the_fit_job_does_both(tmp_path):
    from pipelines import fit as job

    loss = np.linspace(2.2, 5.0, 12)
    errors = downstream.error(downstream.PUBLISHED[17]["c4"], torch.from_numpy(loss)).numpy()
    frame = pl.DataFrame(
        {"run": [f"r{i}" for i in range(12)], "params": 1e8, "tokens": 1e9, "loss.c4": loss, "metric.err17": errors}
    )
    frame.write_parquet(tmp_path / "runs.parquet")
    job.main(tmp_path / "runs.parquet", law="downstream", evaluation="err17", out=tmp_path / "d.json", on="c4", draws=5)
    assert '"law": "downstream:kind=error"' in (tmp_path / "d.json").read_text()

    rates = torch.cat([torch.linspace(0, 2e-4, 50), 1e-4 * (1 + torch.cos(torch.linspace(0, np.pi, 950)))]).double()
    s1, s2 = annealing.s1_s2(rates)
    curve = annealing.curve(annealing.PUBLISHED, s1.clamp_min(1e-6), s2)
    steps = pl.DataFrame(
        {
            "run": "a",
            "params": 1e8,
            "step": np.arange(1000),
            "tokens": np.arange(1000) * 1e5 + 1e5,
            "lr": rates.numpy(),
            "loss.val": curve.numpy(),
        }
    )
    steps.with_columns(
        pl.when((pl.col("step") % 10 == 9) & (pl.col("step") > 60)).then("loss.val").alias("loss.val")
    ).write_parquet(tmp_path / "steps.parquet")
    job.main(tmp_path / "steps.parquet", law="annealing", evaluation="val", out=tmp_path / "a.json")
    assert '"r2": 0.999' in (tmp_path / "a.json").read_text() or '"r2": 1.0' in (tmp_path / "a.json").read_text()
