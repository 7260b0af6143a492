"""Damaged artefacts: every reader gives the same answer, or one line that says what is wrong and where."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from artefact_samples import make, outcome
from conftest import documents
from damage import damaged
from job_samples import job_samples, kinds_of

from curate import __version__
from curate.errors import SchemaError
from curate.pool.pool import load_pools
from curate.storage import artifacts, schema
from curate.storage.forms.plans import PlansForm

BUDGET = {"tokens": 1e9, "params": 1e8}
PLAN = {"plans": [{"budget": BUDGET, "weights": {"a": 0.5, "b b": 0.5}}]}


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
def samples(request, tmp_path_factory):
    """A folder with valid artefacts, the artefacts, and how many damaged files to try."""
    folder = tmp_path_factory.mktemp("samples")
    artefacts = make(folder, every_fit=request.param) + job_samples(folder)
    return folder, artefacts, 5000 if request.param else 200


def test_every_kind_of_artefact_has_a_sample(samples):
    assert kinds_of(samples[1]) == set(artifacts.KINDS)


def test_damaged_artefacts_are_read_or_refused_in_one_line(samples):
    folder, artefacts, count = samples
    refused = 0
    for seed in range(count):
        sample = artefacts[seed % len(artefacts)]
        what, content = damaged(sample.content, seed)
        (folder / sample.name).write_bytes(content)
        for read in sample.readers:
            try:
                message = outcome(read, folder)
            except Exception as error:
                pytest.fail(f"seed {seed}, {sample.name}, {what}: {type(error).__name__}: {error}")
            if message is not None:
                refused += 1
                assert "\n" not in message, message
                assert len(message) < 600, message
        (folder / sample.name).write_bytes(sample.content)
    assert refused > count / 2


def _changed(place, value):
    record = json.loads(json.dumps(PLAN))
    parent = record
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            _changed(("plans", 0, "budget", "tokens"), "x"),
            "plans[0].budget.tokens is 'x', not a number",
        ),
        (
            _changed(("plans", 0, "budget", "tokens"), -1),
            "plans[0].budget.tokens is -1, which is not above 0",
        ),
        (
            _changed(("plans", 0, "budget", "tokens"), 10**30 * 9),
            "plans[0].budget.tokens is 9e+30, which is not at most 1e+30",
        ),
        (
            _changed(("plans", 0, "budget", "tokens"), 10**399),
            "plans[0].budget.tokens is a number of over 300 digits, which is too large",
        ),
        (
            _changed(("plans", 0, "weights", "b b"), 1.5),
            "plans[0].weights['b b'] is 1.5, which is not at most 1",
        ),
        (
            _changed(("plans", 0, "weights", "b b"), None),
            "plans[0].weights['b b'] is null, not a number",
        ),
        (
            _changed(("plans", 0, "weights"), []),
            "plans[0].weights is a list of 0, not an object with named fields",
        ),
        (
            _changed(("plans", 0, "budget"), {"tokens": 1}),
            "plans[0].budget has no field 'params'",
        ),
        (
            _changed(("plans", 0, "loss"), float("nan")),
            "plans[0].loss is nan, which is not a finite number",
        ),
        (_changed(("plans",), 3), "plans is 3, not a list"),
        (
            _changed(("format",), 9),
            f"has format 9; this version of curate ({__version__}) reads 1 and 2. Install a newer curate",
        ),
        (
            '{"plans": [], "plans": [1]}',
            "has the field 'plans' twice in one object",
        ),
        ("[" * 100_000, "is not one of our files (nested too deeply)"),
        ("9" * 10**6, "is inf, which is not a finite number"),
        (r'{"plans": [], "note": "\ud800"}', r"has half of a character (an escape \ud... alone)"),
        ("", "is not JSON (Expecting value: line 1 column 1 (char 0))"),
        ("\udcff", "is not text in UTF-8 (byte 1)"),
        ("{}", "has no field 'plans': is it the right file?"),
    ],
)
def test_a_message_names_the_field(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = Path("plan.json")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SchemaError) as caught:
        artifacts.load(path, "plan")
    words = re.sub("^plan.json:? ", "", str(caught.value))
    assert words.removesuffix(": make the file again with `curate plan`") == message


def test_a_folder_or_nothing_in_place_of_a_file_is_one_line(tmp_path):
    with pytest.raises(SchemaError, match="is not a file"):
        load_pools(tmp_path)
    with pytest.raises(SchemaError, match="no such file: .*; make it with `curate pools`"):
        load_pools(tmp_path / "pools.json")


def test_what_is_valid_stays_as_it_is(tmp_path):
    record = PLAN | {"a later field": [1], "format": 2}
    (tmp_path / "plan.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(record).encode())
    assert artifacts.load(tmp_path / "plan.json", "plan") == record


def test_the_first_wrong_field_of_two_mappings_is_named():
    value = {"plans": [PLAN["plans"][0] | {"gains": {"good": [1, 2, 3], "bad": [1, "x", 3]}}]}
    with pytest.raises(SchemaError, match=re.escape("p: plans[0].gains.bad[1] is 'x', not a number: again")):
        schema.check(value, PlansForm, "p", "again")


TRAINER = """
import json, math, sys
request = json.load(sys.stdin)
print(json.dumps({"web": 1.5 + math.exp(-request["weights"]["a"])}))
"""
DSIR = "dsir:target=data/source=a/0.parquet"
PILOT = ["--trainer", f"command:{sys.executable} trainer.py", "--runs", 2, "--tokens", 1e4, "--params", 10]
JOBS = {
    "status": ["status", "scores"],
    "score": [
        "score",
        "data",
        "--scorer",
        "length",
        "--scorer",
        "dsir:target=data/source=a/0.parquet",
        "--out",
        "scores",
        "--workers",
        1,
    ],
    "prune": ["prune", "scores", "--by", "score.length", "--keep", 0.5, "--out", "kept", "--materialize"],
    "pools": ["pools", "scores", "--kept", "kept", "--out", "pools.json"],
    "pilot": [
        "pilot",
        "pools.json",
        "--trainer",
        f"command:{sys.executable} trainer.py",
        "--runs",
        2,
        "--tokens",
        1e4,
        "--params",
        10,
        "--out",
        "runs.parquet",
    ],
    "materialize": ["materialize", "plan.json", "--pools", "pools.json", "--out", "train"],
    "export": ["export", "plan.json", "--pools", "pools.json", "--to", "mosaic", "--out", "mosaic.yaml"],
    "schedule": ["schedule", "pools.json", "--method", "unimax", "--tokens", 1e3, "--out", "schedule.json"],
}
# Which jobs read the files of each folder.
READ_BY = {
    "scores": ("status", "score", "prune"),
    "kept": ("pools", "prune"),
    "runs.runs": ("pilot",),
    "train": ("materialize",),
    "plan.json": ("materialize", "export"),
    "pools.json": ("schedule", "export"),
}


def test_damaged_files_through_the_command_line(cli, tmp_path, monkeypatch):
    """60 damaged files, each read by a job: exit 0, or 1 with one line; never 70."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate("ab"):
        path = tmp_path / "data" / f"source={name}" / f"{i}.parquet"
        path.parent.mkdir(parents=True)
        documents(30, 30 * i).write_parquet(path)
    (tmp_path / "trainer.py").write_text(TRAINER)
    plan = {"format": 2, "plans": [{"budget": {"tokens": 1000, "params": 10}, "weights": {"a": 0.5, "b": 0.5}}]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for job in ("score", "prune", "pools", "pilot", "materialize"):
        assert cli(*JOBS[job]).code == 0
    shutil.copytree(tmp_path, tmp_path.parent / "valid")
    names = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.json"))
    tried = 0
    for seed in range(60):
        name = names[seed % len(names)]
        jobs = READ_BY[name.parts[0]]
        what, content = damaged((tmp_path.parent / "valid" / name).read_bytes(), seed)
        (tmp_path / name).write_bytes(content)
        job = jobs[seed // len(names) % len(jobs)]
        result = cli(*JOBS[job])
        lines = [line for line in result.err.splitlines() if line.startswith("curate: ")]
        assert (result.code, len(lines)) in ((0, 0), (1, 1)), f"seed {seed}, {name}, {what}, {job}: {result}"
        assert "Traceback" not in result.err
        tried += result.code
        shutil.rmtree(tmp_path, ignore_errors=True)
        shutil.copytree(tmp_path.parent / "valid", tmp_path, copy_function=shutil.copy2, dirs_exist_ok=True)
        monkeypatch.chdir(tmp_path)
    assert tried > 15
