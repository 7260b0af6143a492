"""Downstream metrics through the command line: recipe to loss, loss to error, with the uncertainty of both."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from conftest import one_line

from curate.fitting.curves import chained_metric, downstream
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.fit import Fit
from curate.laws.overtraining import PUBLISHED, Overtraining
from curate.runs import recipes

# Parameters and tokens per parameter of the three largest runs of Gadre et al. 2024 (arXiv 2403.08540), and the average
# errors over 17 tasks that their constants give.
LARGE = [(1.4e9, 20.0), (1.4e9, 640.0), (6.9e9, 20.0)]
ERRORS = {"c4": (0.5686, 0.5090, 0.4793), "redpajama": (0.5535, 0.4946, 0.4726)}
QUICK = ["--starts", 4, "--draws", 20]


def published_runs(corpus, cells, *, noise=0.0, scatter=0.0, seed=0):
    """Runs of a corpus as the published constants predict them, with noise of the loss and scatter of the error."""
    rng = np.random.default_rng(seed)
    params, ratio = np.array(cells).T
    theta = {name: torch.tensor(value, dtype=torch.float64) for name, value in PUBLISHED[corpus].items()}
    loss = Overtraining().loss(theta, recipes.recipes(np.ones((len(cells), 1)), params * ratio, params)).numpy()
    loss = loss * np.exp(noise * rng.standard_normal(len(cells)))
    error = downstream.error(downstream.PUBLISHED[17][corpus], torch.from_numpy(loss)).numpy()
    error = error + scatter * rng.standard_normal(len(cells))
    names = [f"{n:g}-{m:g}" for n, m in cells]
    columns = {"params": params, "tokens": params * ratio, "loss.c4": loss, "metric.err17": error}
    return pl.DataFrame({"run": names} | columns)


SMALL = [(n, m) for n in (1.1e7, 7.9e7, 1.54e8, 4.12e8) for m in (5.0, 20.0, 80.0, 320.0)]


@pytest.mark.parametrize("corpus", ERRORS)
def test_published_constants_chain_to_the_published_errors(corpus):
    theta = {name: torch.tensor(value, dtype=torch.float64) for name, value in PUBLISHED[corpus].items()}
    draws = {name: value[None] for name, value in theta.items()}
    law = Fit("overtraining", ("all",), "c4", theta, draws, 0.0, 0.0, 5, {})
    gadre = downstream.PUBLISHED[17][corpus]
    values = {name: torch.tensor(gadre[name], dtype=torch.float64) for name in ("eps", "k")}
    values |= {"gamma": torch.tensor([gadre["gamma"]], dtype=torch.float64)}
    drawn = {name: value[None] for name, value in values.items()}
    curve = MetricCurve("err17", "error", ("c4",), values, drawn, 0.0, 0.0, 1.0, 5, {})
    metric = chained_metric.chain(curve, law, "the fit")
    params, ratio = np.array(LARGE).T
    inputs = recipes.recipes(np.ones((3, 1)), params * ratio, params)
    assert metric.values(inputs).tolist() == pytest.approx(ERRORS[corpus], abs=6e-5)
    assert metric.draw_values(inputs)[0].tolist() == pytest.approx(ERRORS[corpus], abs=6e-5)


@pytest.mark.parametrize("corpus", ERRORS)
def test_the_same_chain_through_the_command_line(cli, tmp_path, corpus):
    published_runs(corpus, SMALL).write_csv(tmp_path / "runs.csv")
    published_runs(corpus, LARGE).drop("loss.c4", "metric.err17").write_csv(tmp_path / "large.csv")
    fit = cli("fit", tmp_path / "runs.csv", "--law", "overtraining", "--eval", "c4", "--draws", 20, "--out",
              tmp_path / "fit.json")  # fmt: skip
    assert fit.code == 0, fit.err
    assert "err17   loss.c4  lower" in fit.out
    predicted = cli("predict", tmp_path / "fit.json", tmp_path / "large.csv", "--metric", "err17", "--out",
                    tmp_path / "p.parquet")  # fmt: skip
    assert predicted.code == 0, predicted.err
    assert "metric.err17 (lower is better):" in predicted.out
    # The warning has the lowest predicted and the lowest fitted loss.
    assert "extrapolated: loss.c4 2." in predicted.err and "the lowest value in the fit of metric." in predicted.err
    table = pl.read_parquet(tmp_path / "p.parquet")
    assert table.columns == ["run", "predicted", "low", "high", "predicted.c4", "low.c4", "high.c4"]
    assert table["predicted"].to_list() == pytest.approx(ERRORS[corpus], abs=2e-4)
    assert (table["low"] < table["predicted"]).all() and (table["predicted"] < table["high"]).all()


def test_intervals_of_the_chain_hold_new_runs(cli, tmp_path):
    """Planted noise of 1 % of the loss and .005 of the error: the 90 % intervals of larger runs hold about 90 %."""
    larger = [(n, m) for n in (6e8, 1e9) for m in (10.0, 20.0, 40.0, 80.0, 160.0)]
    covered = []
    for seed in range(4):
        noise = {"noise": 0.01, "scatter": 0.005}
        published_runs("c4", SMALL, **noise, seed=seed).write_csv(tmp_path / "runs.csv")
        new = published_runs("c4", larger, **noise, seed=100 + seed)
        new.write_csv(tmp_path / "new.csv")
        assert cli("fit", tmp_path / "runs.csv", "--law", "overtraining", "--eval", "c4", *QUICK, "--out",
                   tmp_path / "fit.json").code == 0  # fmt: skip
        assert cli("predict", tmp_path / "fit.json", tmp_path / "new.csv", "--metric", "err17", "--out",
                   tmp_path / "p.parquet").code == 0  # fmt: skip
        table = pl.read_parquet(tmp_path / "p.parquet")
        measured = new["metric.err17"]
        covered.append(((table["low"] <= measured) & (measured <= table["high"])).mean())
    assert 0.8 <= np.mean(covered) <= 1.0


SHARES = np.linspace(0.1, 0.9, 9)


def mixtures(weights=(0.8, 0.4), sign=1.0, slope=1.0, rows=27):
    """Runs on pools a and b whose losses web and code want opposite shares; the metric follows the losses."""
    share = np.resize(SHARES, rows)
    web, code = 2 + np.exp(-2 * share), 2 + np.exp(-2 * (1 - share))
    tokens = 1e9 * 2.0 ** (np.arange(rows) // 9)
    web, code = web + (tokens / 1e9) ** -0.5, code + (tokens / 1e9) ** -0.5
    metric = 0.5 + sign * (0.4 - slope * 4 * np.exp(-weights[0] * web - weights[1] * code))
    names = [f"r{i}" for i in range(rows)]
    columns = {"params": 1e8, "tokens": tokens, "weight.a": share, "weight.b": 1 - share}
    return pl.DataFrame({"run": names} | columns | {"loss.web": web, "loss.code": code, "metric.task": metric})


@pytest.fixture
def planned(tmp_path, cli):
    """Fits two evals and a metric, and returns a function that plans with options."""
    pools = [{"name": name, "tokens": 1e12, "where": ["x"], "filter": None, "score": None} for name in "ab"]
    (tmp_path / "pools.json").write_text(json.dumps({"format": 2, "pools": pools}))

    def fit(runs, *options, evals="web,code", law="mixture_additive"):
        runs.write_csv(tmp_path / "runs.csv")
        return cli("fit", tmp_path / "runs.csv", "--law", law, "--eval", evals, *QUICK, *options, "--out",
                   tmp_path / "fit.json")  # fmt: skip

    def plan(*options):
        return cli("plan", tmp_path / "fit.json", "--pools", tmp_path / "pools.json", "--budget", "4e9:1e8", "--draws",
                   4, *options, "--out", tmp_path / "plan.json")  # fmt: skip

    return fit, plan, tmp_path


def test_a_plan_reports_the_metric_beside_the_loss(planned):
    fit, plan, folder = planned
    assert fit(mixtures()).code == 0
    reply = plan("--metric", "task")
    assert reply.code == 0, reply.err
    assert "metric.task is in its own unit; lower is better" in reply.out
    assert "task over proportional" in reply.out
    record = json.loads((folder / "plan.json").read_text())
    (entry,) = record["plans"]
    metric = entry["metric"]
    # Every point of the grid has the metric too, and an error falls with the tokens.
    values = [point["metric"]["value"] for point in record["grid"]]
    assert len(values) == 16
    assert values == sorted(values, reverse=True)
    assert (metric["name"], metric["better"]) == ("task", "lower")
    assert metric["low"] < metric["value"] < metric["high"]
    assert set(metric["gains"]) == set(entry["gains"])
    # The losses that the plan predicts give the metric that it predicts.
    web, code = (entry["evals"][name][0] for name in ("web", "code"))
    assert metric["value"] == pytest.approx(0.9 - 4 * np.exp(-0.8 * web - 0.4 * code), abs=2e-3)
    # One metric does not move the plan by being reported.
    shares = entry["weights"]
    assert plan().code == 0
    assert json.loads((folder / "plan.json").read_text())["plans"][0]["weights"] == shares


@pytest.mark.parametrize(("sign", "better"), [(1.0, "lower"), (-1.0, "higher")])
def test_a_metric_is_optimised_through_the_losses_that_decide_it(planned, sign, better):
    """The metric weighs web twice as much as code. So its best mixture has more of pool a than the mean loss has."""
    fit, plan, folder = planned
    assert fit(mixtures(sign=sign)).code == 0
    assert plan("--metric", "task").code == 0
    (of_mean,) = json.loads((folder / "plan.json").read_text())["plans"]
    assert plan("--target", "metric.task").code == 0
    (of_metric,) = json.loads((folder / "plan.json").read_text())["plans"]
    assert plan("--target", "web=2,code=1").code == 0
    (weighted,) = json.loads((folder / "plan.json").read_text())["plans"]
    assert of_metric["metric"]["better"] == better
    assert of_metric["weights"]["a"] > of_mean["weights"]["a"] + 0.05
    assert of_metric["weights"]["a"] == pytest.approx(weighted["weights"]["a"], abs=0.02)
    # A gain is above 0 where the plan is better, in either direction.
    assert of_metric["metric"]["gain"] > 0
    assert sign * (of_mean["metric"]["value"] - of_metric["metric"]["value"]) > 0


def test_a_flat_metric_is_reported_but_not_optimised(planned):
    fit, plan, _ = planned
    runs = mixtures(slope=0.0).with_columns(
        pl.col("metric.task") + pl.Series(0.01 * np.random.default_rng(0).standard_normal(27))
    )
    reply = fit(runs, "--on", "web")
    assert reply.code == 0, reply.err
    assert "note: the runs do not determine how metric.task depends on loss.web" in reply.out
    reported = plan("--metric", "task")
    assert "the runs do not determine how metric.task depends on loss.web" in reported.out
    assert "Choose another --target" in one_line(plan("--target", "metric.task"))


def test_what_metrics_cannot_do_is_one_line(planned, cli):
    fit, plan, folder = planned
    assert fit(mixtures(), "--metric", "none", law="power").code == 0
    message = "has no curve of metric.task; its metrics are none. Fit the curve together with the laws: curate fit RUNS"
    assert message in one_line(plan("--metric", "task"))
    assert message in one_line(cli("predict", folder / "fit.json", folder / "runs.csv", "--metric", "task", "--out",
                                   folder / "p.csv"))  # fmt: skip
    assert "no column 'metric.tsk': the metrics of the table are task" in one_line(fit(mixtures(), "--metric", "tsk"))
    assert "Add code to --eval" in one_line(fit(mixtures(), "--on", "code", evals="web"))
    assert "a metric cannot be weighted together with losses" in one_line(plan("--target", "web=1,metric.task=1"))
    assert "name two metrics" in one_line(plan("--target", "metric.task", "--metric", "other"))
    few = fit(
        mixtures(rows=18).with_columns(pl.when(pl.col("run").is_in(["r0", "r1"])).then("metric.task")), law="power"
    )
    assert few.code == 0 and "note: metric.task has no curve: " in few.out
    many = mixtures().with_columns(pl.col("metric.task").alias(f"metric.{i}") for i in range(8))
    reply = fit(many, law="power")
    assert (
        "note: no metric is fitted: the runs have 9 metrics, and more than 8 are not fitted by default. Name"
        in reply.out
    )
    wrong = cli("fit", folder / "runs.csv", "--law", "mixing", "--eval", "web", "--by", "run", "--metric", "task",
                "--out", folder / "x.json")  # fmt: skip
    assert wrong.code == 2 and "needs laws of one corpus: leave --by out, and choose a corpus by --where" in wrong.err


def test_a_curve_alone_predicts_from_measured_losses_and_does_not_plan(planned, cli):
    fit, plan, folder = planned
    assert fit(mixtures(), "--on", "web,code", evals="task", law="downstream").code == 0
    finished = mixtures().with_columns(pl.when(pl.col("run") != "r3").then("loss.web").alias("loss.web"))
    finished.write_csv(folder / "finished.csv")
    reply = cli("predict", folder / "fit.json", folder / "finished.csv", "--out", folder / "p.csv")
    assert reply.code == 0, reply.err
    table = pl.read_csv(folder / "p.csv")
    assert table["predicted"].null_count() == 1
    wrong = (table["predicted"] - mixtures()["metric.task"]).abs().max()
    assert wrong < 1e-4
    no_loss = mixtures().drop("loss.web")
    no_loss.write_csv(folder / "no_loss.csv")
    reply = cli("predict", folder / "fit.json", folder / "no_loss.csv", "--out", folder / "p.csv")
    assert "the runs have no column loss.web" in one_line(reply)
    assert "--law LAW --eval web,code --metric task" in one_line(plan("--metric", "task"))


STEPS = {"theta": {"L0": 2.6}, "r2": 1.0, "rows": 9, "run": "u"}


@pytest.mark.parametrize(
    ("curve", "predicts", "use"),
    [
        (
            "annealing",
            "has a curve for each run, as earlier versions fitted annealing, and no draws",
            "fit a law, such as chinchilla or ces",
        ),
        ("relearn", "has a fit of relearn", "fit a law, such as replay or dcpt, or use `curate cmr`"),
    ],
)
def test_curves_over_steps_say_what_to_use(planned, cli, curve, predicts, use):
    _, plan, folder = planned
    (folder / "fit.json").write_text(json.dumps({"format": 2, "eval": "web", "laws": [{"law": curve} | STEPS]}))
    mixtures().write_csv(folder / "runs.csv")
    predicted = cli("predict", folder / "fit.json", folder / "runs.csv", "--out", folder / "p.csv")
    assert predicts in one_line(predicted)
    reply = one_line(plan())
    assert f"has a fit of {curve}, which is not a law of mixtures. It gives the loss at each step" in reply
    assert use in reply
    if curve == "relearn":
        assert "To predict other learning rates, fit multi_power" in one_line(predicted)


def test_a_metric_that_never_changes_has_no_curve(cli, tmp_path):
    runs = published_runs("c4", SMALL, scatter=0.003).with_columns(pl.lit(0.5).alias("metric.chance"))
    runs.write_csv(tmp_path / "runs.csv")
    flags = ("fit", tmp_path / "runs.csv", "--law", "overtraining", *QUICK, "--out", tmp_path / "fit.json")
    reply = cli(*flags)
    assert reply.code == 0, reply.err
    record = json.loads((tmp_path / "fit.json").read_text())
    assert [law["eval"] for law in record["laws"]] == ["c4", "err17"]
    assert any("metric.chance is 0.5 in all 16 rows" in note for note in record["notes"])
    assert "metric.chance is 0.5" in one_line(cli(*flags, "--metric", "chance"))


def test_a_word_in_a_metric_stops_only_a_fit_of_that_metric(cli, tmp_path):
    runs = published_runs("c4", SMALL, scatter=0.003)
    words = pl.Series(["crashed", *runs["metric.err17"].cast(str)[1:]])
    runs.with_columns(words.alias("metric.broken")).write_csv(tmp_path / "runs.csv")
    flags = ("fit", tmp_path / "runs.csv", "--law", "overtraining", *QUICK, "--out", tmp_path / "fit.json")
    reply = cli(*flags)
    assert reply.code == 0, reply.err
    record = json.loads((tmp_path / "fit.json").read_text())
    assert [law["eval"] for law in record["laws"]] == ["c4", "err17"]
    assert any("metric.broken of run" in note and '"crashed"' in note for note in record["notes"])
    error = one_line(cli(*flags, "--metric", "broken"))
    assert f"{tmp_path / 'runs.csv'}: metric.broken of run '{runs['run'][0]}' is \"crashed\"" in error
