"""`curate schedule`: what it writes, what it prints, and what it says when asked for the impossible."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from curate.pool.pool import Pool, to_json
from curate.storage import artifacts

MC4 = [Pool("en", 2733e9, 1), Pool("it", 162e9, 1), Pool("zh", 39e9, 1), Pool("sw", 1e9, 1)]
PLANNED = {"en": 0.6, "it": 0.25, "zh": 0.1, "sw": 0.05}
TWO = ["--phase", "0.8:proportional", "--phase", "0.2:"]


@pytest.fixture
def job(cli, tmp_path, monkeypatch):
    """Run the job on mC4's sizes and two plans."""
    monkeypatch.chdir(tmp_path)
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(MC4)})
    budgets = ({"tokens": 1e12, "params": 1e9}, {"tokens": 1e13, "params": 1e10})
    flat = dict.fromkeys(PLANNED, 0.25)
    plans = [{"budget": b, "weights": w} for b, w in zip(budgets, (PLANNED, flat), strict=True)]
    artifacts.save(tmp_path / "plans.json", "plan", {"plans": plans})
    artifacts.save(tmp_path / "plan.json", "plan", {"plans": plans[:1]})
    return lambda *more: cli("schedule", "pools.json", "--out", "s.json", "--method", *more)


def written(result):
    assert result.code == 0, result
    return json.loads(Path("s.json").read_text())


def refused(result):
    assert result.code == 1, result
    (line,) = result.err.splitlines()
    assert line.startswith("curate: ")
    return line


def usage(result):
    assert result.code == 2, result
    assert "Traceback" not in result.err
    return " ".join(result.err.split())


def test_cooldown_as_published_with_its_harm(job):
    result = job("cooldown", "--tokens", "1e12", "--params", "8e8")
    record = written(result)
    assert {"method", "tokens", "phases", "epochs", "variance_factor", "warnings", "made_by"} <= set(record)
    assert [(p["from"], p["to"]) for p in record["phases"]] == [(0, 0.5), (0.5, 1)]
    assert record["phases"][0]["weights"]["en"] == pytest.approx(0.4543, abs=1e-4)
    assert record["epochs"]["sw"] == pytest.approx(46.83, rel=1e-3)
    assert record["exhausted"]["en"] is None
    assert record["exhausted"]["sw"] == pytest.approx(0.01071, rel=1e-3)
    (harmed,) = record["warnings"]
    assert harmed.startswith("sw: 45.8 repeats are in the harmful band")
    assert harmed in result.out
    assert "by 15.42" in result.out
    assert "46.83" in result.out
    assert json.loads(job("cooldown", "--tokens", "1e12", "--params", "8e8", "--json").out)["warnings"] == [harmed]


def test_the_other_methods_of_sizes(job):
    record = written(job("temperature", "--tokens", "1e12", "--tau", "5"))
    assert record["variance_factor"] == pytest.approx(29.83, rel=3e-4)
    assert record["scalarisation"][0]["loss_weights"]["sw"] == pytest.approx(0.0933 / 0.000340716, rel=1e-3)
    assert written(job("temperature", "--tokens", "1e9"))["weights"]["en"] == pytest.approx(0.5555, abs=1e-3)
    assert written(job("temperature", "--tokens", "1e9", "--tau", "inf"))["weights"] == dict.fromkeys(PLANNED, 0.25)
    record = written(job("unimax", "--tokens", "1e12"))
    assert record["weights"] == pytest.approx({"en": 0.42, "it": 0.42, "zh": 0.156, "sw": 0.004})
    assert record["warnings"] == ["at the cap of 4 epochs: zh, sw"]
    assert "give 2.935e+12 tokens" in written(job("unimax", "--tokens", "1e13", "--cap", "1"))["warnings"][0]
    rising = written(job("cooldown", "--tokens", "1e9", "--tau", "1", "--tau-then", "5", "--switch", "0.3"))
    assert rising["phases"][1]["from"] == 0.3
    assert "falling did better" in rising["warnings"][0]


def test_phases_of_every_kind_of_mixture(job):
    record = written(
        job(
            "piecewise",
            "--tokens",
            "1e10",
            "--steps",
            "1000",
            "--phase",
            "0.4:tau=3",
            "--phase",
            "0.3:en=0.5,sw=0.5",
            "--phase",
            "0.1:uniform",
            "--phase",
            "0.1:unimax=0.5",
            "--phase",
            "0.1:plan=1",
            "--plan",
            "plans.json",
        )
    )
    assert record["steps"] == [[0, 400], [400, 700], [700, 800], [800, 900], [900, 1000]]
    weights = [phase["weights"] for phase in record["phases"]]
    assert weights[1] == {"en": 0.5, "it": 0, "zh": 0, "sw": 0.5}
    assert weights[2] == weights[4] == dict.fromkeys(PLANNED, 0.25)
    assert weights[3]["sw"] == 0.25, "0.25e9 of the 1e9 tokens of this phase is under half an epoch"
    assert record["epochs"]["sw"] == pytest.approx(record["weights"]["sw"] * 10)


