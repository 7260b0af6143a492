"""The job `plan` as a function: the same file as the command writes, inputs in memory, and what a notebook shows."""

import json
from dataclasses import dataclass, replace

import polars as pl
import pytest
from problems import planted, pools

from curate.errors import SchemaError
from curate.fitting import fit_files
from curate.fitting.fit_report import FitReport
from curate.fitting.plan_job import plan
from curate.planning import plan as planner
from curate.planning.limits import Group, Limits
from curate.planning.plans import Plans
from curate.pool.pool import Budget, load_pools, to_json
from curate.reporting.plan import plan_sections
from curate.runs.predictors.blend import Blend
from curate.storage import artifacts

SHAPE = {"a": 4.0, "d": 0.8, "n0": 1e4, "tau": [3.0, 6.0, 9.0]}
CODE = replace(planted("utility_smooth", "abc", {**SHAPE, "b": [0.2, 0.1, 0.12]}), eval="code")
WEB = replace(planted("utility_smooth", "abc", {**SHAPE, "b": [0.1, 0.2, 0.14]}), eval="web")
BOTH = Blend((CODE, WEB), (0.5, 0.5), "code+web")
EDGES = {"a": (0.7, None), "b": (0.2, 0.7), "c": (None, 0.2)}
POOLS = tuple(replace(pool, score={"score.x": EDGES[pool.name]}) for pool in pools(a=2e9, b=2e9, c=1e12))
BUDGETS = [Budget(1e9, 1e9), Budget(1e11, 1e9)]


@dataclass
class Report:
    predictor: Blend


@pytest.fixture(scope="module")
def everything() -> Plans:
    return plan(BOTH, POOLS, BUDGETS, draws=3, pareto=("code", "web"), keep_curve=True)


@pytest.fixture
def files(tmp_path):
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(POOLS)})
    artifacts.save(tmp_path / "fit.json", "fit", fit_files.to_json(BOTH))
    return tmp_path


