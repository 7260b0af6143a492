"""A report shows every kind of fit: a law, a blend, trees, corpora, and each curve."""

import json

import artefact_samples
import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.fitting.curves.kinds import CURVES
from curate.fitting.job import fit
from curate.reporting.curves import SHOWN, TEXTS
from curate.reporting.report import report

QUICK = {"starts": 2, "draws": 3}
PILOTS = "Pilots: small runs and the fitted law"


def mixtures(n: int = 16) -> pl.DataFrame:
    """Runs of two pools and two evals, of two corpora."""
    return artefact_samples.runs(n, second="b")


def kept() -> pl.DataFrame:
    """Runs on two shares kept of data of six sizes; ``tokens`` are those kept."""
    rows = [
        (keep * size, keep, 2 * (keep * size) ** -0.3 * keep**0.1)
        for size in 10.0 ** np.arange(3, 9)
        for keep in (0.5, 1)
    ]
    tokens, keep, error = zip(*rows, strict=True)
    names = [f"r{i}" for i in range(len(rows))]
    return pl.DataFrame(
        {"run": names, "params": 1e8, "tokens": tokens, "keep": keep, "metric.top1": error}, strict=False
    )


def reported(folder, runs, *, beside=True, **question):
    """The report of a folder with a fit of these runs, and with the runs beside it."""
    if beside:
        runs.write_parquet(folder / "runs.parquet")
    # Without its own wish a fit has no metrics here, so that each test sees the sections that it is about.
    fit(runs, **{"metric": "none", **question}, **QUICK).save(folder / "fit.json")
    return report(folder, folder / "report.html")


def test_a_law_is_shown_beside_its_runs(tmp_path):
    page = reported(tmp_path, mixtures(), law="mixing", eval="web")
    assert page.table().rows() == [(PILOTS, 2, 2, 0)]
    assert "the law mixing predicts for" in page.sections[0].text


def test_runs_of_other_units_are_read_as_the_fit_read_them(tmp_path):
    path = tmp_path / "runs.parquet"
    mixtures().with_columns((pl.col("params") / 1e6).alias("N (M)")).drop("params").write_parquet(path)
    columns = {"params": '"N (M)" * 1e6'}
    fit(path, law="mixing", eval="web", metric="none", map=columns, **QUICK).save(tmp_path / "fit.json")
    assert report(tmp_path).table().rows() == [(PILOTS, 2, 2, 0)]


def test_a_law_without_its_runs_is_not_shown(tmp_path):
    with pytest.raises(SchemaError, match="holds none of"):
        reported(tmp_path, mixtures(), law="mixing", eval="web", beside=False)


def test_a_stack_of_laws_has_a_section_and_no_parameters(tmp_path):
    runs = mixtures()
    runs.write_parquet(tmp_path / "runs.parquet")
    # One law would win a stack of these two: the weights are planted.
    fits = [fit(runs, law=law, eval="web", metric="none", **QUICK).record for law in ("mixing", "power")]
    laws = [law | {"weight": 0.5} for record in fits for law in record["laws"]]
    (tmp_path / "fit.json").write_text(json.dumps(fits[0] | {"laws": laws, "format": 2}))
    page = report(tmp_path)
    assert page.table().rows() == [(PILOTS, 2, 1, 0)]
    assert "the fit predicts for" in page.sections[0].text


@pytest.mark.parametrize("stack", [True, False])
def test_a_blend_of_evals_has_a_section_for_each(tmp_path, stack):
    page = reported(tmp_path, mixtures(), law=["mixing", "power"], eval=["web", "code"], stack=stack)
    assert page.table().rows() == [(f"{PILOTS}, loss.web", 2, 1, 0), (f"{PILOTS}, loss.code", 2, 0, 0)]


def test_metrics_are_shown_after_the_laws(tmp_path):
    page = reported(tmp_path, mixtures(), law="mixing", eval="web", metric="auto")
    pilots, metrics = page.sections
    assert (pilots.title, metrics.title) == (PILOTS, "Fit: the curve downstream of error")
    quality, parameters = metrics.tables
    assert quality["better"].to_list() == ["lower"]
    assert parameters["param"].to_list() == ["eps", "k", "gamma"]


def test_runs_without_a_loss_are_left_out(tmp_path):
    runs = mixtures().with_columns(pl.when(pl.col("run") == "r3").then(None).otherwise("loss.web").alias("loss.web"))
    page = reported(tmp_path, runs, law="mixing", eval=["web", "code"])
    web, code = page.sections
    assert '"r3"' not in web.charts[0].to_json()
    assert '"r3"' in code.charts[0].to_json()


def test_trees_and_a_law_of_distances_are_shown(tmp_path):
    page = reported(tmp_path, mixtures(32), law="boosted:base=none", eval="web")
    assert page.table().rows() == [(PILOTS, 2, 1, 0)]
    runs = mixtures(32).with_columns(
        (pl.col("weight.a") * 2).alias("distance.web"), pl.col("weight.b").alias("distance.code")
    )
    page = reported(tmp_path, runs, law="transport", eval="web", target="web")
    # Nobody measured the distance of the two mixtures whose lines the first chart would show.
    assert page.table().rows() == [(PILOTS, 1, 2, 0)]


def test_a_fit_without_a_comparison_is_shown(tmp_path):
    reported(tmp_path, mixtures(), law="mixing", eval="web")
    record = json.loads((tmp_path / "fit.json").read_text())
    del record["compared"]
    (tmp_path / "fit.json").write_text(json.dumps(record))
    assert report(tmp_path).table()["tables"].to_list() == [1]


@pytest.mark.parametrize("beside", [True, False])
def test_corpora_are_compared(tmp_path, beside):
    page = reported(tmp_path, mixtures(), law="power", eval="web", by="corpus", beside=beside)
    (section,) = page.sections
    assert section.title == "Corpora: which to take at which compute"
    assert section.tables[-1]["corpus"].unique().sort().to_list() == ["x", "y"]
    assert '"x"' in page.chart().to_json()
    assert section.title in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("runs", "question", "charts", "params"),
    [
        (mixtures, {"law": "downstream", "eval": "error", "on": "web"}, 0, ["eps", "k", "gamma"]),
        (artefact_samples.steps, {"law": "annealing", "eval": "web"}, 0, ["L0", "A", "C", "alpha"]),
        (
            artefact_samples.steps,
            {"law": "relearn", "eval": "web"},
            0,
            ["L0", "A", "alpha", "C1", "C2", "E", "beta", "B"],
        ),
        (kept, {"law": "pruning_curves", "eval": "top1"}, 1, ["a", "b", "c"]),
    ],
)
def test_each_curve_is_shown(tmp_path, runs, question, charts, params):
    page = reported(tmp_path, runs(), **question)
    (section,) = page.sections
    assert section.title == f"Fit: the curve {question['law']} of {question['eval']}"
    assert section.text
    assert len(section.charts) == charts
    table = section.tables[-1]
    assert set(params) <= set(table["param"] if "param" in table.columns else table.columns)


def test_every_curve_has_something_to_show():
    assert set(SHOWN) == set(TEXTS) == set(CURVES)


@pytest.mark.parametrize("law", ["corpora", "downstream"])
def test_a_broken_fit_is_one_message(tmp_path, law):
    entry = {"law": law, "eval": "web", "corpus": "x"}
    record = {"laws": [entry], "eval": "web", "evals": ["web"], "format": 2}
    (tmp_path / "fit.json").write_text(json.dumps(record | ({"by": "corpus"} if law == "corpora" else {})))
    with pytest.raises(SchemaError, match=r"fit.json: laws\[0\] has no field"):
        report(tmp_path)
