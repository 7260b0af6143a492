"""Every mistake a user can make: exit code 1 and one clear line on stderr; the whole walk with small files."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from conftest import console, documents, one_line, tree

from curate.fitting import fit_files
from curate.pool.pool import Pool, to_json
from curate.storage import artifacts

TRAINER = """
import json, math, sys
r = json.load(sys.stdin)
w = r["weights"]
useful = sum((-1.0, 0.2)[i % 2] * x for i, x in enumerate(w.values()))
print(json.dumps({"web": 1.5 + math.exp(useful) + 1e-4 * (r["seed"] % 7)}))
"""


@pytest.fixture
def runs(tmp_path):
    """A run table of 12 runs over pools a and b."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0, 1, 12)
    frame = pl.DataFrame(
        {"run": [f"r{i}" for i in range(12)], "params": 1e6, "tokens": 1e8 * 2.0 ** rng.integers(0, 3, 12)}
    )
    path = tmp_path / "runs.parquet"
    frame.with_columns(**{"weight.a": share, "weight.b": 1 - share, "loss.web": 1.5 + np.exp(-share)}).write_parquet(
        path
    )
    return path


@pytest.fixture
def fitted(tmp_path, runs, cli):
    """fit.json and pools.json of those runs."""
    assert (
        cli(
            "fit", runs, "--law", "mixing", "--eval", "web", "--starts", 4, "--draws", 5, "--out", tmp_path / "fit.json"
        ).code
        == 0
    )
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json([Pool("a", 1e9, 1), Pool("b", 2.5e9, 1)])})
    return tmp_path / "fit.json", tmp_path / "pools.json"


def rewrite(path, **columns):
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


def fitting(cli, runs, law="mixing", *more):
    return cli(
        "fit", runs, "--law", law, "--eval", "web", "--starts", 4, "--draws", 3, "--out", runs.parent / "f.json", *more
    )


def test_missing_text_column(cli, corpus, tmp_path):
    result = cli("score", corpus, "--scorer", "length", "--text-column", "body", "--out", tmp_path / "o")
    assert "no column 'body'; it has id, text" in one_line(result)


def test_empty_folder(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no input files at" in one_line(
        cli("score", tmp_path / "empty", "--scorer", "length", "--out", tmp_path / "o")
    )


def test_not_a_number_among_the_scores(cli, corpus, tmp_path):
    vectors = np.ones((20, 4), np.float32)
    vectors[7, 1] = np.nan
    frame = documents(20).with_columns(pl.Series("emb.e", vectors, dtype=pl.Array(pl.Float32, 4)))
    frame.write_parquet(tmp_path / "x.parquet")
    result = cli("score", tmp_path / "x.parquet", "--scorer", "prototypes:k=1,embedding=emb.e", "--out", tmp_path / "o")
    one_line(result)


def test_not_a_number_in_a_score_file(cli, corpus, tmp_path):
    assert cli("score", corpus, "--scorer", "length", "--out", tmp_path / "s").code == 0
    path = next((tmp_path / "s").rglob("*.scores.parquet"))
    rewrite(path, **{"score.length": pl.lit(float("nan"))})
    words = ("--by", "score.length", "--meaning", "length=quality", "--keep", 0.5)
    result = cli("prune", tmp_path / "s", *words, "--out", tmp_path / "k")
    assert "score.length is NaN, infinite or null in 20 rows, the first with id 'd" in one_line(result)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weight.a": pl.lit(0.9)}, "the weights of run 'r0', a 0.9, b "),
        ({"loss.web": pl.lit(float("nan"))}, "loss.web is empty in all "),
        ({"tokens": pl.lit(0.0)}, "has only start rows (tokens = 0)"),
    ],
)
def test_wrong_run_tables(cli, runs, columns, message):
    rewrite(runs, **columns)
    assert message in one_line(fitting(cli, runs))


def test_missing_run_column(cli, runs):
    pl.read_parquet(runs).drop("tokens").write_parquet(runs)
    assert "no column 'tokens'" in one_line(fitting(cli, runs))


def test_one_run(cli, runs):
    # Fewer runs than parameters are fitted: priors decide what the runs leave open.
    assert fitting(cli, runs, "utility_smooth", "--where", "run < 'r2'").code == 0
    assert "there is nothing to fit" in one_line(fitting(cli, runs, "utility_smooth", "--where", "run = 'r2'"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--where", "tokens > 1e30"], "no rows"),
        (["--where", "(("], "is no SQL expression"),
        (["--holdout", "x"], "--holdout 'x' is not known"),
        (["--holdout", "largest:2"], "--holdout"),
    ],
)  # fmt: skip
def test_wrong_selections(cli, runs, more, message):
    assert message in one_line(fitting(cli, runs, "mixing", *more))