def test_the_function_writes_the_file_of_the_command(cli, files, monkeypatch):
    monkeypatch.chdir(files)
    options = ["--budget", "1e+09:1e+09,1e+11:1e+09", "--draws", 2, "--max-epochs", 8, "--min-weight", "a=0.05"]
    more = [
        "--group",
        "a,b<=0.5",
        "--ordered",
        "c,b",
        "--target",
        "code=2,web=1",
        "--pareto",
        "code,web",
        "--keep-curve",
    ]
    assert cli("plan", "fit.json", "--pools", "pools.json", *options, *more, "--out", "command.json").code == 0
    limits = Limits(max_epochs=8.0, min_weight={"a": 0.05}, groups=(Group(("a", "b"), high=0.5),), ordered=("c", "b"))
    target, evals = {"code": 2.0, "web": 1.0}, ("code", "web")
    plans = plan(
        "fit.json", "pools.json", BUDGETS, limits=limits, target=target, pareto=evals, draws=2, keep_curve=True
    )
    plans.save("function.json")
    assert (files / "function.json").read_bytes() == (files / "command.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (["--target", "code=2,web=1"], lambda point: True),
        (["--target", "worst"], lambda point: point["loss"] >= -1e-9),
        (["--min-weight", "a=0.2", "--max-weight", "b=0.1"], lambda p: p["weights"]["a"] > 0.1999 > p["weights"]["b"]),
        (["--max-epochs", 2], lambda point: max(point["epochs"].values()) <= 2 + 1e-9),
        (["--group", "a,b<=0.5"], lambda point: point["weights"]["c"] >= 0.5 - 1e-9),
        (["--robust", 0.9], lambda point: True),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_grid_keeps_to_the_targets_and_limits_of_the_plan(cli, files, options, holds):
    budget = ["--budget", "1e10:1e9", "--draws", 0, "--within", 0, "--out", files / "plan.json"]
    reply = cli("plan", files / "fit.json", "--pools", files / "pools.json", *budget, *options)
    assert reply.code == 0, reply.err
    record = json.loads((files / "plan.json").read_text())
    assert len(record["grid"]) == 16
    assert all(holds(point) for point in record["grid"])


@pytest.mark.parametrize("options", [["--base", "a=1"], ["--published", "utility"], ["--target", "nosuch=1"]])
def test_what_plan_does_not_know_is_one_line(cli, files, options):
    out = files / "plan.json"
    reply = cli(
        "plan", files / "fit.json", "--pools", files / "pools.json", "--budget", "1e10:1e9", "--out", out, *options
    )
    assert reply.code in (1, 2)
    assert len(reply.err.strip().splitlines()) == 1
    assert not out.exists()


def test_plans_are_those_of_the_planner_and_a_sequence(everything):
    direct = planner.frontier(BOTH, POOLS, BUDGETS)
    assert tuple(everything) == direct
    assert everything[1] == direct[1]
    assert len(everything) == 2


@pytest.mark.parametrize("fit", [BOTH, Report(BOTH)], ids=["predictor", "report"])
@pytest.mark.parametrize("budgets", [Budget(1e10, 1e9), "1e10:1e9", ["1e10:1e9"]])
def test_fits_and_budgets_are_taken_in_every_form(fit, budgets):
    plans = plan(fit, iter(POOLS), budgets, within=0, draws=0, target="web")
    assert plans[0].weights == planner.optimize(WEB, POOLS, Budget(1e10, 1e9)).weights
    assert plans[0].budget == Budget(1e10, 1e9)
    assert not plans.crossings


def test_the_record_says_what_was_in_memory(everything, files):
    made_by = everything.record()["made_by"]
    assert sorted(made_by["inputs"]) == ["fit", "pools"]
    assert made_by["arguments"]["fit"] == "code+web"
    assert made_by["arguments"]["pools"] is None

    def inputs(fit, pools):
        return plan(fit, pools, BUDGETS[:1], within=0, draws=0).record()["made_by"]["inputs"]

    # The same fit and pools have the same hashes, also when they come from their files or in a report.
    assert inputs(Report(fit_files.load(files / "fit.json")), load_pools(files / "pools.json")) == made_by["inputs"]
    other_pools = inputs(BOTH, pools(a=2e9, b=2e9, c=1e11))
    assert other_pools["pools"] != made_by["inputs"]["pools"]
    assert other_pools["fit"] == made_by["inputs"]["fit"]
    other_fit = inputs(replace(BOTH, weights=(0.4, 0.6)), POOLS)
    assert other_fit["fit"] != made_by["inputs"]["fit"]
    assert other_fit["pools"] == made_by["inputs"]["pools"]


def test_a_predictor_of_another_kind_has_no_hash():
    nested = Blend((BOTH,), (1.0,), "code+web")
    assert list(plan(nested, POOLS, BUDGETS[:1], within=0, draws=0).record()["made_by"]["inputs"]) == ["pools"]


@pytest.mark.parametrize(
    ("corpora", "subject"), [({"a": CODE, "b": WEB}, "corpora"), ({}, "annealing")], ids=["corpora", "curve"]
)
def test_a_report_without_a_law_of_mixtures_is_refused(corpora, subject):
    empty = pl.DataFrame()
    report = FitReport("annealing", empty, empty, empty, {}, (), corpora=corpora)
    with pytest.raises(SchemaError, match=f"a fit of {subject} does not predict the losses of mixtures"):
        plan(report, POOLS, BUDGETS)


def test_the_tables_have_a_row_a_budget_and_pool(everything):
    table, intervals = everything.table(), everything.interval_table()
    assert table.columns[:5] == ["tokens", "params", "pool", "weight", "epochs"]
    assert table.height == intervals.height == 6
    assert intervals["weight"].equals(table["weight"])
    assert (intervals["near_low"] <= intervals["weight"] + 1e-9).all()
    assert everything[0].table().equals(table.head(3))
    without = plan(BOTH, POOLS, BUDGETS[:1], within=0, draws=0).interval_table()
    assert without["near_low"].null_count() == without["low"].null_count() == 3
    assert without.schema == dict.fromkeys(intervals.columns, pl.Float64) | {"pool": pl.String}


def test_what_a_notebook_shows(everything):
    assert len(repr(everything)) < 100
    assert len(repr(everything[0])) < 200
    assert "<table" in everything._repr_html_()
    assert "at its maximum" in plan(BOTH, POOLS, BUDGETS, draws=0, within=0, limits=Limits(max_epochs=8))._repr_html_()
    assert everything.chart().to_dict()["mark"]["type"] == "area"
    assert plan(BOTH, POOLS, BUDGETS[0], draws=0, within=0).chart().to_dict()["mark"]["type"] == "bar"


def test_the_summary_has_every_part(everything):
    text = everything.summary()
    titles = (
        "How far each share may move",
        "Pools that enter or leave",
        "How much of the scored data",
        "Pareto front of",
    )
    assert [title for title in titles if title not in text] == []
    limited = plan(BOTH, POOLS, BUDGETS, draws=0, within=0, limits=Limits(max_epochs=8)).summary()
    assert "Limits that shaped this plan, and warnings:" in limited
    far = replace(CODE, ranges={**CODE.ranges, "tokens": (1e6, 1e8)})
    assert "EXTRAPOLATED up to 1e+03-fold: tokens 1e+11" in plan(far, POOLS, BUDGETS, draws=0, within=0).summary()


def test_crossings_and_changes_have_a_line_of_text(everything, tmp_path):
    everything.save(tmp_path / "plan.json")
    record = json.loads((tmp_path / "plan.json").read_text())
    assert [entry["text"] for entry in record["crossings"]] == [str(crossing) for crossing in everything.crossings]
    assert record["crossings"]
    assert [plan["warnings"] for plan in record["plans"]] == [list(plan.warnings) for plan in everything]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pareto": ("code", "law")}, "no eval 'law'"),
        ({"target": "law"}, "no eval 'law'"),
        ({"target": {"code": -1.0}}, "at least 0"),
        ({"target": "worst", "robust": 0.9}, "choose one"),
        ({"prior": {"z": 1.0}}, "no pool 'z'"),
        ({"budgets": []}, "no budgets"),
        ({"budgets": "1e10"}, "TOKENS:PARAMS"),
        ({"pools": POOLS[:2]}, "c on one side only"),
        ({"pools": (*POOLS, POOLS[0])}, "twice"),
        ({"pools": pools(a=2e9, b=2e9, c=1e12), "keep_curve": True}, "not a bin of one score"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(options, message):
    arguments = {"pools": POOLS, "budgets": BUDGETS, **options}
    with pytest.raises(SchemaError, match=message):
        plan(BOTH, arguments.pop("pools"), arguments.pop("budgets"), **arguments)


def test_runs_of_one_size_give_the_same_mixture_at_every_size_and_a_warning(tmp_path, cli):
    joint = planted(
        "mixture_joint",
        "abc",
        {
            **{"E": 1.5, "A": 0.4, "alpha": 0.3, "B": 0.3, "beta": 0.3, "C": [2.0, 1.0, 0.5], "g": [0.2, 0.1, 0.15]},
            **{"C_A": [0.5, 1.0, 3.0], "g_A": [0.1, 0.2, 0.1], "C_B": [2.0, 1.0, 0.7], "g_B": [0.1, 0.2, 0.2]},
        },
    )
    one_size = replace(joint, ranges={**joint.ranges, "params": (1e7, 1e7), "tokens": (1e9, 1e9)})
    artifacts.save(tmp_path / "fit.json", "fit", fit_files.to_json(one_size))
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(pools(a=1e13, b=1e13, c=1e13))})
    flags = ["--pools", tmp_path / "pools.json", "--budget", "1e9:1e7,2e10:1e9", "--draws", 2, "--within", 0]
    output = cli("plan", tmp_path / "fit.json", *flags, "--out", tmp_path / "plan.json")
    assert output.code == 0, output.err
    small, large = json.loads((tmp_path / "plan.json").read_text())["plans"]
    assert list(large["weights"].values()) == pytest.approx(list(small["weights"].values()), abs=1e-4)
    assert large["gain"] / large["loss"] == pytest.approx(small["gain"] / small["loss"], rel=1e-6)
    assert large["loss"] < small["loss"]
    assert any(line.startswith("one size: all fitted runs have 1e+07 parameters") for line in large["warnings"])
    assert not any(line.startswith("one size") for line in small["warnings"])
    # The law itself would plan another mixture at the larger size.
    of_law = planner.optimize(joint, pools(a=1e13, b=1e13, c=1e13), Budget(2e10, 1e9))
    assert of_law.weights["a"] != pytest.approx(large["weights"]["a"], abs=1e-2)


