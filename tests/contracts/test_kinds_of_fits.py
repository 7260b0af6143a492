"""What every fit promises: `predict` reads its file, or refuses it in one line that says what to do instead."""

import artefact_samples
import numpy as np
import polars as pl
import pytest

from curate.errors import CurateError
from curate.fitting.curves.downstream import KINDS
from curate.fitting.curves.kinds import CURVES
from curate.fitting.job import fit
from curate.fitting.plan_job import plan
from curate.fitting.predict import predict
from curate.pool.pool import Budget, Pool

QUICK = {"starts": 1, "draws": 2}
PREDICTED, REFUSED = "predicted", "refused"


def metrics(kind):
    """Runs with a metric that each kind of curve can read: an error of a loss, or a score that grows with tokens."""
    frame = artefact_samples.runs()
    growth = np.log(frame["tokens"].to_numpy() / 1e7)
    return frame.with_columns(**{"metric.score": pl.Series(growth / 8 if kind == "accuracy" else growth)})


# Every question that `fit` accepts: the runs, the options, and what `predict` does with the fit.
FITS = {
    "law": (artefact_samples.runs, {"law": "mixing", "eval": "web"}, PREDICTED),
    "laws of two evals": (artefact_samples.runs, {"law": "mixing", "eval": "web,code"}, PREDICTED),
    "stack": (artefact_samples.runs, {"law": "mixing,power", "eval": "web", "stack": True}, PREDICTED),
    "auto": (artefact_samples.runs, {"eval": "web"}, PREDICTED),
    "boosted": (lambda: artefact_samples.runs(32), {"law": "boosted:base=power", "eval": "web"}, PREDICTED),
    "gaussian": (artefact_samples.runs, {"law": "gaussian", "eval": "web"}, PREDICTED),
    "metric": (artefact_samples.runs, {"law": "mixing", "eval": "metric.error"}, PREDICTED),
    "corpora": (artefact_samples.runs, {"law": "power", "eval": "web", "by": "corpus"}, REFUSED),
    "annealing": (artefact_samples.steps, {"law": "annealing", "eval": "web"}, PREDICTED),
    "multi_power": (artefact_samples.steps, {"law": "multi_power", "eval": "web"}, PREDICTED),
    "relearn": (artefact_samples.steps, {"law": "relearn", "eval": "web"}, REFUSED),
    "pruning_curves": (artefact_samples.kept, {"law": "pruning_curves", "eval": "top1"}, PREDICTED),
} | {
    f"downstream:kind={kind}": (
        artefact_samples.runs if kind == "error" else lambda kind=kind: metrics(kind),
        {"law": f"downstream:kind={kind}", "eval": "error" if kind == "error" else "score", "on": "web"},
        PREDICTED,
    )
    for kind in KINDS
}


def test_the_list_has_every_curve():
    assert {name.partition(":")[0] for name in FITS} >= set(CURVES)


@pytest.mark.parametrize("name", FITS)
def test_predict_reads_the_file_or_refuses_it_in_one_line(name, tmp_path):
    table, question, outcome = FITS[name]
    frame = table()
    report = fit(frame, **question, **QUICK)
    report.save(tmp_path / "fit.json")
    for fitted in (tmp_path / "fit.json", report):
        if outcome == REFUSED:
            with pytest.raises(CurateError, match="Fit |fit ") as caught:
                predict(fitted, frame)
            assert "\n" not in str(caught.value)
            continue
        rows = predict(fitted, frame).table().drop_nulls("predicted")
        assert rows.height
        assert ((rows["low"] <= rows["predicted"]) & (rows["predicted"] <= rows["high"])).all()


@pytest.mark.parametrize("name", [name for name in FITS if name.partition(":")[0] in CURVES or name == "corpora"])
def test_plan_refuses_what_is_no_law_of_mixtures_in_one_line(name, tmp_path):
    table, question, _ = FITS[name]
    report = fit(table(), **question, **QUICK)
    report.save(tmp_path / "fit.json")
    for fitted in (tmp_path / "fit.json", report):
        with pytest.raises(CurateError) as caught:
            plan(fitted, [Pool("a", 1e9, 1)], Budget(1e9, 1e8))
        assert "\n" not in str(caught.value)