def test_an_unknown_law_or_eval(cli, runs):
    assert "unknown law 'nosuch'" in one_line(fitting(cli, runs, "nosuch"))
    assert "no eval 'x'" in one_line(
        cli("fit", runs, "--law", "mixing", "--eval", "x", "--out", runs.parent / "f.json")
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "2e10:1e9", "--max-epochs", "4"], "at 4 epochs give 1.4e+10; the budget asks 2e+10"),
        (["--budget", "2e10"], "is not TOKENS:PARAMS"),
        (["--budget", "-1:1e9"], "both positive"),
        (["--budget", "1e9:1e9", "--min-weight", "z=0.1"], "no pool 'z'"),
        (["--budget", "1e9:1e9", "--min-weight", "a=0.7", "--min-weight", "b=0.7"], "sum to 1.4"),
    ],
)  # fmt: skip
def test_budgets_that_cannot_be(cli, fitted, tmp_path, more, message):
    assert message in one_line(cli("plan", fitted[0], "--pools", fitted[1], "--out", tmp_path / "p.json", *more))


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--frontier", "1e9:1e8", "--params", "1"],
        ["--frontier", "1e8:1e9"],
        ["--budget", "1:1", "--min-weight", "a"],
        ["--budget", "1:1", "--min-weight", "a=.1", "--min-weight", "a=.2"],
        ["--budget", "1:1", "--params", "1"],
        ["--budget", "1:1", "--ordered", "a,a"],
        ["--budget", "1:1", "--target", "web,web=2"],
        ["--budget", "1:1", "--pareto", "web"],
        ["--budget", "1:1", "--pareto", "web,web"],
        ["--budget", "1:1", "--prior", "plan"],
        ["--budget", "1:1", "--seed", "-1"],
        ["--frontier", "1e8:inf", "--params", "1"],
    ],
)
def test_wrong_usage_exits_with_2(cli, fitted, tmp_path, more):
    result = cli("plan", fitted[0], "--pools", fitted[1], "--out", tmp_path / "p.json", *more)
    assert result.code == 2
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": {"c": float("nan"), "t": [0.1, 0.2]}}, "laws[0].theta.c is nan, which is not a finite number"),
        ({"theta": {"c": 1.0, "t": [0.1]}}, "t has shape (1,), where 2 pools make it (2,)"),
        ({"draws": [{"c": float("nan"), "t": [0.1, 0.2]}]}, "laws[0].draws[0].c is nan, which is not a finite number"),
    ],
)  # fmt: skip
def test_a_fit_that_was_broken(cli, fitted, tmp_path, change, message):
    record = json.loads(fitted[0].read_text())
    record["laws"][0] |= change
    fitted[0].write_text(json.dumps(record))
    result = cli("plan", fitted[0], "--pools", fitted[1], "--budget", "1e9:1e9", "--out", tmp_path / "p.json")
    assert message in one_line(result)
    assert not (tmp_path / "p.json").exists()


def test_a_front_of_evals_that_are_pools_and_not_the_target(cli, fitted, tmp_path):
    """Eval and pool names are often the same, and --target narrows the plan and not the front."""
    (law,) = json.loads(fitted[0].read_text())["laws"]
    other = json.loads(json.dumps(law))
    other["theta"]["t"] = law["theta"]["t"][::-1]
    laws = [law | {"eval": "a", "weight": 0.5}, other | {"eval": "b", "weight": 0.5}]
    fitted[0].write_text(json.dumps({"format": 2, "eval": "a+b", "evals": ["a", "b"], "laws": laws}))
    more = ["--budget", "1e9:1e9", "--target", "a", "--pareto", "a,b", "--within", 0, "--draws", 0]
    result = cli("plan", fitted[0], "--pools", fitted[1], "--out", tmp_path / "p.json", *more)
    assert result.code == 0, result
    front = result.out[result.out.index("front of a and b") :].splitlines()
    assert front[1].split() == ["loss", "a", "loss", "b", "a", "b"]
    ends = json.loads((tmp_path / "p.json").read_text())["front"][0]["plans"]
    assert front[2].split()[0] == f"{ends[0]['evals']['a'][0]:.4f}"


def test_crossings_along_sizes_that_grow_with_the_tokens(cli, fitted, tmp_path):
    """The usual ladder, 20 tokens a parameter, is as good a path as one model size."""
    pools = [Pool("a", 2e8, 1), Pool("b", 1e13, 1)]
    artifacts.save(fitted[1], "pools", {"pools": to_json(pools)})
    more = ["--draws", 2, "--within", 0, "--max-epochs", 1, "--out", tmp_path / "p.json"]
    crossings = {}
    for name, budgets in (("one", "1e8:1e7,1e11:1e7"), ("many", "1e10:5e8,1e8:1e7,1e11:5e9"), ("flat", "1e8:1,1e8:2")):
        assert cli("plan", fitted[0], "--pools", fitted[1], "--budget", budgets, *more).code == 0
        crossings[name] = json.loads((tmp_path / "p.json").read_text()).get("crossings")
    assert [(crossing["pool"], crossing["enters"]) for crossing in crossings["one"]] == [("b", True), ("a", False)]
    assert crossings["many"][0]["tokens"] == pytest.approx(crossings["one"][0]["tokens"], rel=1e-6)
    assert crossings["flat"] is None


