"""`curate report` shows the warnings of every artefact, also of files that still call them limits."""

import json

import pytest
from problems import continued

from curate.continual.job import cmr
from curate.errors import SchemaError
from curate.pool.pool import Budget
from curate.reporting import plan_tables
from curate.reporting.plan import plan_sections

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


def _grid(sizes, tokens, names):
    weights = dict.fromkeys(names, 1 / len(names))
    return [
        PLAN | {"budget": {"tokens": count, "params": size}, "weights": weights, "epochs": dict.fromkeys(names, 0.5)}
        for size in sizes
        for count in tokens
    ]


def _sections(tmp_path, record):
    (tmp_path / "plan.json").write_text(json.dumps(record | {"format": 2}))
    return list(plan_sections(tmp_path))


def test_the_grid_is_drawn_for_each_size_and_said_in_words(tmp_path):
    grid = _grid([1e8, 1e9], [3e8, 1e9, 3e9], "ab")
    budgets = [{"tokens": 1e9, "params": 1e8}, {"tokens": 1e9, "params": 1e9}]
    omitted = {"budget": {"tokens": 9e9, "params": 1e8}, "reason": "too few tokens. Raise --max-epochs to 9"}
    record = {
        "plans": [PLAN | {"budget": budget} for budget in budgets],
        "grid": grid,
        "fitted": {"tokens": [1e8, 2e9], "params": [1e7, 1e8]},
        "grid_omitted": [omitted],
    }
    section = _sections(tmp_path, record)[1]
    assert section.title == "Plan: how the best mixture changes with the training tokens"
    assert "The fitted runs have 1e+08 to 2e+09 tokens." in section.text
    assert "At 1e+09 parameters everything is extrapolated: the largest fitted runs have 1e+08." in section.text
    assert "Token counts without a plan: 1. The first is 9e+09: too few tokens. Raise --max-epochs to 9" in section.text
    shares, losses = (chart.to_dict() for chart in section.charts)
    assert [panel["title"] for panel in shares["vconcat"]] == ["1e+08 parameters", "1e+09 parameters"]
    for panel in (*shares["vconcat"], losses):
        marks = [layer["mark"]["type"] for layer in panel["layer"]]
        assert {"area", "rect"} < set(marks)
        domains = [layer["encoding"]["x"]["scale"]["domain"] for layer in panel["layer"]]
        assert domains == [[3e8, 3e9]] * len(marks)


def test_what_lies_outside_of_the_fitted_tokens_ends_where_the_picture_ends():
    grid = _grid([1e8], [3e8, 1e9, 3e9], "ab")
    for fitted, rows in (
        ((1e9, 2e9), [(3e8, 1e9), (2e9, 3e9)]),
        ((1e8, 1e10), []),
        ((1e10, 2e10), [(3e8, 3e9)]),
        ((1e6, 1e7), [(3e8, 3e9)]),
    ):
        assert plan_tables.outside(grid, {"tokens": fitted}).rows() == rows
    assert plan_tables.outside(grid, {}).is_empty()


def test_the_smallest_of_many_pools_are_added_up():
    names = [f"p{i:02d}" for i in range(20)]
    shares = plan_tables.shares_by_size(_grid([1e8], [1e9, 2e9], names))
    of_point = shares.filter(tokens=1e9)
    assert of_point["pool"].to_list() == [*names[:11], "9 other pools"]
    assert of_point["weight"].sum() == pytest.approx(1)


@pytest.mark.parametrize("grid", [{}, {"grid": []}])
def test_a_plan_without_a_grid_shows_the_shares_of_its_budgets(tmp_path, grid):
    sections = _sections(tmp_path, {"plans": [PLAN, PLAN | {"budget": {"tokens": 1e10, "params": 1e8}}]} | grid)
    assert len(sections) == 1
    assert len(sections[0].charts) == 2


def test_a_front_is_read_in_its_old_form_too(tmp_path):
    interval = [2.0, 1.9, 2.1]
    old = {"weights": {"a": 1.0}, "losses": {"web": interval, "code": interval}}
    new = {"weights": {"a": 1.0}, "losses": {"uniform": 2.5}, "evals": {"web": interval, "code": interval}}
    tables = []
    for point in (old, new):
        front = {"tokens": 1e9, "evals": ["web", "code"], "plans": [point]}
        tables.append(_sections(tmp_path, {"plans": [PLAN], "front": [front]})[-1].tables[0].to_dicts())
    assert tables[0] == tables[1] == [{"loss web": 2.0, "loss code": 2.0, "a": 1.0}]
    bad = {"weights": {"a": 1.0}, "losses": {"web": [2.0, 1.9]}}
    with pytest.raises(SchemaError, match=r"plan.json: front\[0\].plans\[0\].losses.web is a list of 2"):
        _sections(tmp_path, {"plans": [PLAN], "front": [{"tokens": 1e9, "evals": ["web"], "plans": [bad]}]})


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
