"""One recipe gives the files of four commands; it goes on after a kill, and does again what an edit changes."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest import console, documents, tree, write_corpus

import curate
from curate.engines.local import Local
from curate.errors import CurateError, Interrupted, SchemaError
from curate.storage import artifacts

RECIPE = """
[data]
paths = ["data"]

[[score]]
scorer = "length"

[[score]]
scorer = "compression"

[prune]
by = "score.compression"
keep = 0.5
balance = "source:0.5"

[pools]
by = "score.length"
bins = 2

[materialize]
shard-rows = 15
"""
SEVERAL_RENAMES = (1, 7, 12, 19, 24, 33)


@pytest.fixture
def project(corpus, monkeypatch):
    """The working directory: data/ and recipe.toml."""
    monkeypatch.chdir(corpus.parent)
    Path("recipe.toml").write_text(RECIPE)
    return corpus.parent


def edit(before: str, after: str) -> None:
    text = Path("recipe.toml").read_text()
    assert before in text
    Path("recipe.toml").write_text(text.replace(before, after))


def files(folder):
    """Every visible file outside the folders of records, and the inner records of no job."""
    return {name: content for name, content in tree(folder).items() if "_curate/" not in name}


def states(result):
    return [result.state(done) for done in result.steps]


def moments(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_writes_what_the_four_commands_write(project, cli):
    shown = cli("run", "recipe.toml", "--out", "out", "--dry-run")
    assert shown.code == 0 and not Path("out").exists()
    commands = [line.strip() for line in shown.out.splitlines() if line.startswith("    ")]
    assert [shlex.split(line)[1] for line in commands] == ["score", "prune", "pools", "materialize"]
    assert cli("run", "recipe.toml", "--out", "out").code == 0
    by_recipe = files(Path("out"))
    Path("out").rename("first")
    for line in commands:
        assert cli(*shlex.split(line)[1:]).code == 0
    assert files(Path("out")) == by_recipe
    assert {"pools.json", "train/index.json", "kept/removal.parquet"} <= by_recipe.keys()


def test_any_number_of_workers_writes_the_same(project):
    curate.run("recipe.toml", "out")
    one_process = files(Path("out"))
    Path("out").rename("first")
    curate.run("recipe.toml", "out", engine=Local(2))
    assert files(Path("out")) == one_process


def test_a_finished_run_does_nothing_and_says_so(project, cli):
    assert cli("run", "recipe.toml", "--out", "out").code == 0
    before = moments(Path("out"))
    again = cli("run", "recipe.toml", "--out", "out")
    assert again.code == 0
    assert again.out.startswith("nothing to do: all 4 steps were done before")
    assert moments(Path("out")) == before
    record = json.loads(cli("run", "recipe.toml", "--out", "out", "--json").out)
    assert {step["state"] for step in record["steps"]} == {"done before"}


def test_after_an_edit_scores_are_used_again(project, cli):
    cli("run", "recipe.toml", "--out", "out")
    scores = moments(Path("out/scores"))
    edit("keep = 0.5", "keep = 0.6")
    again = cli("run", "recipe.toml", "--out", "out")
    assert again.code == 0
    lines = [line for line in again.out.splitlines() if re.match(r"\d of 4 ", line)]
    assert lines == [
        "1 of 4 score: done before",
        "2 of 4 prune: done (keep changed (0.5 -> 0.6))",
        "3 of 4 pools: done (an earlier step has other results)",
        "4 of 4 materialize: done (an earlier step has other results)",
    ]
    assert moments(Path("out/scores")) == scores
    edited = files(Path("out"))
    Path("out").rename("first")
    curate.run("recipe.toml", "out")
    assert files(Path("out")) == edited


def test_an_edit_of_a_comment_changes_nothing(project):
    curate.run("recipe.toml", "out")
    edit("[prune]", "# a comment\n[prune]")
    assert curate.run("recipe.toml", "out").nothing_to_do


def test_an_edit_that_changes_no_result_stops_there(project):
    curate.run("recipe.toml", "out")
    edit('balance = "source:0.5"', 'balance = "source:0.25"')
    result = curate.run("recipe.toml", "out")
    assert states(result)[:2] == ["done before", "done"]
    assert files(Path("out"))["train/index.json"]


def test_new_files_are_scored_and_the_rest_follows(project):
    curate.run("recipe.toml", "out")
    documents(20, 500).write_parquet("data/source=a/new.parquet")
    result = curate.run("recipe.toml", "out")
    assert states(result) == ["done"] * 4
    assert result.steps[0].result.rows == 20
    incremental = files(Path("out"))
    Path("out").rename("first")
    curate.run("recipe.toml", "out")
    assert files(Path("out")) == incremental


def test_other_scorers_are_refused_with_what_changed(project, cli):
    cli("run", "recipe.toml", "--out", "out")
    before = files(Path("out"))
    edit('scorer = "length"', 'scorer = "repetition"')
    edit('by = "score.length"', 'by = "score.repetition"')
    refused = cli("run", "recipe.toml", "--out", "out")
    assert refused.code == 1
    assert "step 1 of 4 score: " in refused.err and "scorers changed" in refused.err and "--restart" in refused.err
    assert files(Path("out")) == before
    assert cli("run", "recipe.toml", "--out", "out", "--restart").code == 0
    assert "score.repetition" in pl.read_parquet("out/scores/source=a/0.parquet.scores.parquet").columns


def test_an_edit_that_is_taken_back_leaves_all_as_it_was(project):
    curate.run("recipe.toml", "out")
    edit('balance = "source:0.5"', 'balance = "label:0.5"')
    with pytest.raises(SchemaError, match="step 2 of 4 prune: "):
        curate.run("recipe.toml", "out")
    edit('balance = "label:0.5"', 'balance = "source:0.5"')
    assert curate.run("recipe.toml", "out").nothing_to_do


@pytest.mark.parametrize(
    ("damaged", "steps"),
    [
        ("kept/source=a/0.parquet.keep.parquet", ["done before", "done"]),
        ("pools.json", ["done before", "done before", "done"]),
        ("train/part-00001.parquet", ["done before", "done before", "done before", "done"]),
    ],
)
def test_a_lost_or_changed_output_is_made_again(project, damaged, steps):
    curate.run("recipe.toml", "out")
    whole = files(Path("out"))
    (Path("out") / damaged).unlink()
    assert states(curate.run("recipe.toml", "out"))[: len(steps)] == steps
    assert files(Path("out")) == whole


def test_a_second_recipe_is_refused_for_the_same_output(project, cli):
    cli("run", "recipe.toml", "--out", "out")
    Path("second.toml").write_text(RECIPE.replace("0.5", "0.7"))
    refused = cli("run", "second.toml", "--out", "out")
    assert refused.code == 1
    assert "out holds the results of recipe.toml, and this is second.toml" in refused.err
    # A copy is the same recipe.
    Path("copy.toml").write_text(RECIPE)
    assert curate.run("copy.toml", "out").nothing_to_do


def test_steps_that_a_recipe_lacks_are_skipped(project):
    edit("[materialize]\nshard-rows = 15", "")
    result = curate.run("recipe.toml", "out")
    assert [done.step.name for done in result.steps] == ["score", "prune", "pools"]
    assert not Path("out/train").exists()
    text = Path("recipe.toml").read_text()
    Path("recipe.toml").write_text(text[: text.index("[prune]")] + "[materialize]\n")
    result = curate.run("recipe.toml", "out")
    assert [done.step.name for done in result.steps] == ["score", "pools", "materialize"]
    (note,) = result.notes
    assert note.startswith("out/kept is of an earlier version of the recipe")
    assert sum(pool.examples for pool in curate.pools("out/scores")) == 100
    rows = pl.read_parquet("out/train/part-*.parquet")
    assert rows.height == 100


def test_paths_begin_at_the_recipe(project, cli, monkeypatch, tmp_path):
    documents(30).write_ndjson("target.jsonl")
    Path("recipe.toml").write_text(
        'out = "out"\n[data]\npaths = ["data/**/*.parquet"]\n[[score]]\nscorer = "dsir"\ntarget = ["target.jsonl"]\n'
        '[prune]\nby = "score.dsir"\nkeep = 0.5\n'
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cli("run", "../recipe.toml").code == 0
    assert (tmp_path / "out" / "kept" / "removal.parquet").is_file()
    assert not any(elsewhere.iterdir())


def test_a_recipe_in_memory(project):
    recipe = {
        "data": {"paths": ["data"]},
        "score": [{"scorer": "length"}],
        "prune": {"by": "score.length", "keep": 0.5},
    }
    assert states(curate.run(recipe, "out")) == ["done", "done"]
    assert curate.run(recipe, "out").nothing_to_do
    recipe["prune"]["keep"] = 0.25
    assert states(curate.run(recipe, "out")) == ["done before", "done"]


def test_a_plan_decides_what_is_drawn(project, cli):
    text = Path("recipe.toml").read_text()
    Path("recipe.toml").write_text(text[: text.index("[pools]")] + "[pools]\n")
    curate.run("recipe.toml", "out")
    pools = curate.pools("out/scores", kept="out/kept")

    def plan(tokens: int) -> None:
        weights = {pool.name: 1 / len(pools) for pool in pools}
        plans = [{"budget": {"tokens": tokens, "params": 1e4}, "weights": weights}]
        artifacts.save(Path("plan.json"), "plan", {"plans": plans})

    plan(1000)
    with Path("recipe.toml").open("a") as recipe:
        recipe.write('[materialize]\nplan = "plan.json"\n')
    assert states(curate.run("recipe.toml", "out")) == ["done before"] * 3 + ["done"]
    (drawn,) = curate.run("recipe.toml", "again").steps[3:]
    assert drawn.result.planned == 1000
    # Another plan is drawn again, over the training set of the first.
    plan(2000)
    (drawn,) = curate.run("recipe.toml", "out").steps[3:]
    assert drawn.result.planned == 2000
    assert cli("run", "recipe.toml", "--out", "out").out.startswith("nothing to do")


def test_data_that_were_written_again_are_pruned_again(project):
    """A requirement may read columns that no scorer reads, so that equal scores do not prove equal decisions."""
    curate.run("recipe.toml", "out")
    path = Path("data/source=a/0.parquet")
    pl.read_parquet(path).with_columns(stars=3).write_parquet(path)
    assert states(curate.run("recipe.toml", "out"))[:2] == ["done before", "done"]


def test_a_bad_file_is_set_aside_and_the_exit_code_says_so(project, cli):
    Path("data/source=a/2.parquet").write_bytes(b"")
    result = cli("run", "recipe.toml", "--out", "out")
    assert result.code == 1
    assert "1 of 5 files was set aside, and all steps left out what is in them" in result.err.splitlines()[-1]
    assert Path("out/train/index.json").is_file()


def test_progress_names_the_steps(project):
    lines = []
    curate.run("recipe.toml", "out", progress=lambda what, done, total: lines.append((what, done, total)))
    names = {what.partition(",")[0] for what, _, _ in lines}
    assert {"1 of 4 score", "2 of 4 prune", "4 of 4 materialize"} <= names
    assert all(re.fullmatch(r"[1-4] of 4 [a-z]+, [a-zA-Z ]+", what) for what, _, _ in lines)


KILLED = """
import os, signal, sys
import curate
count = 0
replace = os.replace
def counted(*arguments, **options):
    global count
    count += 1
    if count == {rename}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*arguments, **options)