@pytest.mark.parametrize(("job", "flag"), [("predict", None), ("plan", "--pools")])
@pytest.mark.parametrize("content", [None, "not json", "{}", "[]"])
def test_wrong_artefacts(cli, tmp_path, runs, job, flag, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    more = ["--pools", path, "--budget", "1:1"] if flag else [runs]
    assert "x.json" in one_line(cli(job, path, *more, "--out", tmp_path / "o"))


@pytest.mark.parametrize(
    "content", [{"pools": []}, {"pools": [{"name": "a", "tokens": -1, "examples": 1}]}, {"pools": [{"name": "a"}]}]
)
def test_wrong_pools(cli, fitted, tmp_path, content):
    fitted[1].write_text(json.dumps(content))
    one_line(cli("plan", fitted[0], "--pools", fitted[1], "--budget", "1e9:1e9", "--out", tmp_path / "p.json"))


def test_status_and_report_of_a_folder_without_results(cli, tmp_path):
    one_line(cli("status", tmp_path))
    one_line(cli("report", tmp_path, "--out", tmp_path / "r.html"))


def test_the_installed_script_fails_in_one_line_too(tmp_path):
    command = console("score", tmp_path / "nosuch", "--scorer", "length", "--out", tmp_path / "o")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr


def walk(cli, data, out) -> dict[str, dict]:
    """Rows to plan; what each job printed with --json."""
    program = out / "trainer.py"
    program.parent.mkdir()
    program.write_text(TRAINER)
    trainer = f"command:{sys.executable} {program}"
    steps = {
        "score": [data, "--scorer", "length", "--scorer", "compression", "--out", out / "scores"],
        "prune": [out / "scores", "--by", "score.compression", "--keep", 0.8, "--out", out / "kept"],
        "pools": [out / "scores", "--kept", out / "kept", "--out", out / "pools.json"],
        "pilot": [out / "pools.json", "--trainer", trainer, "--runs", 10, "--tokens", 1e4, "--params", 10,
                  "--out", out / "runs.parquet"],
        "fit": [out / "runs.parquet", "--law", "mixing,chinchilla", "--eval", "web", "--holdout", "random",
                "--starts", 4, "--draws", 10, "--out", out / "fit.json"],
        "predict": [out / "fit.json", out / "runs.parquet", "--out", out / "predicted.parquet"],
        "plan": [out / "fit.json", "--pools", out / "pools.json", "--frontier", "1e4:1e6", "--params", 10,
                 "--out", out / "plan.json"],
        "status": [out / "scores"],
    }  # fmt: skip
    result = {job: cli(job, *arguments, "--json") for job, arguments in steps.items()}
    assert {job: outcome.code for job, outcome in result.items()} == dict.fromkeys(steps, 0), result
    return {job: json.loads(outcome.out) for job, outcome in result.items()}


def test_the_whole_walk_and_the_same_bytes_again(cli, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = walk(cli, corpus, tmp_path / "w")
    assert results["score"]["rows"] == 100
    assert results["pilot"]["runs"] == 10
    assert results["fit"]["law"] == "mixing"
    assert results["status"]["done"] == 5
    predicted = pl.read_parquet(tmp_path / "w" / "predicted.parquet")
    assert predicted.columns == ["run", "predicted", "low", "high"]
    assert (predicted["low"] <= predicted["predicted"]).all()
    for plan in results["plan"]["plans"]:
        assert sum(plan["weights"].values()) == pytest.approx(1)
        assert plan["weights"]["a"] == pytest.approx(1, abs=1e-6)
        assert {
            "budget",
            "epochs",
            "loss",
            "low",
            "high",
            "gain",
            "gain_low",
            "gain_high",
            "spread",
            "warnings",
        } <= set(plan)
    for name in ("pools", "fit", "plan"):
        record = json.loads((tmp_path / "w" / f"{name}.json").read_text())
        assert {"version", "seed", "arguments", "inputs"} <= set(record["made_by"])
    assert fit_files.load(tmp_path / "w" / "fit.json").pools == ("a", "b")
    first = tree(tmp_path / "w")
    (tmp_path / "w").rename(tmp_path / "before")
    walk(cli, corpus, tmp_path / "w")
    again = tree(tmp_path / "w")
    assert again.keys() == first.keys()
    # Records in _curate hold the times of files.
    assert [name for name in first if "_curate" not in name and again[name] != first[name]] == []
