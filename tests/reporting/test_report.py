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
