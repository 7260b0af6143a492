"""Laws over recipes that are fitted to a metric: error rates, accuracies and bits per byte; plans of them."""

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import SchemaError
from curate.fitting.curves import direct_metric
from curate.fitting.job import fit
from curate.fitting.jobs import metric_as_loss
from curate.fitting.plan_job import plan
from curate.fitting.predict import load, predict
from curate.pool.pool import Budget, Pool
from curate.runs import run_table
from curate.runs.discrepancy import METRIC_SHIFT

QUICK = {"starts": 2, "draws": 4, "holdout": "random:0.25"}


def ladder(**columns):
    """Runs whose error has odds .3 + 60 / N^.3 + 400 / D^.35. The noise is .5 % of the odds."""
    rng = np.random.default_rng(0)
    sizes = np.array([(n, d) for n in (1e7, 4e7, 1.6e8, 6e8) for d in (5e8, 2e9, 8e9)])
    odds = 0.3 + 60 / sizes[:, 0] ** 0.3 + 400 / sizes[:, 1] ** 0.35
    odds = odds * np.exp(0.005 * rng.standard_normal(len(odds)))
    frame = pl.DataFrame({"run": [f"r{i}" for i in range(len(sizes))], "params": sizes[:, 0], "tokens": sizes[:, 1]})
    error = odds / (1 + odds)
    values = {"err": error, "acc": 1 - error, "bpb": 0.5 * odds}
    return frame.with_columns(**{f"metric.{name}": pl.Series(values[name]) for name in values}, **columns)


def fitted(name, frame=None, **options):
    chosen = {"law": "chinchilla", "eval": f"metric.{name}"} | QUICK | options
    return fit(ladder() if frame is None else frame, **chosen)


@pytest.mark.parametrize("kind", direct_metric.KINDS)
def test_odds_and_back(kind):
    values = np.array([0.01, 0.25, 0.5, 0.9])
    modelled = direct_metric.to_odds(values, kind)
    assert direct_metric.from_odds(torch.from_numpy(modelled), kind).tolist() == pytest.approx(values.tolist())
    by_hand = {"error": [1 / 99, 1 / 3, 1, 9], "accuracy": [99, 3, 1, 1 / 9], "positive": values.tolist()}
    assert modelled.tolist() == pytest.approx(by_hand[kind])


def test_an_error_an_accuracy_and_a_positive_metric_of_one_truth_agree():
    reports = {name: fitted(name) for name in ("err", "acc", "bpb")}
    assert [report.metric_kind for report in reports.values()] == ["error", "accuracy", "positive"]
    larger = pl.DataFrame({"run": ["a", "b"], "params": [2e9, 2e9], "tokens": [1e10, 4e10]})
    odds = 0.3 + 60 / 2e9**0.3 + 400 / np.array([1e10, 4e10]) ** 0.35
    truth = {"err": odds / (1 + odds), "acc": 1 / (1 + odds), "bpb": 0.5 * odds}
    for name, report in reports.items():
        predictions = predict(report, larger)
        assert (predictions.metric, predictions.better) == (name, "higher" if name == "acc" else "lower")
        rows = predictions.table()
        assert rows["predicted"].to_list() == pytest.approx(truth[name].tolist(), rel=0.05)
        assert (rows["low"] < rows["predicted"]).all() and (rows["predicted"] < rows["high"]).all()
        assert ((rows["low"] <= pl.Series(truth[name])) & (pl.Series(truth[name]) <= rows["high"])).all()
    errors, accuracies = (predict(reports[name], larger).table() for name in ("err", "acc"))
    assert (1 - errors["high"]).to_list() == pytest.approx(accuracies["low"].to_list(), rel=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("acc", "error"), ("acc", "positive"), ("err", "accuracy")])
