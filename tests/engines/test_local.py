"""Local processes: when they are started, what they cost, and what they are handed."""

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from curate import processes
from curate.engines import local
from curate.engines._shared_function import SharedFunction, call, write
from curate.engines.local import Local


def process(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def weighted(weights: dict[str, np.ndarray], task: tuple[str, int]) -> float:
    name, row = task
    return float(weights[name][row])


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: 2)


def elsewhere(pids: list[int]) -> list[bool]:
    return [pid != os.getpid() for pid in pids]


def test_a_small_job_starts_no_process(two_cores):
    with Local(0).session() as session:
        for _ in range(5):
            assert not any(elsewhere(list(session.run(process, [0.001] * 20))))


def test_processes_are_started_when_a_second_has_passed_and_tasks_remain(two_cores, monkeypatch):
    monkeypatch.setattr(local, "SECONDS_ALONE", 0.2)
    with Local(0).session() as session:
        assert elsewhere(list(session.run(process, [0.15] * 2))) == [False, False]
        # The seconds count over all runs of a session.
        assert all(elsewhere(list(session.run(process, [0.0] * 4))))
        # Workers that wait for tasks take a single one too.
        assert elsewhere(list(session.run(process, [0.0]))) == [True]


def test_a_long_job_starts_them_at_once_but_for_a_single_task(two_cores):
    with Local(0).session(long=True) as session:
        assert elsewhere(list(session.run(process, [0.0]))) == [False]
        assert all(elsewhere(list(session.run(process, [0.0] * 4))))


def test_a_number_of_workers_is_a_number_of_workers():
    pids = list(Local(2).run(process, [0.2] * 6))
    assert all(elsewhere(pids)) and len(set(pids)) == 2


def test_no_more_processes_are_started_than_there_are_tasks():
    before = set(processes.descendants(os.getpid()))
    with Local(8).session() as session:
        list(session.run(process, [0.0] * 2))
        # Two workers, and the helper of multiprocessing.
        assert len(set(processes.descendants(os.getpid())) - before) <= 3


def test_on_one_core_tasks_run_in_this_process(monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: 1)
    assert not any(elsewhere(list(Local(0).run(process, [0.3] * 5))))


def test_the_job_itself_uses_less_than_a_fiftieth_of_the_cpu_of_200_tasks():
    with Local(4).session() as session:
        list(session.run(process, [0.0] * 8))  # starts the workers
        before = time.process_time()
        list(session.run(process, [0.05] * 200))
        driver = time.process_time() - before
    # The tasks sleep, as if each used 50 ms of another core, so that the test is short on a busy machine.
    assert driver < 0.02 * 0.05 * 200, f"{1000 * driver / 200:.2f} ms a task"


def test_a_large_function_costs_a_task_nothing():
    weights = {"a": np.arange(4e6), "b": np.ones((3, 2), order="F")[:, 0]}  # 32 MB, and an array that has gaps
    with Local(2).session() as session:
        list(session.run(process, [0.0] * 4))
        before = time.process_time()
        values = list(session.run(partial(weighted, weights), [("a", i) for i in range(200)]))
        driver = time.process_time() - before
    assert sorted(values) == list(range(200))
    # Pickled for every task, 32 MB would take 200 times about 20 ms.
    assert driver < 1


def test_a_function_is_read_back_from_its_file_as_it_was(tmp_path):
    weights = {"a": np.arange(5.0), "b": np.ones((3, 2), order="F"), "none": np.empty(0)}
    shared = write(partial(weighted, weights), tmp_path / "function")
    assert isinstance(shared, SharedFunction)
    assert all(start % 64 == 0 for start, _ in shared.spans)
    assert call(shared, ("a", 3)) == 3.0
    other = write(partial(weighted, {"a": np.arange(5.0) + 1}), tmp_path / "other")
    assert call(other, ("a", 3)) == 4.0
    (tmp_path / "other").unlink()
    assert call(other, ("a", 2)) == 3.0, "it is loaded once"


def test_a_session_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(processes.descendants(os.getpid()))
    with Local(2).session() as session:
        run = session.run(process, [0.0] * 50)
        next(run)
        (function,) = tmp_path.rglob("function-*")
        # Workers run what this file holds, so nobody else may write it.
        assert function.parent.stat().st_mode & 0o077 == 0
    # The helper of multiprocessing stays, once in the life of a process.
    assert len(set(processes.descendants(os.getpid())) - before) <= 1
    assert not list(tmp_path.iterdir())


def linux(tmp_path: Path, groups: str, files: dict[str, str]) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


QUOTA, PERIOD = "cpu,cpuacct/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_period_us"
STEP = {"job/cpu.max": "300000 100000", "job/step/cpu.max": "max 100000"}


@pytest.mark.parametrize(
    "groups, files, cores",
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "900000 100000\n"}, 8),
        ("0::/job/step\n", STEP, 3),
        ("0::/of/the/host\n", {"cpu.max": "10000 100000\n"}, 1),
        ("3:cpu,cpuacct:/\n1:memory:/a\n", {QUOTA: "400000\n", PERIOD: "100000\n"}, 4),
        ("3:cpu,cpuacct:/a\n", {QUOTA: "-1\n", PERIOD: "100000\n"}, 8),
    ],
)
def test_cores_are_counted_up_to_the_quota_of_the_container(groups, files, cores, tmp_path, monkeypatch):
    linux(tmp_path, groups, files)
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(processes, "CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert processes.usable_cores() == cores


@pytest.mark.parametrize(
    "groups, files, limit",
    [
        ("0::/\n", {}, 8 * 4096),
        ("0::/job/step\n", {"job/memory.max": "9000\n", "job/step/memory.max": "max\n"}, 9000),
        ("3:cpu:/a\n1:memory:/a\n", {"memory/a/memory.limit_in_bytes": "7000\n", "cpu/a/memory.max": "5\n"}, 7000),
        ("1:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 * 4096),
    ],
)
def test_memory_is_that_of_the_machine_up_to_the_limit_of_the_container(groups, files, limit, tmp_path, monkeypatch):
    linux(tmp_path, groups, files)
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(processes, "CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 8, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert processes.usable_memory() == limit


def test_the_cores_of_this_machine_are_those_it_is_bound_to():
    assert 1 <= processes.usable_cores() <= len(os.sched_getaffinity(0))
