"""``curate cmr`` from the command line: the table, cmr.json, and every wrong input in one line."""

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import one_line
from problems import continued

from curate.pool.pool import Pool, to_json
from curate.storage import artifacts

PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "runs" / "cpt_python.csv"
FAST = ("--law", "cmr", "--starts", 2, "--draws", 20)


@pytest.fixture
def runs(tmp_path):
    path = tmp_path / "runs.csv"
    continued(noise=0.002).write_csv(path)
    return path


@pytest.fixture
def cmr(cli, runs):
    def call(*more, general="web", domain="code", pool="code", tolerance="0.1"):
        flags = ("--general", general, "--domain", domain, "--pool", pool, "--tolerance", tolerance)
        return cli("cmr", runs, *flags, *FAST, "--out", runs.parent / "cmr.json", *more)

    return call


def saved(runs):
    return json.loads((runs.parent / "cmr.json").read_text())


def test_the_critical_share_of_every_budget_and_tolerance(cmr, runs):
    reply = cmr("--budget", "1e9:1e8,4e9:1e8", tolerance="0.05,0.1")
    assert reply.code == 0, reply.err
    record = saved(runs)
    assert [(ratio["tolerance"], ratio["budget"]["tokens"]) for ratio in record["ratios"]] == [
        (0.05, 1e9),
        (0.05, 4e9),
        (0.1, 1e9),
        (0.1, 4e9),
    ]
    for ratio in record["ratios"]:
        assert ratio["share"] == pytest.approx((ratio["tolerance"] / 0.5) ** 0.5, abs=0.03)
        assert ratio["low"] <= ratio["share"] <= ratio["high"]
        assert ratio["safe"] < ratio["share"]
        assert ratio["gain"] == pytest.approx(0.6 * ratio["share"] ** 0.5, abs=0.03)
    assert record["made_by"]["arguments"]["tolerance"] == "0.05,0.1"
    assert set(record["laws"]) == {"web", "code"}
    assert "Trade-off at 4e+09 tokens" in reply.out
    assert "only losses are compared" in reply.out


def test_not_reached_is_null_and_said(cmr, runs):
    reply = cmr("--budget", "1e9:1e8", "--json", tolerance="0.6")
    assert reply.code == 0, reply.err
    (ratio,) = json.loads(reply.out)["ratios"]
    assert (ratio["share"], ratio["note"]) == (None, "not reached: above 0.8")
    assert saved(runs)["ratios"] == [ratio]
    assert "above 0.8" in cmr("--budget", "1e9:1e8", tolerance="0.6").out
    (further,) = json.loads(cmr("--budget", "1e9:1e8", "--largest", 1, "--json", tolerance="0.4").out)["ratios"]
    assert further["share"] == pytest.approx(0.8**0.5, abs=0.03)


def test_a_tolerance_below_the_noise_says_the_noise(cmr, runs):
    reply = cmr("--budget", "1e9:1e8", tolerance="0.001")
    assert reply.code == 0, reply.err
    assert "tolerance 0.001 (0.0010 nats) is below the noise of a run's general loss, 0.00" in reply.out


def test_relative_tolerance_several_evals_and_given_starts(cmr, runs):
    reply = cmr("--budget", "1e9:1e8", "--relative", "--json", general="*", tolerance="0.04")
    (ratio,) = json.loads(reply.out)["ratios"]
    assert ratio["ceiling"] == pytest.approx(2.55 * 1.04)
    pl.read_csv(runs).filter(pl.col("tokens") > 0).write_csv(runs)
    assert "no start row" in one_line(cmr("--budget", "1e9:1e8"))
    reply = cmr("--budget", "1e9:1e8", "--start-loss", "web=2.5", "--start-loss", "code=1.9", "--json")
    assert json.loads(reply.out)["ratios"][0]["ceiling"] == pytest.approx(2.6)


