"""The function `report` writes what the command writes, and its result shows itself."""

import json

import pytest

import curate
from curate.errors import SchemaError
from curate.reporting.check import verdict

POOLS = [{"name": name, "tokens": 1000, "examples": 10} for name in ("a", "b")]
ROWS = [
    {"mixture": name, "predicted": 2.0, "low": 1.9, "high": 2.1, "measured": loss, "inside": loss < 2.1}
    for name, loss in (("plan", 2.0), ("uniform", 2.05), ("size", 2.2))
]


@pytest.fixture
def folder(tmp_path):
    """A folder with two pools."""
    (tmp_path / "pools.json").write_text(json.dumps({"pools": POOLS}))
    return tmp_path


def test_the_function_writes_what_the_command_writes(cli, folder):
    page = curate.report(folder, folder / "function.html")
    reply = cli("report", folder, "--out", folder / "command.html", "--json")
    assert reply.code == 0, reply.err
    assert json.loads(reply.out) == {"sections": ["Pools"], "out": str(folder / "command.html")}
    assert (folder / "function.html").read_bytes() == (folder / "command.html").read_bytes()
    page.save(folder / "saved.html")
    assert (folder / "saved.html").read_text() == page.page


def test_without_out_nothing_is_written(folder):
    curate.report(str(folder))
    assert [path.name for path in folder.iterdir()] == ["pools.json"]


def test_a_report_shows_itself(folder):
    page = curate.report(folder)
    assert repr(page) == f"Report(1 sections of {folder})"
    assert page.table().rows(named=True) == [{"title": "Pools", "charts": 0, "tables": 1, "quotes": 0}]
    assert page.chart() is None
    assert page._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    (folder / "check.json").write_text(json.dumps({"tokens": 1e9, "rows": ROWS}))
    page = curate.report(folder)
    assert page.chart() is page.sections[0].charts[0]
    assert page.table()["charts"].to_list() == [1, 0]


def test_a_folder_without_results_is_one_message(tmp_path):
    with pytest.raises(SchemaError, match=r"holds none of scores/, pools.json"):
        curate.report(tmp_path)


def test_the_verdict_counts_the_baselines_that_the_plan_beats():
    assert verdict(ROWS) == (
        "measured: the plan beats 2 of 2 baselines; against the best of them (uniform) it is 0.0500 nats per byte "
        "better; 2 of 3 measured losses lie inside the 90 % interval"
    )
    worse = [row | {"measured": 3.0, "inside": False} if row["mixture"] == "plan" else row for row in ROWS]
    assert "the plan beats 0 of 2 baselines" in verdict(worse)
    assert "0.9500 nats per byte WORSE" in verdict(worse)