def test_estimated_tokens_are_called_estimates(everything, tmp_path):
    """A pool says where its tokens were counted; files of older versions do not."""
    artifacts.save(tmp_path / "old.json", "pools", {"pools": to_json(POOLS)})
    assert "token_counts" not in (tmp_path / "old.json").read_text()
    assert load_pools(tmp_path / "old.json") == POOLS
    counts = dict(zip("abc", ("column", "estimate", "tokenizer"), strict=True))
    mixed = tuple(replace(pool, token_counts=counts[pool.name]) for pool in POOLS)
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(mixed)})
    assert load_pools(tmp_path / "pools.json") == mixed
    assert "bytes / 4" not in everything.summary()
    line = (
        "The tokens of b are estimates: tokens (bytes / 4). So are the passes over them. To count them, score with "
        "--scorer length:tokenizer=FILE."
    )
    assert line in replace(everything, pools=mixed).summary().splitlines()
    guessed = tuple(replace(pool, token_counts="estimate") for pool in POOLS)
    plans = replace(everything, pools=guessed)
    plans.save(tmp_path / "plan.json")
    assert "The tokens of the pools are estimates" in plans.summary()
    assert "The tokens of the pools are estimates" in next(plan_sections(tmp_path)).text
    with pytest.raises(SchemaError, match="token_counts"):
        artifacts.save(tmp_path / "bad.json", "pools", {"pools": [{**to_json(POOLS)[0], "token_counts": "guess"}]})
        load_pools(tmp_path / "bad.json")