os.replace = counted
curate.run("recipe.toml", "out")
print(count)
"""


def killed_at(rename: int) -> subprocess.CompletedProcess[str]:
    """Run the recipe in a process that is killed at its n-th file."""
    words = [sys.executable, "-c", KILLED.format(rename=rename)]
    return subprocess.run(words, capture_output=True, text=True)


def check_killed(rename: int) -> None:
    done = killed_at(rename)
    assert done.returncode == -signal.SIGKILL, done.stderr
    curate.run("recipe.toml", "out")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The files of two runs that nothing stopped: of the recipe, and of the recipe with ``keep = 0.3``."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_corpus(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in (("whole", RECIPE), ("edited", RECIPE.replace("keep = 0.5", "keep = 0.3"))):
            Path("recipe.toml").write_text(text)
            # The files name their folder.
            curate.run("recipe.toml", "out")
            Path("out").rename(name)
    return files(folder / "whole"), files(folder / "edited")


@pytest.mark.parametrize("rename", SEVERAL_RENAMES)
def test_a_killed_run_goes_on(project, uninterrupted, rename):
    whole, edited = uninterrupted
    check_killed(rename)
    assert files(Path("out")) == whole
    # The same after an edit, where older results lie in the folder.
    edit("keep = 0.5", "keep = 0.3")
    if killed_at(rename // 2 + 1).returncode == -signal.SIGKILL:
        curate.run("recipe.toml", "out")
    assert files(Path("out")) == edited != whole


@pytest.mark.slow
@pytest.mark.parametrize("rename", sorted(set(range(2, 60, 3)) - set(SEVERAL_RENAMES)))
def test_a_run_that_is_killed_at_any_file_goes_on(project, uninterrupted, rename):
    assert killed_at(rename).returncode in (-signal.SIGKILL, 0)
    curate.run("recipe.toml", "out")
    assert files(Path("out")) == uninterrupted[0]


def test_ctrl_c_keeps_what_is_done(project):
    """A real process of the command is told to stop while it scores; the same command goes on."""
    for i in range(8):
        documents(500, 500 * i).write_parquet(f"data/source=a/large-{i}.parquet")
    words = console("run", "recipe.toml", "--out", "out", "--workers", "1")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not list(Path("out/scores").rglob("*.scores.parquet")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
    assert process.returncode == 130
    assert "The steps that are done are kept, and the same command continues." in error
    assert states(curate.run("recipe.toml", "out")) == ["done"] * 4


def test_a_training_set_of_another_job_is_not_replaced(project):
    curate.run({"data": {"paths": ["data"]}, "score": [{"scorer": "length"}], "pools": {}}, "other")
    curate.materialize("other/pools.json", "out/train")
    drawn = files(Path("out/train"))
    for _ in range(2):
        with pytest.raises(Interrupted, match="out/train holds another training set"):
            curate.run("recipe.toml", "out")
        assert files(Path("out/train")) == drawn


def test_no_folder_to_write(project):
    with pytest.raises(CurateError, match="no folder to write: give --out DIR"):
        curate.run("recipe.toml")