def test_a_kind_against_the_trend_of_the_runs_is_noted(name, kind):
    words = f"metric.{name} {'falls' if name == 'acc' else 'rises'} with less compute, but --metric-kind {kind} says"
    assert any(note.startswith(words) for note in fitted(name, metric_kind=kind).notes)
    right = {"acc": "accuracy", "err": "error"}[name]
    assert not any("--metric-kind" in note for note in fitted(name, metric_kind=right).notes)


def test_the_remedy_for_percentages_is_one_that_works():
    percent = ladder().with_columns(pl.col("metric.acc") * 100)
    with pytest.raises(SchemaError, match="Divide percentages by 100: --map 'metric.acc=\"metric.acc\" / 100'"):
        fitted("acc", percent)
    mapped = fitted("acc", percent, map={"metric.acc": '"metric.acc" / 100'})
    assert mapped.points["measured"].max() <= 1


def test_predictions_of_a_rate_stay_between_0_and_1():
    tiny = pl.DataFrame({"run": ["a", "b"], "params": [1e4, 1e13], "tokens": [1e4, 1e15]})
    rows = predict(fitted("err"), tiny).table()
    assert (rows["low"] >= 0).all() and (rows["high"] <= 1).all()
    assert rows["predicted"][0] > rows["predicted"][1]


def test_points_are_in_the_unit_of_the_metric_and_words_say_what_the_law_models():
    report = fitted("acc")
    measured = dict(ladder().select("run", "metric.acc").rows())
    assert dict(report.points.select("run", "measured").rows()) == pytest.approx(measured)
    assert (report.points["predicted"] - report.points["measured"]).abs().max() < 0.01
    assert "The law predicts the odds e / (1 - e) of the error rate e = 1 - metric.acc." in str(report.shown[-1])
    assert any("it is taken for an accuracy" in note for note in report.notes)


def test_the_command_writes_what_predict_and_plan_read(cli, tmp_path):
    frame = ladder()
    mixed = pl.concat(
        [
            frame.with_columns(
                pl.col("run") + f"-{share}",
                (pl.col("metric.err") - 0.1 * share * (1 - share)).alias("metric.err"),
                **{"weight.a": pl.lit(share), "weight.b": pl.lit(1 - share)},
            )
            for share in (0.1, 0.3, 0.6, 0.9)
        ]
    ).drop("metric.acc", "metric.bpb")
    mixed.write_csv(tmp_path / "runs.csv")
    files = [tmp_path / name for name in ("runs.csv", "fit.json", "out.csv")]
    options = ["--law", "ces", "--starts", "2", "--draws", "4", "--holdout", "random:0.25"]
    reply = cli("fit", files[0], "--eval", "metric.err", *options, "--out", files[1])
    assert reply.code == 0, reply.err
    record = json.loads(files[1].read_text())
    assert (record["metric_kind"], record["evals"]) == ("error", ["metric.err"])
    assert record["laws"][0]["discrepancy"]["shift_at_e"] == record["discrepancy"]["shift_at_e"] == METRIC_SHIFT
    reply = cli("predict", files[1], files[0], "--out", files[2])
    assert reply.code == 0, reply.err
    assert "metric.err (lower is better)" in reply.out
    assert (pl.read_csv(files[2])["predicted"] - mixed["metric.err"]).abs().max() < 0.03
    assert isinstance(load(files[1]), direct_metric.DirectMetric)
    pools = (Pool("a", 1e11, 10), Pool("b", 1e11, 10))
    for name in (None, "err"):
        (planned,) = plan(files[1], pools, Budget(8e9, 6e8), metric=name, draws=4, within=0).plans
        assert planned.metric.name == "err"
        assert planned.metric.low < planned.metric.value < planned.metric.high < 1
        assert planned.loss == pytest.approx(planned.metric.value / (1 - planned.metric.value), rel=1e-6)
    (targeted,) = plan(files[1], pools, Budget(8e9, 6e8), target="metric.err", draws=4, within=0).plans
    assert targeted.weights == pytest.approx(planned.weights, abs=1e-3)
    with pytest.raises(SchemaError, match="has no metric.other: its law was fitted to metric.err"):
        predict(files[1], files[0], metric="other")
    with pytest.raises(SchemaError, match="has no curve of metric.other"):
        plan(files[1], pools, Budget(8e9, 6e8), metric="other")


