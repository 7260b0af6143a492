"""The functions `fit` and `predict`: the same files as the command, reports that a notebook can show."""

import json

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.fitting.job import fit
from curate.fitting.predict import predict

QUICK = {"starts": 4, "draws": 5}


@pytest.fixture
def runs(tmp_path):
    """Sixteen runs of two pools and two evals, of two corpora."""
    rng = np.random.default_rng(3)
    share = rng.uniform(0.05, 0.95, 16)
    loss = 1.5 + np.exp(-share)
    frame = pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(16)],
            "params": 1e6,
            "tokens": 1e8 * 2.0 ** rng.integers(0, 3, 16),
            "corpus": ["x", "y"] * 8,
            "weight.a": share,
            "weight.b": 1 - share,
            "loss.web": loss * np.exp(0.002 * rng.standard_normal(16)),
            "loss.code": loss + 0.3,
            "metric.error": 0.85 - 1.5 * np.exp(-0.8 * loss),
        }
    )
    frame.write_parquet(tmp_path / "runs.parquet")
    return tmp_path / "runs.parquet"


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ({"law": "mixing", "eval": "web"}, ["--law", "mixing", "--eval", "web"]),
        (
            {"law": ["mixing", "power"], "eval": ["web", "code"], "stack": True},
            ["--law", "mixing,power", "--eval", "web,code", "--stack"],
        ),
        (
            {"law": "downstream", "eval": "error", "on": "web"},
            ["--law", "downstream", "--eval", "error", "--on", "web"],
        ),
    ],
)
def test_the_function_writes_what_the_command_writes(cli, runs, tmp_path, arguments, flags):
    report = fit(runs, **arguments, **QUICK)
    report.save(tmp_path / "function.json")
    command = cli("fit", runs, *flags, "--starts", 4, "--draws", 5, "--out", tmp_path / "command.json")
    assert command.code == 0, command.err
    assert (tmp_path / "function.json").read_bytes() == (tmp_path / "command.json").read_bytes()
    command = cli("predict", tmp_path / "command.json", runs, "--out", tmp_path / "p.parquet")
    assert command.code == 0, command.err
    assert pl.read_parquet(tmp_path / "p.parquet").equals(predict(report, runs).table())


def test_a_report_has_tables_a_chart_and_a_short_repr(runs):
    report = fit(runs, law="mixing,power", eval="web,code", explain=True, **QUICK)
    assert report.table()["law"].to_list() == report.comparison["law"].to_list()
    assert report.table()["heldout"].is_sorted()
    assert report.parameters().columns == ["law", "param", "pool", "value", "low", "high"]
    one_size, held_out = report.notes
    assert one_size.startswith("all fitted runs have 1e+06 parameters: ")
    assert held_out.startswith("the longer trainings are held out (--holdout rolling)")
    assert repr(report) == "FitReport(blend of web, code, 32 measured points)"
    assert "<table" in report._repr_html_()
    chart = report.chart().to_dict()
    assert len(chart["datasets"]) == 2
    assert "has the smallest expected error at the next length" in report.shown[-1]


def test_predictions_have_a_table_a_chart_and_a_short_repr(runs, tmp_path):
    report = fit(runs, law="mixing", eval="web", **QUICK)
    predictions = predict(report.predictor, runs, level=0.5)
    rows = predictions.table()
    assert rows.columns == ["run", "predicted", "low", "high"]
    assert (rows["low"] < rows["high"]).all()
    assert repr(predictions).startswith("Predictions(16 runs, 1.")
    assert predictions.chart().to_dict()["layer"]
    predictions.save(tmp_path / "p.csv")
    assert pl.read_csv(tmp_path / "p.csv").height == 16


def test_a_comparison_of_corpora_reports_crossings_and_fits(runs, tmp_path):
    report = fit(runs, law="power", eval="web", by="corpus", **QUICK)
    assert list(report.corpora) == ["x", "y"]
    assert report.table().columns == ["worse", "better", "flops", "low", "high", "share"]
    assert report.parameters()["corpus"].unique().sort().to_list() == ["x", "y"]
    report.save(tmp_path / "fit.json")
    record = json.loads((tmp_path / "fit.json").read_text())
    assert [law["corpus"] for law in record["laws"]] == ["x", "y"]
    with pytest.raises(SchemaError, match="a fit of corpora does not predict single runs"):
        predict(report, runs)


def test_curves_and_corpora_take_one_law_and_one_eval(runs):
    with pytest.raises(SchemaError, match="--law downstream takes one law and one eval; 2 and 1 are given"):
        fit(runs, law="mixing,downstream", eval="web")
    with pytest.raises(SchemaError, match="--by takes one law and one eval; 1 and 2 are given"):
        fit(runs, law="mixing", eval=["web", "code"], by="corpus")


def test_a_table_in_memory_gives_the_same_fit_and_is_known_by_its_content(runs):
    frame = pl.read_parquet(runs)
    of_file = fit(runs, law="mixing", eval="web", **QUICK)
    of_frame, of_arrow = (fit(table, law="mixing", eval="web", **QUICK) for table in (frame, frame.to_arrow()))
    assert of_frame.record == of_file.record == of_arrow.record
    assert list(of_frame.made_by["inputs"]) == ["runs"]
    assert of_frame.made_by == of_arrow.made_by
    assert predict(of_frame, frame).table().equals(predict(of_file, runs).table())


def test_an_explanation_is_on_its_own_and_last(runs):
    report = fit(runs, law="mixing", eval="web", explain=True, **QUICK)
    assert report.explanation.startswith(
        "The prediction rests on one law, mixing.\nmixing has the smallest expected error"
    )
    assert report.shown[-1] == report.explanation


def test_an_infinite_metric_is_left_out_of_its_curve_with_a_note(runs):
    frame = pl.read_parquet(runs).with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(float("inf")).otherwise("metric.error").alias("metric.error")
    )
    note = "metric.error is infinite in 1 of 16 rows, the first is 'r3'. Its curve leaves them out"
    report = fit(frame, law="power", eval="web", **QUICK)
    assert note in report.notes and report.metrics["error"].rows == 15
    alone = fit(frame, law="downstream", eval="error", on="web", metric="none", **QUICK)
    assert alone.notes[0] == note and f"note: {note}" in [part for part in alone.shown if isinstance(part, str)]
    with pytest.raises(SchemaError, match="metric.error of run 'r3' is inf. It must be a finite number above 0"):
        fit(frame, law="power", eval="metric.error", metric_kind="positive", **QUICK)


def test_the_one_eval_that_is_fitted_is_not_silent_about_the_empty_one(runs):
    frame = pl.read_parquet(runs).with_columns(pl.lit(None, dtype=pl.Float64).alias("loss.code"))
    report = fit(frame, law="power", metric="none", **QUICK)
    assert report.evals == ("web",)
    assert "loss.code is left out: empty in all rows" in report.notes
    assert "note: loss.code is left out: empty in all rows" in [part for part in report.shown if isinstance(part, str)]
