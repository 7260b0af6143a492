"""``curate.continual.job.cmr`` from Python: a table in memory, the same answers as the command, and what is shown."""

import json

import pytest
from problems import continued

from curate.continual.job import cmr
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget

ASKED = {"general": "web", "domain": "code", "pool": "code", "tolerance": (0.05, 0.1), "laws": ["cmr"]}
FAST = {"starts": 2, "draws": 20, "budgets": [Budget(1e9, 1e8), Budget(8e9, 1e8)]}


@pytest.fixture(scope="module")
def ratios():
    return cmr(continued(noise=0.002), **ASKED, **FAST)


def test_a_table_in_memory_gives_the_same_ratios_as_the_command(ratios, cli, tmp_path):
    continued(noise=0.002).write_csv(tmp_path / "runs.csv")
    reply = cli(
        "cmr",
        tmp_path / "runs.csv",
        "--general",
        "web",
        "--domain",
        "code",
        "--pool",
        "code",
        "--tolerance",
        "0.05,0.1",
        "--law",
        "cmr",
        "--starts",
        2,
        "--draws",
        20,
        "--budget",
        "1e9:1e8,8e9:1e8",
        "--out",
        tmp_path / "command.json",
    )
    assert reply.code == 0, reply.err
    ratios.save(tmp_path / "function.json")
    command, function = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("command", "function"))
    made_by = function.pop("made_by")
    command.pop("made_by")
    assert function == command
    assert made_by["arguments"]["runs"] == "table in memory"
    assert made_by["arguments"]["budgets"] == [{"tokens": 1e9, "params": 1e8}, {"tokens": 8e9, "params": 1e8}]
    assert set(made_by["inputs"]) == {"runs"}


def test_a_table_a_chart_and_short_words(ratios):
    table = ratios.table()
    assert table.select("tolerance", "tokens").rows() == [(0.05, 1e9), (0.05, 8e9), (0.1, 1e9), (0.1, 8e9)]
    assert table["share"].to_list() == pytest.approx([0.1**0.5] * 2 + [0.2**0.5] * 2, abs=0.03)
    assert "critical" not in table.columns
    assert len(repr(ratios).splitlines()) == 2
    assert "8e+09 tokens, tolerance 0.1: reached at 0.4" in repr(ratios)
    assert "only losses are compared" in ratios._repr_html_()
    chart = ratios.chart().to_dict()
    assert len(chart["vconcat"]) == 2


def test_warnings_name_the_ratio_that_they_are_about(ratios):
    assert "8e+09 tokens, tolerance 0.1: extrapolated: tokens 8e+09 is 2x the largest fitted (4e+09)" in ratios.warnings
    assert not [line for line in ratios.warnings if line.startswith("1e+09 tokens")]


def test_the_best_share_that_was_run_needs_no_law(ratios):
    assert [(best.tolerance, best.share, best.tokens) for best in ratios.measured] == [
        (0.05, 0.2, 4e9),
        (0.1, 0.4, 4e9),
    ]
    none = cmr(continued(noise=0.002), **ASKED | {"tolerance": 0.0}, **FAST).measured
    assert none[0].share is none[0].domain is None


def test_arguments_that_do_not_go_together():
    with pytest.raises(SchemaError, match="compute and share go together"):
        cmr(continued(), **ASKED, compute=[1e18])


def test_where_selects_rows_of_a_table_in_memory():
    with pytest.raises(FitError, match="2 different shares"):
        cmr(continued(), **ASKED, where="weight.code < 0.5")
