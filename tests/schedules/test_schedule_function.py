"""`curate.schedules.job.schedule`: pools and plans in memory, what it returns, and what it refuses."""

import json

import pytest

from curate.errors import SchemaError
from curate.pool import mixture
from curate.pool.mixture_rules import MixtureRule
from curate.pool.pool import Pool, to_json
from curate.schedules.job import Schedule, schedule
from curate.schedules.methods import WrongOption
from curate.storage import artifacts

MC4 = [Pool("en", 2733e9, 1), Pool("it", 162e9, 1), Pool("zh", 39e9), Pool("sw", 1e9, 1)]
PLAN = {
    "plans": [{"budget": {"tokens": 1e12, "params": 1e9}, "weights": {"en": 0.6, "it": 0.25, "zh": 0.1, "sw": 0.05}}]
}


def test_the_function_gives_the_file_of_the_command(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(MC4)})
    artifacts.save(tmp_path / "plan.json", "plan", PLAN)
    flags = ["--phase", "0.8:tau=3", "--phase", "0.2:plan", "--plan", "plan.json", "--steps", "100"]
    done = cli("schedule", "pools.json", "--method", "piecewise", *flags, "--out", "command.json")
    assert done.code == 0, done
    phases = [(0.8, MixtureRule("tau", 3)), (0.2, "plan")]
    result = schedule("pools.json", "piecewise", phases=phases, plan="plan.json", steps=100)
    result.save("function.json")
    assert (tmp_path / "function.json").read_bytes() == (tmp_path / "command.json").read_bytes()
    arguments = json.loads((tmp_path / "function.json").read_text())["made_by"]["arguments"]
    assert set(arguments) == {"pools", "method", "tokens", "params", "steps", "phase", "plan"}
    assert arguments["phase"] == [[0.8, "tau=3"], [0.2, "plan"]]


def test_pools_and_plans_in_memory(tmp_path):
    result = schedule(MC4, "two-stage", plan=PLAN, late={"sw": 1.0, "zh": 0.5})
    assert result.curriculum.weights == pytest.approx(PLAN["plans"][0]["weights"], rel=1e-9)
    assert set(result.made_by["inputs"]) == {"pools", "plan"}
    assert result.made_by["arguments"]["late"] == {"sw": 1.0, "zh": 0.5}
    result.save(tmp_path / "s.json")
    stored, memory = mixture.load(tmp_path / "s.json"), mixture.load(result)
    assert memory.parts == stored.parts
    assert memory.ends == (0.9, 1.0)


def test_what_a_schedule_shows():
    result = schedule(MC4, "cooldown", tokens=1e12, params=8e8)
    assert isinstance(result, Schedule)
    assert repr(result) == "Schedule(cooldown: 2 phases over 1e+12 tokens of 4 pools; 1 warnings)"
    assert result.table().columns == ["phase", "from", "to", "pool", "share", "tokens", "passes"]
    assert result.warnings[0] in result._repr_html_()
    assert result.record()["warnings"] == list(result.warnings)
    assert result.chart().to_dict()["mark"]["type"] == "rect"
    flat = schedule(MC4, "temperature", tokens=1e9, tau=float("inf"))
    assert flat.curriculum.weights == {"en": 0.25, "it": 0.25, "zh": 0.25, "sw": 0.25}
    assert flat.made_by["arguments"]["tau"] == "inf"


def test_shares_may_be_a_dictionary_or_the_name_of_a_rule():
    result = schedule(MC4, "ramp", tokens=1e9, main="proportional", anneal={"en": 0.5, "sw": 0.5}, parts=2)
    assert result.curriculum.weights_at(1.0)["sw"] == pytest.approx(0.75 * 0.5 + 0.25 / 2935)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("nosuch", {"tokens": 1e9}, "no method 'nosuch': choose one of temperature"),
        ("unimax", {"tokens": 1e9, "tau": 2.0}, "tau: --method unimax does not read it"),
        ("unimax", {"tokens": 1e9, "plan": PLAN}, "plan: --method unimax does not read it"),
        ("unimax", {}, "tokens: give the training tokens$"),
        ("ramp", {"tokens": 1e9, "main": "uniform"}, "needs --main and --anneal"),
        ("ramp", {"tokens": 1e9, "main": "uniform", "anneal": "plan"}, "anneal: 'plan' needs --plan"),
        ("piecewise", {"tokens": 1e9, "phases": [(1.0, "plan")]}, "phases: 'plan' needs --plan"),
        ("piecewise", {"tokens": 1e9, "phases": [(1.0, "flat")]}, "no mixture is called 'flat'"),
        ("piecewise", {"tokens": 1e9, "phases": [(1.0, {"xx": 1.0})]}, "phase 1 has a share of pool 'xx'"),
        ("piecewise", {"tokens": 1e9, "phases": [(1.0, "uniform")], "budget": 0}, "budget: it picks one of the plans"),
    ],
)
def test_wrong_options_are_named(method, options, message):
    with pytest.raises(SchemaError, match=message):
        schedule(MC4, method, **options)


def test_a_wrong_option_keeps_its_name_apart():
    with pytest.raises(WrongOption) as error:
        schedule(MC4, "unimax", tokens=1e9, tau=2.0)
    assert (error.value.option, error.value.message) == ("tau", "--method unimax does not read it")
    with pytest.raises(SchemaError, match="needs a value"):
        MixtureRule("tau")