def test_a_ramp(job):
    record = written(job("ramp", "--main", "proportional", "--anneal", "plan", "--plan", "plan.json", "--parts", "4"))
    assert record["tokens"] == 1e12, "the plan's"
    assert len(record["phases"]) == 4
    assert record["weights"]["sw"] == pytest.approx((0.05 + 1 / 2935) / 2)
    assert "drawn from other pools than in plan 0" in record["warnings"][0]


def test_two_stages_keep_the_totals_of_a_plan(job):
    for more in (
        ["--late", "sw", "--late", "zh=0.5"],
        ["--anneal", "sw=0.4,zh=0.6"],
        ["--main", "en=0.6,it=0.25,zh=0.1,sw=0.05", "--total", "plan"],
        ["--main", "en=0.65,it=0.25,zh=0.1"],
    ):
        record = written(job("two-stage", "--plan", "plan.json", *more))
        assert record["weights"] == pytest.approx(PLANNED, rel=1e-9)
        assert record["phases"][1]["from"] == 0.9
        assert not any("other pools" in line for line in record["warnings"])
        assert any("harmful band of a model of 1e+09" in line for line in record["warnings"]), "the plan's parameters"
    late = written(job("two-stage", "--plan", "plan.json", "--late", "sw", "--late", "zh=0.5"))
    assert late["phases"][0]["weights"]["sw"] == 0
    assert late["phases"][1]["weights"] == pytest.approx({"en": 0, "it": 0, "zh": 0.5, "sw": 0.5})


def test_two_plans_as_two_stages(job):
    free = written(
        job(
            "two-stage",
            "--plan",
            "plans.json",
            "--tokens",
            "1e12",
            "--main",
            "plan=0",
            "--anneal",
            "plan=1",
            "--anneal-fraction",
            "0.2",
        )
    )
    assert free["weights"]["sw"] == pytest.approx(0.8 * 0.05 + 0.2 * 0.25)
    assert not any("plan" in line for line in free["warnings"]), "which of two plans to compare with was not said"
    shorter = written(job("two-stage", "--plan", "plans.json", "--budget", "1", "--tokens", "1e12", "--late", "sw=0.2"))
    assert shorter["warnings"][0].startswith("plan 1 is for 1e+13 tokens, not 1e+12")


