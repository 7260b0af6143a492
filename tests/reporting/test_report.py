"""`curate report` shows the warnings of every artefact, also of files that still call them limits."""

import json

import pytest
from problems import continued

from curate.continual.job import cmr
from curate.pool.pool import Budget

PLAN = {
    "budget": {"tokens": 1e9, "params": 1e8},
    "weights": {"a": 1.0},
    "epochs": {"a": 0.5},
    "loss": 2.0,
    "low": 1.9,
    "high": 2.1,
    "gains": {"uniform": [0.1, 0.0, 0.2]},
}
PHASE = {"from": 0.0, "to": 1.0, "weights": {"a": 1.0}}


@pytest.mark.parametrize("name", ["warnings", "limits"])
def test_warnings_are_read_by_both_names(cli, tmp_path, name):
    plan = {"plans": [PLAN | {name: ["money 5 is spent"]}]}
    schedule = {"phases": [PHASE], name: ["pool a runs out at 0.7"]}
    ratios = cmr(
        continued(noise=0.002),
        general="web",
        domain="code",
        pool="code",
        tolerance=0.1,
        laws=["cmr"],
        starts=2,
        draws=5,
        budgets=[Budget(8e9, 1e8)],
    ).to_json()
    ratios[name] = ratios.pop("warnings")
    for kind, record in (("plan", plan), ("schedule", schedule), ("cmr", ratios)):
        (tmp_path / f"{kind}.json").write_text(json.dumps(record))
    reply = cli("report", tmp_path, "--out", tmp_path / "report.html")
    assert reply.code == 0, reply.err
    page = (tmp_path / "report.html").read_text()
    for warning in (
        "money 5 is spent",
        "pool a runs out at 0.7",
        "extrapolated: tokens 8e+09 is 2x the largest fitted",
    ):
        assert warning in page
    assert "Critical mixture ratios" in page


def test_the_metric_of_a_plan_is_shown_in_its_unit_with_its_gain(cli, tmp_path):
    metric = {"name": "acc", "better": "higher", "value": 71.25, "low": 69.5, "high": 73.0}
    metric |= {"gain": 1.5, "gain_low": -0.25, "gain_high": 3.25, "gains": {"proportional": [1.5, -0.25, 3.25]}}
    (tmp_path / "plan.json").write_text(json.dumps({"format": 2, "plans": [PLAN | {"metric": metric}, PLAN]}))
    assert cli("report", tmp_path, "--out", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "71.25 (69.5 to 73)" in page and "1.5 (-0.25 to 3.25)" in page
    assert "metric.acc: gain over proportional" in page


def test_bands_that_a_plan_lacks_are_not_explained(cli, tmp_path):
    drawn = PLAN | {"shares": {"a": [0.9, 1.0]}}
    for more, words in (({}, 0), ({"ranges": {"a": [0.8, 1.0]}, "within": 0.002}, 1)):
        (tmp_path / "plan.json").write_text(json.dumps({"format": 2, "plans": [drawn | more] * 2}))
        assert cli("report", tmp_path, "--out", tmp_path / "page.html").code == 0
        assert (tmp_path / "page.html").read_text().count("at most 0.002 nats higher") == words
        assert ("Dark band" in (tmp_path / "page.html").read_text()) == bool(words)