def test_pools_give_epochs(cmr, runs, tmp_path):
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json([Pool("web", 1e12, 1), Pool("code", 1e8, 1)])})
    reply = cmr("--budget", "1e9:1e8", "--pools", tmp_path / "pools.json", "--json")
    (ratio,) = json.loads(reply.out)["ratios"]
    assert ratio["epochs"]["code"] == pytest.approx(10 * ratio["share"])


def test_what_to_run_next_and_a_limited_corpus(cmr, runs):
    reply = cmr("--budget", "8e9:1e8", "--width", 0.05, "--limited", "1e9:1e8", "--replay", "web=1")
    assert reply.code == 0, reply.err
    record = saved(runs)
    assert record["next_runs"]["asked"] == 0.05
    assert record["next_runs"]["now"] < record["ratios"][0]["high"] - record["ratios"][0]["low"]
    assert "without run noise, which no run narrows" in reply.out
    assert record["limited"]["share"] == 0.8
    assert record["limited"]["tokens"] == pytest.approx(1e9 / 0.8)
    assert "extrapolated: tokens 8e+09 is" in reply.out
    assert "1e+09 domain tokens, seen once, are worth most at share 0.800" in reply.out


def test_nothing_to_narrow_is_an_answer(cmr, runs):
    reply = cmr("--budget", "1e9:1e8", "--width", 0.05, tolerance="9")
    assert reply.code == 0, reply.err
    assert "What to run next: no share reaches the ceiling 11.5: there is no critical share to find" in reply.out
    assert saved(runs)["ratios"][0]["note"] == "not reached: above 0.8"
    assert saved(runs)["next_runs"]["why"].startswith("no share reaches the ceiling")


def test_size_against_tokens(cmr, runs):
    continued(shares=(0.2, 0.5, 0.8), tokens=(1e9, 4e9), params=(1e8, 4e8), noise=0.002).write_csv(runs)
    reply = cmr("--budget", "8e9:4e8", "--law", "chinchilla", "--compute", "1e18,1e19", "--share", 0.3)
    assert reply.code == 0, reply.err
    for flops, size in zip((1e18, 1e19), saved(runs)["sizes"], strict=True):
        assert 6 * size["params"] * size["tokens"] == pytest.approx(flops)
        assert size["low"] < size["loss"] < size["high"]
    assert "Model size and tokens with the lowest domain loss" in reply.out


def test_the_published_procedure_on_the_same_runs(cmr, runs):
    continued(tokens=tuple(1e9 * x for x in range(1, 8))).write_csv(runs)
    reply = cmr("--budget", "1e9:1e8", "--published", tolerance="0.1")
    assert reply.code == 0, reply.err
    record = saved(runs)["published"]
    assert set(record["feasible"]) <= {0.2, 0.4}
    assert "Published procedure at tolerance 0.1" in reply.out
    assert "no term for repeats of the domain" in reply.out


def test_the_laws_predict_a_share_that_was_not_run(cmr, cli, runs, tmp_path):
    reply = cmr("--budget", "1e9:1e8,2e9:1e8", "--fits", tmp_path / "fits", general="*", tolerance="0.1")
    assert reply.code == 0, reply.err
    record = saved(runs)
    assert record["made_by"]["arguments"]["fits"] == str(tmp_path / "fits")
    table = continued(shares=(0.5,), tokens=(1e9, 4e9), start=False)
    table.write_csv(tmp_path / "new.csv")
    for name, truth in (("general", table["loss.web"] + 0.05), ("domain", table["loss.code"])):
        predicted = cli(
            "predict",
            tmp_path / "fits" / f"{name}.json",
            tmp_path / "new.csv",
            "--out",
            tmp_path / "p.parquet",
        )
        assert predicted.code == 0, predicted.err
        predictions = pl.read_parquet(tmp_path / "p.parquet")
        assert predictions["predicted"].to_list() == pytest.approx(truth.to_list(), abs=0.01)
        assert (predictions["low"] < predictions["predicted"]).all()