def test_the_same_bytes_again(job, tmp_path):
    arguments = ("two-stage", "--plan", "plan.json", "--late", "sw", "--steps", "100")
    job(*arguments)
    first = (tmp_path / "s.json").read_bytes()
    job(*arguments)
    assert (tmp_path / "s.json").read_bytes() == first
    assert set(json.loads(first)["made_by"]["inputs"]) == {"pools.json", "plan.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["piecewise", "--tokens", "1e9", *TWO[:3], "0.2:en=1,xx=1"], "pool 'xx': the pools are en, it, zh, sw"),
        (["piecewise", "--tokens", "1e9", *TWO[:3], "0.2:en=0.4,it=0.5"], "sum to 0.9: they must sum to 1"),
        (["piecewise", "--tokens", "1e9", *TWO[:3], "0.2:en=-1,it=2"], "share -1 of pool 'en'"),
        (["piecewise", "--tokens", "1e9", *TWO[:3], "0.1:uniform"], "the 2 phases take 0.9 of training"),
        (["piecewise", "--tokens", "1e9", "--phase", "-0.5:uniform", "--phase", "1.5:uniform"], "phase 1 takes -0.5"),
        (["piecewise", "--tokens", "1e9", *TWO[:3], "0.2:tau=0"], "temperature 0 must be positive"),
        (["piecewise", "--tokens", "1e9", *TWO[:3], "0.2:unimax=-1"], "both must be positive"),
        (["temperature", "--tokens", "1e9", "--tau", "-2"], "temperature -2 must be positive"),
        (["cooldown", "--tokens", "0"], "0 tokens: give a positive"),
        (
            ["cooldown", "--tokens", "1e9", "--switch", "1.5"],
            "the switch is 1.5. It must be a fraction of training, above 0 and below 1",
        ),
        (["cooldown", "--tokens", "1e9", "--params", "-1"], "model of -1 parameters"),
        (["cooldown", "--tokens", "1e9", "--steps", "1"], "has no step of 1"),
        (["unimax", "--tokens", "-1"], "both must be positive"),
        (["unimax", "--tokens", "1e9", "--cap", "0"], "both must be positive"),
        (["ramp", "--tokens", "1e9", "--main", "uniform", "--anneal", "tau=2", "--parts", "1"], "give 2 or more"),
        (["two-stage", "--plan", "plan.json", "--late", "it"], "all of it, drawn late, is 0.25 of all tokens"),
        (["two-stage", "--plan", "plan.json", "--late", "xx"], "no pool 'xx' to draw late"),
        (["two-stage", "--plan", "plan.json", "--anneal", "sw=1"], "the total has only 0.05: lower its share to 0.5"),
        (
            ["two-stage", "--plan", "plan.json", "--late", "sw", "--anneal-fraction", "1"],
            "anneal fraction is 1. It must be",
        ),
        (
            ["two-stage", "--plan", "plan.json", "--budget", "1", "--late", "sw"],
            "no budget 1: choose one with --budget",
        ),
        (["two-stage", "--plan", "plans.json", "--late", "sw"], "has 2 budgets: choose one with --budget, where 0 is"),
        (["two-stage", "--plan", "plans.json", "--tokens", "1e9", "--late", "sw"], "has 2 budgets: choose one"),
        (["two-stage", "--plan", "pools.json", "--late", "sw"], "pools.json has no field 'plans'"),
        (["two-stage", "--plan", "no.json", "--late", "sw"], "no such file: no.json"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(job, arguments, message):
    assert message in refused(job(*arguments))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"plans": []}, "has no plans"),
        ({"plans": [{"budget": {"tokens": 1, "params": 1}}]}, "plans[0] has no field 'weights'"),
        ({"plans": [{"budget": {"tokens": 1, "params": 1}, "weights": {"en": "x"}}]}, "en is 'x', not a number"),
        ({"plans": {"a": 1}}, "plans is an object, not a list"),
        (
            {"plans": [{"budget": {"tokens": 1, "params": 1}, "weights": {"xx": 1}}]},
            "plan 0 of bad.json has a share of",
        ),
        ({"plans": [{"budget": {"tokens": 1, "params": 1}, "weights": {"en": 0.5}}]}, "sum to 0.5"),
        (
            {"plans": [{"budget": {"tokens": 0, "params": 1}, "weights": {"en": 1}}]},
            "budget.tokens is 0, which is not above 0",
        ),
    ],
)
def test_broken_plans(job, tmp_path, content, message):
    artifacts.save(tmp_path / "bad.json", "plan", content)
    assert message in refused(job("two-stage", "--plan", "bad.json", "--late", "sw"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch", "--tokens", "1e9"], "'nosuch'"),
        (["temperature"], "--tokens: give the training tokens"),
        (["two-stage", "--late", "sw"], "give the training tokens or a --plan"),
        (["temperature", "--tokens", "1e9", "--cap", "3"], "--cap: --method temperature does not read it"),
        (["unimax", "--tokens", "1e9", "--phase", "1:uniform"], "--phase: --method unimax does not read it"),
        (["piecewise", "--tokens", "1e9"], "give one or more FRACTION:MIXTURE"),
        (["piecewise", "--tokens", "1e9", "--phase", "1"], "'1' is not FRACTION:MIXTURE"),
        (
            ["piecewise", "--tokens", "1e9", "--phase", "1:propotional"],
            "'propotional' is not a mixture: write proportional",
        ),
        (["piecewise", "--tokens", "1e9", "--phase", "1:tau=x"], "'tau=x' has no number"),
        (["piecewise", "--tokens", "1e9", "--phase", "1:en=.5,en=.5"], "names en twice"),
        (["piecewise", "--tokens", "1e9", "--phase", "1:plan"], "'plan' needs --plan"),
        (
            ["piecewise", "--plan", "plan.json", "--phase", "1:plan=-1"],
            "give the index of a plan as a whole number, from 0",
        ),
        (["piecewise", "--tokens", "1e9", "--phase", "1:uniform", "--budget", "1"], "one of the plans of --plan"),
        (["ramp", "--tokens", "1e9", "--main", "uniform"], "needs --main and --anneal"),
        (["two-stage", "--tokens", "1e9", "--main", "uniform"], "needs two of --main, --anneal and --total"),
        (["two-stage", "--plan", "plan.json"], "needs two of"),
        (["two-stage", "--plan", "plan.json", "--late", "sw", "--anneal", "uniform"], "needs two of"),
        (["two-stage", "--plan", "plan.json", "--late", "sw=x"], "'sw=x' is not NAME=NUMBER"),
    ],
)
def test_wrong_usage(job, arguments, message):
    assert message in usage(job(*arguments))


def test_passes_over_estimated_tokens_are_called_estimates(job):
    assert "bytes / 4" not in job("temperature", "--tokens", 1e12).out
    guessed = [replace(pool, token_counts="estimate") for pool in MC4]
    artifacts.save(Path("pools.json"), "pools", {"pools": to_json(guessed)})
    assert "The tokens of the pools are estimates: tokens (bytes / 4)." in job("temperature", "--tokens", 1e12).out
