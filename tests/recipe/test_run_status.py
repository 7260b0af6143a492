"""What `curate status` tells of a run: after its end, after real kills, after a failure, and while it works."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest import console, documents

import curate
from curate.errors import CurateError
from curate.recipe.run_status import run_status
from curate.storage import manifest

RECIPE = """
[data]
paths = ["data"]
[[score]]
scorer = "length"
[prune]
by = "score.length"
keep = 0.5
[pools]
bins = 2
[materialize]
shard-rows = 15
"""
STEPS = ["score", "prune", "pools", "materialize"]
# Kills the process at its n-th call of os.replace, by which every file gets its name.
KILLED = """
import os, signal, sys
import curate
count, replace = 0, os.replace
def counted(*arguments, **options):
    global count
    count += 1
    if count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments, **options)
os.replace = counted
curate.run("recipe.toml", "out")
"""


@pytest.fixture
def project(corpus, monkeypatch):
    """The working directory: data/ and recipe.toml."""
    monkeypatch.chdir(corpus.parent)
    Path("recipe.toml").write_text(RECIPE)
    return corpus.parent


def edit(before, after):
    text = Path("recipe.toml").read_text()
    assert before in text
    Path("recipe.toml").write_text(text.replace(before, after))


def states():
    return [step.state for step in run_status(Path("out")).steps]


def test_a_run_that_ended_shows_the_rows_of_each_step(project, cli):
    curate.run("recipe.toml", "out")
    record = json.loads(cli("status", "out", "--json").out)
    steps = {step["step"]: step for step in record["steps"]}
    assert list(steps) == STEPS
    assert {step["state"] for step in steps.values()} == {"done"}
    rows = sum(pl.read_parquet(path).height for path in Path("data").rglob("*.parquet"))
    kept = pl.read_parquet("out/kept/**/*.keep.parquet")["keep"].sum()
    drawn = pl.read_parquet("out/train/part-*.parquet").height
    assert [step["rows"] for step in steps.values()] == [rows, kept, kept, drawn]
    assert [step["out"] for step in steps.values()] == ["out/scores", "out/kept", "out/pools.json", "out/train"]
    assert (record["next"], record["running"], record["edited"]) == (None, "", False)
    assert cli("status", "out").out.splitlines()[-1] == "all 4 steps done"


@pytest.mark.parametrize("rename", [3, 6, 9, 12, 16, 20, 24, 28, 32])
def test_a_killed_run_shows_where_it_stopped(project, cli, rename):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(rename)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    told = states()
    done = told.index(next(state for state in told if state != "done"))
    # Steps end in order: those behind the one that was stopped have not begun.
    assert told[done] in ("stopped", "to do")
    assert told[done + 1 :] == ["to do"] * (len(told) - done - 1)
    last = cli("status", "out").out.splitlines()[-1]
    assert last.startswith(f"next is {STEPS[done]}")
    assert last.endswith("(recipe.toml): it goes on there" if told[done] == "stopped" else "(recipe.toml)")
    again = curate.run("recipe.toml", "out")
    assert ["done before" if i < done else "done" for i in range(4)] == [again.state(step) for step in again.steps]
    assert states() == ["done"] * 4


def test_a_step_that_failed_shows_its_message_until_it_works(project, cli):
    edit("keep = 0.5", 'keep = 0.5\nbalance = "label:0.5"')
    refused = cli("run", "recipe.toml", "--out", "out")
    assert refused.code == 1
    failed = run_status(Path("out")).steps[1]
    assert [failed.step, failed.state] == ["prune", "failed"]
    assert f"step 2 of 4 prune: {failed.why}" in refused.err
    assert states() == ["done", "failed", "to do", "to do"]
    assert "next is prune, which failed" in cli("status", "out").out
    edit('\nbalance = "label:0.5"', "")
    assert run_status(Path("out")).edited
    assert "recipe.toml was changed or moved since" in cli("status", "out").out
    curate.run("recipe.toml", "out")
    assert states() == ["done"] * 4
    # A failure after an edit that is taken back leaves a run that has ended.
    edit("keep = 0.5", 'keep = 0.5\nbalance = "label:0.5"')
    with pytest.raises(CurateError):
        curate.run("recipe.toml", "out")
    assert states() == ["done", "failed", "done", "done"]
    edit('\nbalance = "label:0.5"', "")
    assert curate.run("recipe.toml", "out").nothing_to_do
    assert states() == ["done"] * 4
    assert json.loads(Path("out/_curate/completion/run.json").read_text())["ended"]


def test_lost_files_and_new_data_are_told(project):
    curate.run("recipe.toml", "out")
    Path("out/train/part-00001.parquet").unlink()
    documents(20, 500).write_parquet("data/source=a/new.parquet")
    steps = run_status(Path("out")).steps
    assert [step.state for step in steps] == ["to do", "done", "done", "to do"]
    assert steps[0].why == "1 input file not scored"
    assert steps[3].why == "part-00001.parquet is gone"


def test_a_run_that_works_is_told_with_its_process(project):
    for i in range(8):
        documents(500, 500 * i).write_parquet(f"data/source=a/large-{i}.parquet")
    words = console("run", "recipe.toml", "--out", "out", "--workers", "1")
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        while not manifest.finished(Path("out/scores"), "score"):
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        status = run_status(Path("out"))
        process.send_signal(signal.SIGKILL)
    assert f"process {process.pid} " in status.running
    assert status.next_line.startswith("the run still works: run, process")
    assert [step.state for step in status.steps] == ["running", "to do", "to do", "to do"]
    assert states() == ["stopped", "to do", "to do", "to do"]
    first = run_status(Path("out")).steps[0]
    assert first.rows > 0 and first.why.endswith("of 13 files scored")


def test_a_folder_without_records_is_explained(project, cli):
    Path("out").mkdir()
    told = cli("status", "out")
    assert told.code == 1
    assert "out has no record of a job. Name the --out of a job that has begun" in told.err
