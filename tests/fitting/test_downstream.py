"""Curves from loss, tokens and compute to a metric: planted ones come back, whatever the unit and direction."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import FitError
from curate.fitting.curves import downstream, fit_metric, metric_columns
from curate.fitting.curves.metric_points import MetricPoints
from curate.fitting.curves.schedules import annealing
from curate.fitting.fit_json import metric_curve_json

LOSSES = np.linspace(2.2, 5.0, 30)
LOSSES_TENSOR = torch.from_numpy(LOSSES)
ERROR = downstream.PUBLISHED[17]["c4"]


def curve_of(x, metric, *, kind="error", on=("c4",), **options):
    """The curve of a metric over the columns of x, every row a training of its own."""
    columns = np.asarray(x, float).reshape(len(metric), -1)
    points = MetricPoints("m", kind, on if kind == "error" else (), columns, np.asarray(metric), np.arange(len(metric)))
    return fit_metric.fit(points, **{"draws": 20, **options})


def column(x):
    return torch.from_numpy(np.asarray(x, float))[:, None]


@pytest.mark.parametrize(
    ("kind", "theta", "x"),
    [
        ("error", ERROR, LOSSES),
        ("translation", {"A": 1e-2, "alpha": 0.9, "beta": 1.1}, np.geomspace(1e6, 1e10, 30)),
        ("accuracy", {"g": 0.25, "a": 1.0, "b": 0.5, "c": 0.1}, np.geomspace(1e19, 1e24, 30)),
    ],
)
def test_a_planted_curve_comes_back_and_extrapolates(kind, theta, x):
    truth = downstream.KINDS[kind].function({k: torch.tensor(v) for k, v in theta.items()}, torch.from_numpy(x)).numpy()
    noise = 0.003 * truth.std() * np.random.default_rng(5).standard_normal(len(x))
    better = x < np.median(x) if kind == "error" else x > np.median(x)
    curve = curve_of(x[~better], (truth + noise)[~better], kind=kind)
    assert curve.flat is None and curve.misaligned is None and curve.explained > 0.99
    assert np.abs(curve.metric(column(x)).numpy() - truth)[better].mean() < 0.06 * np.ptp(truth)
    low, high = curve.interval(column(x))
    assert torch.all(low < high)


@pytest.mark.parametrize("unit", [1.0, 100.0, 1e-3])
@pytest.mark.parametrize(("sign", "better"), [(1.0, "lower"), (-1.0, "higher")])
def test_the_slope_tells_an_error_from_an_accuracy_in_any_unit(unit, sign, better):
    """An accuracy is 1 minus the error; exact points give the parameters back to six digits."""
    metric = unit * ((1 - sign) / 2 + sign * downstream.error(ERROR, torch.from_numpy(LOSSES)).numpy())
    curve = curve_of(LOSSES, metric)
    assert curve.better == better
    assert float(curve.theta["k"]) == pytest.approx(sign * unit * ERROR["k"], rel=1e-6)
    assert curve.theta["gamma"].tolist() == pytest.approx([ERROR["gamma"]], rel=1e-6)
    assert curve.drift < 1e-5 * unit


def test_each_of_several_losses_has_its_own_weight():
    """A metric that follows loss a three times as much as loss b; a plan then minimises 3/4 a + 1/4 b."""
    x = np.random.default_rng(0).uniform(2, 4, (40, 2))
    metric = 0.8 - 3 * np.exp(-0.9 * x[:, 0] - 0.3 * x[:, 1])
    curve = curve_of(x, metric, on=("a", "b"))
    assert curve.theta["gamma"].tolist() == pytest.approx([0.9, 0.3], rel=1e-4)
    weights, drawn = curve.weights
    assert weights.tolist() == pytest.approx([0.75, 0.25], rel=1e-4)
    assert drawn.shape == (20, 2)
    assert [row["param"] for row in curve.parameter_rows().to_dicts()] == ["eps", "k", "gamma[a]", "gamma[b]"]


def test_a_metric_without_a_slope_cannot_be_told():
    metric = 0.7 + 0.01 * np.random.default_rng(3).standard_normal(30)
    curve = curve_of(LOSSES, metric, draws=100)
    assert curve.flat is not None
    assert curve.flat.startswith(
        "the runs do not determine how metric.m depends on loss.c4: over the range of the runs the curve"
    )
    assert "and the noise of a run is 0.0" in curve.flat


def test_intervals_of_new_runs_hold_what_they_promise():
    """Among the fitted losses as much as promised; up to half a nat below them at least so much."""
    levels, repeats = (0.5, 0.9, 0.99), 25
    inside, below = np.linspace(2.8, 4.8, 20), np.linspace(2.2, 2.7, 20)
    covered = np.zeros((2, 3))
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        loss = rng.uniform(2.7, 5.0, 24)

        def measured(x, rng=rng):
            return downstream.error(ERROR, torch.from_numpy(x)).numpy() + 0.01 * rng.standard_normal(len(x))

        curve = curve_of(loss, measured(loss), draws=50, seed=seed)
        for i, x in enumerate((inside, below)):
            metric = measured(x)
            for j, level in enumerate(levels):
                low, high = (end.numpy() for end in curve.interval(column(x), level))
                covered[i, j] += ((metric >= low) & (metric <= high)).mean() / repeats
    assert covered[0] == pytest.approx(levels, abs=0.04)
    assert (covered[1] > np.array(levels) - 0.02).all()


def test_a_curve_survives_its_file_and_old_entries_are_read():
    curve = curve_of(np.random.default_rng(0).uniform(2, 4, (12, 2)), np.linspace(0.4, 0.6, 12), on=("b", "a"))
    again = metric_curve_json.from_json(json.loads(json.dumps(metric_curve_json.to_json(curve), sort_keys=True)))
    x = torch.tensor([[1.0, 2.0], [5.0, 3.0]], dtype=torch.float64)
    assert again.on == ("b", "a")
    assert list(again.ranges.items()) == list(curve.ranges.items())
    assert all(torch.equal(p, q) for p, q in zip(curve.interval(x), again.interval(x), strict=True))
    draws = [{"eps": 0.85, "k": 2.0, "gamma": 0.75}, {"eps": 0.85, "k": 2.1, "gamma": 0.75}]
    old = {"law": "downstream:kind=error", "eval": "err17", "on": "c4", "theta": draws[0], "draws": draws}
    old |= {"rmse": 0.01, "rows": 12, "explained": 0.9, "misaligned": None, "weight": 1.0}
    loaded = metric_curve_json.from_json(old)
    assert float(loaded.metric(column([3.0]))) == pytest.approx(0.85 - 2 * np.exp(-2.25), rel=1e-12)
    assert (loaded.noise, loaded.reach, loaded.outside(column([1.0]))) == (0.01, None, [])


def test_losses_outside_the_fitted_ones_are_counted():
    curve = curve_of(LOSSES, downstream.error(ERROR, torch.from_numpy(LOSSES)).numpy())
    assert curve.outside(column([2.2, 5.0])) == []
    assert curve.outside(column([2.0, 2.1, 3.0, 5.5])) == [
        "extrapolated: loss.c4 2 is below 2.2, the lowest value in the fit of metric.m (2 of 4 runs)",
        "extrapolated: loss.c4 5.5 is above 5, the highest value in the fit of metric.m (1 of 4 runs)",
    ]


@pytest.mark.parametrize(
    ("name", "unit", "bounds"),
    [
        ("acc", 1.0, (0.0, 1.0)),
        ("m", 1.0, (0.0, 1.0)),
        ("acc_norm", 100.0, (0.0, 100.0)),
        ("score", 100.0, None),
        ("bpb", 1.0, None),
        ("acc", 1000.0, None),
    ],
)
def test_predictions_of_a_rate_do_not_leave_its_bounds(name, unit, bounds):
    """The curve, fitted to losses from 4.1 on, reaches an accuracy of 1.27 at a loss of 2.2."""
    accuracy = unit * (1 - downstream.error({"eps": 0.95, "k": 11.0, "gamma": 1.0}, LOSSES_TENSOR))
    curve = replace(curve_of(LOSSES[20:], accuracy.numpy()[20:]), name=name)
    assert metric_columns.bounds(name, accuracy.numpy()[20:]) == bounds
    curve = metric_curve_json.from_json(
        json.loads(json.dumps(metric_curve_json.to_json(replace(curve, bounds=bounds))))
    )
    x = column([2.2, 2.3, 4.5])
    values, (low, high) = curve.metric(x), curve.interval(x)
    beyond = [line for line in curve.warnings(x) if line.startswith("out of range")]
    if bounds is None:
        assert values[0] > unit and not beyond
    else:
        assert values[:2].tolist() == [unit, unit] and float(curve.draw_metrics(x).max()) == float(high[0]) == unit
        assert 0.1 * unit < float(values[2]) < 0.2 * unit and float(low[2]) < float(values[2]) < float(high[2])
        assert "of 3 runs" in beyond[0] and f"and a rate ends at {unit:g}" in beyond[0]


def test_a_metric_that_falls_with_more_data_is_misaligned():
    tokens = np.geomspace(1e6, 1e10, 12)
    curve = curve_of(tokens, 30 - 2 * np.log10(tokens), kind="translation", draws=5)
    assert curve.misaligned is not None and "do not seem to serve this task" in curve.misaligned


@pytest.mark.parametrize(
    ("x", "metric", "kind", "message"),
    [
        (
            [2.0, 3.0, 4.0],
            [0.5, 0.6, 0.7],
            "error",
            "only 3 rows have metric.m and loss.c4: too few for a curve of 3 parameters",
        ),
        ([2.0] * 5, [0.5, 0.6, 0.7, 0.6, 0.5], "error", "all 5 rows with metric.m have the same loss.c4, 2, so"),
        (
            [1e20, 2e20, 3e20, 4e20, 5e20],
            [10, 20, 30, 40, 50.0],
            "accuracy",
            "from 10 to 50. Divide percentages by 100",
        ),
    ],
)
def test_points_that_determine_nothing_are_refused(x, metric, kind, message):
    with pytest.raises(FitError, match=message):
        curve_of(np.array(x), np.array(metric), kind=kind)


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
    job.main(tmp_path / "steps.parquet", law="annealing", evaluation="val", out=tmp_path / "a.json", draws=3)
    assert '"r2": 0.999' in (tmp_path / "a.json").read_text() or '"r2": 1.0' in (tmp_path / "a.json").read_text()
