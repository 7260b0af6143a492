"""fit.json holds a list of laws; files of format 1, with one law at the top, are read and predict the same."""

import json
import math

import numpy as np
import pytest
import torch
from problems import planted, theta

from curate.errors import SchemaError
from curate.fitting import fit_files
from curate.fitting.fit_json import old_formats
from curate.fitting.predict import load
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import recipes
from curate.storage import artifacts

# As version 0.6 wrote them, without a format number.
OLD_LAW = """{
 "compared": [{"law": "mixing", "heldout": 0.01, "low": 0.008, "high": 0.012}],
 "draws": [{"c": 1.5, "t": [-1.0, 0.5]}, {"c": 1.6, "t": [-1.1, 0.4]}],
 "eval": "web",
 "heldout": {"heldout": 0.01, "high": 0.012, "low": 0.008, "rms": 0.01, "rows": 4},
 "law": "mixing",
 "made_by": {"arguments": {}, "inputs": {}, "seed": 0, "version": "0.6.0"},
 "noise": 0.01,
 "notes": [],
 "pools": ["a", "b"],
 "ranges": {"epochs": [0.0, 1.0], "params": [1e8, 1e8], "share of a": [0.0, 1.0], "tokens": [1e9, 1e9]},
 "rmse": 0.004,
 "rows": 20,
 "theta": {"c": 1.5, "t": [-1.0, 0.5]}
}"""
MIXTURE = recipes([[0.25, 0.75]], [1e9], [1e8])
LOSS = 1.5 + math.exp(-0.25 + 0.375)


def old_blend() -> str:
    law = json.loads(OLD_LAW)
    other = {**law, "eval": "code", "theta": {"c": 2.5, "t": [-1.0, 0.5]}}
    blend = {"law": "blend", "eval": "web+code", "pools": ["a", "b"], "theta": {}, "weights": [0.25, 0.75]}
    return json.dumps(blend | {"fits": [law, other]})


def test_an_old_file_of_one_law_predicts_the_same(tmp_path):
    (tmp_path / "fit.json").write_text(OLD_LAW)
    fit = fit_files.load(tmp_path / "fit.json")
    assert (fit.spec, fit.eval, fit.pools, fit.rows) == ("mixing", "web", ("a", "b"), 20)
    assert float(fit.loss(MIXTURE)) == pytest.approx(LOSS, rel=1e-15)
    assert fit.draw_losses(MIXTURE).shape == (2, 1)


def test_an_old_blend_predicts_the_same(tmp_path):
    (tmp_path / "fit.json").write_text(old_blend())
    blend = fit_files.load(tmp_path / "fit.json")
    assert isinstance(blend, Blend)
    assert blend.eval == "web+code"
    assert float(blend.loss(MIXTURE)) == pytest.approx(0.25 * LOSS + 0.75 * (LOSS + 1), rel=1e-15)


@pytest.mark.parametrize("text", [OLD_LAW, old_blend()])
def test_an_old_file_is_written_again_in_the_new_form(tmp_path, text):
    (tmp_path / "old.json").write_text(text)
    fit = fit_files.load(tmp_path / "old.json")
    artifacts.save(tmp_path / "new.json", "fit", fit_files.to_json(fit))
    record = json.loads((tmp_path / "new.json").read_text())
    assert record["format"] == 2
    assert sum(law["weight"] for law in record["laws"]) == 1
    again = fit_files.load(tmp_path / "new.json")
    assert torch.equal(again.loss(MIXTURE), fit.loss(MIXTURE))
    assert all(torch.equal(x, y) for x, y in zip(again.interval(MIXTURE), fit.interval(MIXTURE), strict=True))


def test_the_new_form_names_laws_evals_and_errors():
    members = tuple(planted("mixing", "ab", theta("mixing", 2, seed=s)) for s in (1, 2))
    record = fit_files.to_json(Blend(members, (0.25, 0.75), "web"))
    assert [law["weight"] for law in record["laws"]] == [0.25, 0.75]
    assert record["evals"] == ["web"]
    assert record["rmse"] == pytest.approx(0.01)
    assert record["rows"] == 40


OLD_STEPS = {
    "law": "relearn",
    "eval": "web",
    "theta": {"L0": 2.6},
    "fits": {"u": {"theta": {"B": 0.1}, "r2": 1.0, "rows": 9}},
}
OLD_CORPORA = {"by": "corpus", "fits": {"x": json.loads(OLD_LAW)}, "crossings": [], "curves": []}


def test_old_curves_and_corpora_become_lists():
    (law,) = old_formats.as_list(OLD_STEPS)["laws"]
    assert law == {"law": "relearn", "run": "u", "theta": {"L0": 2.6, "B": 0.1}, "r2": 1.0, "rows": 9}
    (law,) = old_formats.as_list(OLD_CORPORA)["laws"]
    assert (law["corpus"], law["law"], law["theta"]["c"]) == ("x", "mixing", 1.5)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (OLD_STEPS, "has a fit of relearn, which is not a law of mixtures"),
        (OLD_CORPORA, r"has a fit for each corpus \(x\). Fit one of them alone with --where"),
        ({"laws": [{"law": "mixing"}]}, r"fit.json: laws\[0\] has no field '(draws|eval)'"),
        ({"laws": [{"law": "mixing"}], "format": 3}, "has format 3"),
        ({"laws": {"web": []}, "ratios": []}, "fit.json: laws is an object, not a list"),
        ({"laws": []}, "fit.json: laws is a list of 0, which is empty"),
        ({"law": "blend", "fits": [1], "weights": [1.0]}, r"fits\[0\] is 1, not an object"),
        ({"law": "annealing", "fits": {"u": 1}}, "fits.u is 1, not an object"),
    ],
)
def test_what_is_no_law_of_mixtures_is_one_line(tmp_path, record, message):
    (tmp_path / "fit.json").write_text(json.dumps(record))
    for read in (fit_files.load, load):
        with pytest.raises(SchemaError, match=message) as caught:
            read(tmp_path / "fit.json")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["theta", "draws"])
def test_a_parameter_below_0_is_one_line_where_the_law_takes_its_power(tmp_path, part):
    record = json.loads(OLD_LAW)
    chosen = record["theta"] if part == "theta" else record["draws"][1]
    chosen["t"] = [-1.0, -0.5]
    (tmp_path / "fit.json").write_text(json.dumps(record))
    assert load(tmp_path / "fit.json").loss(MIXTURE) > 0  # t may have any sign
    chosen["c"] = -1.5
    (tmp_path / "fit.json").write_text(json.dumps(record))
    where = "theta" if part == "theta" else "a draw"
    with pytest.raises(SchemaError, match=rf"fit\.json is not a fit.json \(parameter c is below 0 in {where}\)"):
        load(tmp_path / "fit.json")


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([2.0, 1.0], r"the low end of ranges\['share of a'\] is above its high end"),
        ([-49.9, 1.0], r"the low end of ranges\['share of a'\] is -49.9, which is below 0"),
    ],
)
def test_impossible_ranges_are_one_line(tmp_path, ends, message):
    record = json.loads(OLD_LAW)
    record["ranges"]["share of a"] = ends
    (tmp_path / "fit.json").write_text(json.dumps(record))
    with pytest.raises(SchemaError, match=message):
        fit_files.load(tmp_path / "fit.json")


def test_reprs_are_one_short_line():
    fit = planted("mixing", "ab", theta("mixing", 2))
    assert repr(fit) == "Fit(mixing of loss.web, 2 pools, 40 runs, rmse 1.00%, 20 draws)"
    assert np.isclose(fit.rmse, 0.01)
