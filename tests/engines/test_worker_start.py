"""What a worker loads before its first task, and when workers start."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import documents

from curate import processes
from curate.engines import local
from curate.engines.local import Local
from curate.scoring.score import score

# Imports that take a tenth of a second or more, or start threads, beside those that every scorer of text needs. pandas
# is none of them: where it is installed, pyarrow imports it when it makes its first array or scalar.
HEAVY = {"altair", "asyncio", "duckdb", "ot", "ray", "rich", "scipy", "sklearn", "torch", "transformers"}
HEAVY |= {"typer", "unittest"}
# An expression that a worker evaluates, as a task of the function `eval`, which needs no import.
LOADED = "sorted(set(__import__('sys').modules) & set({names!r}))"


@pytest.mark.parametrize("scorer", ["length", "repetition", "compression", "duplicates", "embedding:width=16"])
def test_a_worker_loads_no_heavy_module_that_its_scorer_does_not_use(scorer, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for i in range(4):
        documents(20, 20 * i).write_parquet(data / f"{i}.parquet")
    with Local(2).session() as session:
        score([data], scorer, tmp_path / "out", engine=session)
        loaded = set().union(*session.run(eval, [LOADED.format(names=sorted(HEAVY))] * 8))
    # The texts of `documents` are alike, so workers compare them, and the sparse matrices of scipy do that.
    assert loaded <= ({"scipy", "unittest"} if scorer == "duplicates" else set())


def others(before: set[int]) -> list[int]:
    """The workers of this process: the helper of multiprocessing is none."""
    new = set(processes.descendants(os.getpid())) - before
    return [pid for pid in new if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def before(monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: 2)
    return set(processes.descendants(os.getpid()))


@pytest.mark.parametrize(
    ("engine", "options", "count"),
    [
        (Local(2), {"imports": ["json"]}, 2),
        (Local(8), {"imports": ["json"]}, 2),  # no more than there are cores
        (Local(0), {"imports": ["json"], "long": True}, 2),
        (Local(0), {"imports": ["json"]}, 0),
        (Local(1), {"imports": ["json"]}, 0),
        (Local(2), {}, 0),
    ],
)
def test_workers_start_before_their_tasks_where_they_are_certainly_needed(engine, options, count, before):
    with engine.session(**options) as session:
        assert len(others(before)) == count
        with session.session(**options):
            assert len(others(before)) == count
    assert not others(before)


def test_workers_that_started_early_run_the_tasks(before):
    with Local(2).session(imports=["json"]) as session:
        early = set(others(before))
        assert set(session.run(process, [0.2] * 4)) == early


def test_workers_without_a_task_are_not_waited_for(before):
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), Local(2).session(imports=["curate.scoring.score"]):
        raise ZeroDivisionError
    assert not others(before)
    assert time.monotonic() - started < 10


def test_a_module_that_cannot_be_imported_is_reported_by_the_task_that_needs_it(before):
    with Local(2).session(imports=["no_such_module"]) as session:
        assert sorted(session.run(abs, [-1, -2, -3])) == [1, 2, 3]


def process(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.mark.parametrize("words", [["--scorer", "lenght"], ["--scorer", "length"]])
def test_a_command_that_is_refused_leaves_no_worker(words, tmp_path):
    command = [sys.executable, "-c", "from pipelines.shared.cli import main; main()", "score", str(tmp_path / "absent")]
    command += [*words, "--out", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    # Both streams end only when no process holds them any more.
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