def test_what_is_extrapolated_and_what_is_missing_is_said(cmr, runs):
    reply = cmr("--budget", "1e9:1e8,2e9:1e8,4e9:1e8,8e9:1e8", tolerance="0.6")
    assert "(runs cover shares 0.2 to 0.8; others are extrapolated)" in reply.out
    assert "No law in tokens: it needs 4 budgets" in reply.out
    assert "No law in tokens" not in cmr("--budget", "1e9:1e8,2e9:1e8,4e9:1e8,8e9:1e8").out


def test_the_same_call_gives_the_same_bytes(cmr, runs):
    first = (cmr("--budget", "1e9:1e8").code, (runs.parent / "cmr.json").read_bytes())
    assert (cmr("--budget", "1e9:1e8").code, (runs.parent / "cmr.json").read_bytes()) == first


@pytest.mark.parametrize(
    ("columns", "more", "message"),
    [
        ({"weight.code": 100 * pl.col("weight.code")}, (), "divide percents by 100"),
        ({"tokens": pl.col("tokens") + 1}, (), "no start row"),
        ({"loss.code": pl.lit(None, dtype=pl.Float64)}, (), "loss.code is empty in all "),
        ({}, ("--where", '"weight.code" < 0.5'), "2 different shares"),
        ({}, ("--budget", "1e9:7e9"), "no start row for 7e+09 parameters"),
        ({}, ("--largest", 2), "shares of code up to 2"),
        ({}, ("--replay", "x=1"), "replay proportions: web, x on one side only"),
        ({}, ("--replay", "best", "--start-loss", "x=1"), "--start-loss x=1.0 must name the eval web or code"),
        ({}, ("--start-loss", "web@big=2"), "'big' is no number of parameters"),
        ({}, ("--compute", "1e18", "--share", 0.5), "all runs have 1e+08 parameters"),
        ({}, ("--published",), "six or more checkpoints"),
        ({}, ("--published", "--relative"), "absolute tolerance"),
        ({}, ("--limited", "1e9"), "is not TOKENS:PARAMS"),
    ],
)
def test_wrong_input_is_one_line(cmr, runs, columns, more, message):
    pl.read_csv(runs).with_columns(**columns).write_csv(runs)
    assert message in one_line(cmr(*more))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": "x"}, "no column weight.x"),
        ({"domain": "x"}, "no eval 'x'"),
        ({"general": "x"}, "no general eval 'x'"),
        ({"tolerance": "-0.1"}, "the tolerance is -0.1"),
    ],
)
def test_wrong_names(cmr, arguments, message):
    assert message in one_line(cmr(**arguments))


@pytest.mark.parametrize(
    "more", [("--compute", "1e18"), ("--share", "0.5"), ("--compute", "x", "--share", "0.5"), ("--width", 3)]
)
def test_wrong_usage(cmr, more):
    assert cmr(*more).code == 2


def test_a_tolerance_that_is_no_number(cmr):
    assert cmr(tolerance="x").code == 2


@pytest.mark.slow
@pytest.mark.skipif(not PUBLIC.is_file(), reason=f"no public runs at {PUBLIC}")
def test_public_runs_of_python_on_the_pile(cli, tmp_path):
    """Critical shares at the end of training, against a line between the measured shares next to it."""
    reply = cli(
        "cmr",
        PUBLIC,
        "--general",
        "*",
        "--domain",
        "python",
        "--pool",
        "python",
        "--tolerance",
        "0,0.02,0.05",
        "--budget",
        "1e10:7e7",
        "--draws",
        100,
        "--out",
        tmp_path / "cmr.json",
    )
    assert reply.code == 0, reply.err
    rows = json.loads((tmp_path / "cmr.json").read_text())["ratios"]
    measured = (0.674, 0.765, 0.838)
    for end, line in zip(rows, measured, strict=True):
        assert end["share"] == pytest.approx(line, abs=0.03)
        assert end["safe"] == end["low"] < end["share"] < end["high"] < end["share"] + 0.05
