"""A job that was stopped leaves a folder that later jobs refuse, until the same command has ended."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from conftest import console, documents, one_line, tree

from curate.storage import completion

SCORE = ("score", "in", "--scorer", "length", "--scorer", "repetition", "--out", "scores")
PRUNE = ("prune", "scores", "--by", "score.length", "--keep", "0.5", "--out", "kept")
POOLS = ("pools", "scores", "--kept", "kept", "--out", "pools.json")
ALL_POOLS = ("pools", "scores", "--out", "all.json")
MATERIALIZE = ("materialize", "pools.json", "--out", "train", "--shard-rows", "20")
FILES = 6


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(FILES):
        documents(20, 20 * i).write_ndjson(f"in/{i}.jsonl")
    return tmp_path


@pytest.fixture
def half(work, cli, monkeypatch):
    """A score folder whose job was stopped after two of six files."""
    from curate.scoring import worker

    whole, scored_files = worker._score_whole, []

    def stops(task, bad_lines):
        if len(scored_files) == 2:
            raise KeyboardInterrupt
        scored_files.append(whole(task, bad_lines))
        return scored_files[-1]

    with monkeypatch.context() as patched:
        patched.setattr(worker, "_score_whole", stops)
        # Otherwise all six files would be written together.
        patched.setattr(worker, "TOGETHER", 1)
        assert cli(*SCORE).code == 130
    return work


def test_a_job_that_was_stopped_before_its_first_score_file_is_unfinished(work, cli):
    completion.begin(Path("scores"), "score", ["0.jsonl", "1.jsonl"])
    assert "scores is not finished: 0 of 2 files scored, 2 not" in one_line(cli(*PRUNE))


@pytest.mark.parametrize("job", [PRUNE, ALL_POOLS, ("report", ".", "--out", "report.html"), ("describe", "scores")])
def test_a_half_scored_folder_is_refused_with_counts_until_the_job_ends(half, cli, job):
    line = one_line(cli(*job))
    if job[0] != "describe":
        assert "2 of 6 files scored, 4 not" in line
    assert "`curate score" in line
    assert not Path("kept").exists()
    assert cli(*SCORE).code == 0
    # The score files themselves have no texts to describe.
    assert cli(*job).code == 0 if job[0] != "describe" else "has no column 'text'" in one_line(cli(*job))


def test_partial_takes_what_is_there_and_says_so_everywhere(half, cli):
    done = cli(*PRUNE, "--partial", "--json", "--materialize")
    assert done.code == 0
    record = json.loads(done.out)
    assert record["total"]["rows"] == 40
    assert len(record["left_out"]["unfinished"]) == 4
    assert "--partial leaves out 4 of 6 files, not scored yet: " in done.err
    assert json.loads(Path("kept/pools.json").read_text())["made_by"]["arguments"]["partial"] is True
    assert completion.read(Path("kept"), "prune").partial
    assert sum(pl.read_ndjson(path).height for path in Path("kept/rows").glob("*.jsonl")) == 20
    done = cli(*POOLS, "--partial")
    assert done.code == 0
    assert "--partial leaves out 4 of 6 files, not scored yet: " in done.err
    assert json.loads(Path("pools.json").read_text())["made_by"]["arguments"]["partial"] is True
    assert "2 of 6 files scored" in one_line(cli(*MATERIALIZE))
    done = cli(*MATERIALIZE, "--partial")
    assert done.code == 0
    assert "--partial leaves out 4 of 6 files, not scored yet: " in done.err
    # Once all files are scored, the decisions of a part are not those of the whole.
    assert cli(*SCORE).code == 0
    assert "kept" in one_line(cli(*POOLS))


def test_what_was_set_aside_is_named_by_every_later_job(work, cli):
    Path("in/bad.jsonl").write_text('{"id')
    assert cli(*SCORE).code == 1
    for job in (PRUNE, POOLS, MATERIALIZE):
        done = cli(*job)
        assert done.code == 0
        assert "1 of 7 files was set aside" in done.err
        assert "bad.jsonl" in done.err
    assert "bad.jsonl" in json.loads(cli(*PRUNE, "--json").out)["left_out"]["set_aside"]
    assert "bad.jsonl" in json.loads(cli(*ALL_POOLS, "--json").out)["left_out"]["set_aside"]
    assert cli("report", ".", "--out", "report.html").code == 0
    assert "bad.jsonl" in Path("report.html").read_text()


def test_a_folder_of_an_older_version_is_judged_by_its_entries(half, cli):
    completion.path(Path("scores"), "score").unlink()
    assert "2 of 6 files scored, 4 not" in one_line(cli(*PRUNE))
    assert cli(*SCORE).code == 0
    completion.path(Path("scores"), "score").unlink()
    assert cli(*PRUNE).code == 0


def test_a_score_file_that_is_gone_is_missed(work, cli):
    assert cli(*SCORE).code == 0
    next(Path("scores").glob("3*.scores.parquet")).unlink()
    assert "5 of 6 files scored, 1 not" in one_line(cli(*PRUNE))


@pytest.mark.parametrize("stop_at", ["decide_files", "save", "write_kept"])
def test_a_prune_that_was_stopped_is_refused_by_later_jobs(work, cli, monkeypatch, stop_at):
    from curate.pruning import decisions, kept_rows
    from curate.pruning.removal_report import page

    assert cli(*SCORE).code == 0
    assert cli(*PRUNE, "--materialize").code == cli(*POOLS).code == 0
    calm = tree(Path("kept"))
    module = {"decide_files": decisions, "save": page, "write_kept": kept_rows}[stop_at]

    def stops(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, stop_at, stops)
        assert cli(*PRUNE, "--materialize").code == 130
    for job in (POOLS, MATERIALIZE, ("describe", "kept/rows"), ("pilot", "pools.json", "--out", "runs.parquet")):
        assert "`curate prune` has not finished kept" in one_line(cli(*job)), job
    assert "not ended" in cli("status", "kept").out
    assert cli(*PRUNE, "--materialize").code == 0
    assert tree(Path("kept")) == calm
    assert cli(*POOLS).code == cli(*MATERIALIZE).code == 0
    assert "prune: ended" in cli("status", "kept").out


def test_decisions_of_scores_that_were_made_again_are_refused(work, cli):
    assert cli(*SCORE).code == cli(*PRUNE).code == cli(*POOLS).code == 0
    assert cli(*SCORE, "--restart").code == 0
    assert cli(*POOLS).code == 0, "the same scores"
    other = [word.replace("repetition", "compression") for word in SCORE]
    assert cli(*other, "--restart").code == 0
    for job in (POOLS, MATERIALIZE):
        line = one_line(cli(*job))
        assert "since kept was decided" in line
        assert "curate prune" in line


def test_an_unfinished_training_set_is_no_data(work, cli, monkeypatch):
    from curate.training_set import stages

    assert cli(*SCORE).code == cli(*PRUNE).code == cli(*POOLS).code == 0
    with monkeypatch.context() as patched:
        gather, written = stages.shuffle.gather, []

        def stops(task):
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(gather(task))
            return 0

        patched.setattr(stages.shuffle, "gather", stops)
        assert cli(*MATERIALIZE).code == 130
    for job in (("describe", "train"), ("score", "train/*.parquet", "--scorer", "length", "--out", "s2")):
        assert "`curate materialize` has not finished train" in one_line(cli(*job))
    assert cli(*MATERIALIZE).code == 0
    assert cli("describe", "train", "--sample", "20", "--neighbours", "4").code == 0


def test_the_table_of_an_earlier_pilot_is_refused_while_a_new_one_is_not_done(work, cli, monkeypatch):
    from curate.runs import pilots

    pilot = ("pilot", "kept/pools.json", "--runs", "4", "--params", "1e4", "--tokens", "2e3", "--out", "runs.parquet")
    assert cli(*SCORE).code == cli(*PRUNE).code == 0
    assert cli(*pilot).code == 0

    def stops(task):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pilots, "train_one", stops)
        assert cli(*pilot, "--restart").code == 130
    assert "`curate pilot` has not finished runs.runs" in one_line(cli("fit", "runs.parquet", "--out", "fit.json"))
    assert cli(*pilot).code == 0
    assert "has not ended" not in cli("fit", "runs.parquet", "--out", "fit.json").err


JOBS = {
    "score": ((*SCORE, "--workers", "2"), "scores"),
    "prune": ((*PRUNE, "--materialize"), "kept"),
    "pools": (POOLS, "pools.json"),
    "materialize": (MATERIALIZE, "train"),
}


def rows_of(done):
    """Return the rows that a later job used, by its result in JSON."""
    record = json.loads(done.stdout)
    if "total" in record:
        return record["total"]["rows"]
    examples = "rows" if "shards" in record else "examples"
    return sum(row[examples] for row in record["pools"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("job", JOBS)
def test_after_a_kill_no_later_job_takes_a_part_without_a_word(work, job, seed):
    def run(*words):
        return subprocess.run(console(*words), capture_output=True, text=True)

    for i in range(FILES):
        documents(4000, 4000 * i).write_ndjson(f"in/{i}.jsonl")
    names = list(JOBS)
    earlier = names[: names.index(job)]
    for name in earlier:
        assert run(*JOBS[name][0]).returncode == 0
    later = [name for name in names[names.index(job) + 1 :]]
    expected = {"prune": 4000 * FILES, "pools": 2000 * FILES, "materialize": 2000 * FILES}
    command, out = JOBS[job]
    rng = random.Random(seed)
    killed = subprocess.Popen(console(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Up to the moment at which the fastest of these jobs ends; the start of the program takes half a second.
    time.sleep(rng.uniform(0.5, 2.5))
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    for name in later:
        done = run(*JOBS[name][0], "--json")
        assert done.returncode != 0 or rows_of(done) == expected[name], (name, done.stdout)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        if done.returncode == 0:
            break
    for name in names[names.index(job) :]:
        assert run(*JOBS[name][0]).returncode == 0, name
    ended = {name: tree(Path(JOBS[name][1])) if Path(JOBS[name][1]).is_dir() else {} for name in names}
    for name in names[names.index(job) :]:
        assert run(*JOBS[name][0], *(["--restart"] if name in ("score", "materialize") else [])).returncode == 0
    for name in names:
        calm = tree(Path(JOBS[name][1])) if Path(JOBS[name][1]).is_dir() else {}
        visible = {key for key in calm if not key.startswith("_curate")}
        assert {key: ended[name][key] for key in visible} == {key: calm[key] for key in visible}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("inputs", 5, "inputs is 5, not a list"),
        ("ended", None, "ended is null, not true or false"),
        ("format", "x", "format is 'x', not a whole number"),
        ("set_aside", {"a": 1}, "set_aside.a is 1, not a text"),
        ("bad_lines", {"a": []}, "bad_lines.a is a list of 0, not a whole number"),
    ],
)
def test_a_damaged_record_names_its_field(half, cli, field, value, message):
    path = Path("scores/_curate/completion/score.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {field: value}))
    for words in (PRUNE, ALL_POOLS):
        output = cli(*words)
        assert output.code == 1
        assert f"score.json: {message}: delete it" in one_line(output)


def test_records_with_fields_of_a_later_version_are_read(half, cli):
    Path("in/5.jsonl").write_text("{")
    assert cli(*SCORE, "--max-bad", 1).code in (0, 1)  # a file was set aside
    records = [*Path("scores/_curate").rglob("*.json")]
    assert any("quarantine" in path.parts for path in records)
    for path in records:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    output = cli(*PRUNE)
    assert (output.code, "1 of 6 files was set aside" in output.err) == (0, True)