@pytest.mark.parametrize(
    ("metric", "change", "options", "message"),
    [
        ("nothing", {}, {}, "has no column 'metric.nothing': its metrics are err, acc, bpb"),
        ("err", {}, {"metric": "acc"}, "--metric predicts metrics from losses"),
        ("err", {}, {"by": "run"}, "metric.err fits a law over recipes, and --by does not"),
        ("err", {}, {"law": "pruning_curves"}, "and --law pruning_curves does not"),
        ("err,metric.acc", {}, {}, "a law of a metric is fitted alone, because it has a unit of its own"),
        ("err", {}, {"metric_kind": "score"}, "--metric-kind score: choose one of error, accuracy, positive"),
        ("acc", {"metric.acc": 100 * pl.col("metric.acc")}, {}, "higher is better. A law over recipes needs a rate"),
        ("err", {"metric.err": pl.lit(0.5)}, {}, "hardly changes with less compute"),
        ("err", {"metric.err": -pl.col("metric.err")}, {"metric_kind": "error"}, "A rate lies between 0 and 1"),
        ("bpb", {"metric.bpb": pl.lit(0.0)}, {}, "is 0. It must be a finite number above 0; 12 such rows"),
        ("err", {"metric.err": pl.lit(None, dtype=pl.Float64)}, {}, "metric.err is empty in all 12 rows"),
        ("err", {"metric.err": pl.lit(1.0)}, {"metric_kind": "error"}, "metric.err is 0 or 1 in all rows"),
    ],
)
def test_what_no_law_can_model_is_one_line(metric, change, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        fitted(metric, ladder().with_columns(**change), **options)
    assert "\n" not in str(caught.value)


def test_a_kind_without_a_metric_is_one_line():
    with pytest.raises(SchemaError, match="--metric-kind is for a law of a metric"):
        fit(ladder().with_columns(**{"loss.web": 3.0}), eval="web", metric_kind="error")


def test_values_without_odds_are_left_out_and_the_direction_comes_from_a_loss_if_there_is_one():
    frame = ladder().with_columns(
        **{
            "metric.acc": pl.when(pl.col("run") == "r0").then(0.0).otherwise("metric.acc"),
            "loss.web": 2 - pl.col("metric.acc"),
        }
    )
    runs = metric_as_loss.as_loss(run_table.read(frame), "acc")
    assert runs.kind == "accuracy"
    assert any("falls with loss.web, so it is taken for an accuracy" in note for note in runs.runs.notes)
    assert any("exactly 0 or 1 in 1 of 12 rows, the first is 'r0'" in note for note in runs.runs.notes)
    assert runs.runs.frame["loss.metric.acc"].null_count() == 1


def test_two_runs_of_one_recipe_differ_by_what_the_law_misses_too():
    """As for losses: by the noise of a run or by the scatter of runs around the law, whichever is larger."""
    report = fitted("err")
    metric = report.direct
    recipes = run_table.check(ladder(), "memory", losses=False).recipes(metric.predictor.pools)
    scattered = replace(metric.predictor.discrepancy, scatter=0.2)
    wide = replace(metric, predictor=replace(metric.predictor, discrepancy=scattered))
    odds = metric.predictor.loss(recipes)
    ends = [direct_metric.from_odds(odds * math.exp(x), "error") for x in (0.2, -0.2)]
    assert torch.allclose(wide.run_deviation(recipes), (ends[0] - ends[1]) / 2)
    unknown = replace(metric, predictor=replace(metric.predictor, discrepancy=None))
    assert bool((unknown.run_deviation(recipes) < wide.run_deviation(recipes)).all())
