"""What every engine promises, checked for every file of ``curate/engines``."""

import os
import signal
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from curate import open_sets
from curate.engines import WorkerDied, _ray_cluster
from curate.errors import CurateError

EXTRAS = {"ray": "ray"}  # engine: the package it needs, which `pip install curate-planner` does not bring


@pytest.fixture(scope="module")
def ray_cluster():
    """One cluster for all tests here: it takes seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where its workers find the functions below
        with _ray_cluster.connected("local", 2):
            yield


@pytest.fixture(autouse=True)
def started(name, request):
    if name == "ray":
        request.getfixturevalue("ray_cluster")


def engine(name, workers=2):
    return open_sets.build("engines", f"{name}:workers={workers}")


def marked(name):
    if name not in EXTRAS:
        return name
    absent = find_spec(EXTRAS[name]) is None
    reason = f"{EXTRAS[name]} is not installed: pip install 'curate-planner[{EXTRAS[name]}]'"
    marks = [pytest.mark.slow, pytest.mark.skipif(absent, reason=reason)]
    return pytest.param(name, marks=marks)


def double(x: int) -> int:
    return 2 * x


def fails_at_three(x: int) -> int:
    if x == 3:
        raise CurateError("three is not allowed")
    return x


def dies_once(marker: str) -> str:
    """Kill this worker the first time."""
    path = Path(marker)
    if not path.exists():
        path.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def dies_at_three(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def process(_: int) -> int:
    return os.getpid()


def holds(values: np.ndarray, task: int) -> tuple[int, bool, float]:
    return os.getpid(), values.flags.writeable, float(values[task])


def threads(_: int) -> str:
    return os.environ.get("POLARS_MAX_THREADS", "unset")


EVERY = pytest.mark.parametrize("name", [marked(name) for name in open_sets.names("engines")])


@EVERY
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_task_gives_one_result(name, workers):
    assert sorted(engine(name, workers).run(double, range(20))) == list(range(0, 40, 2))


@EVERY
@pytest.mark.parametrize("workers", [1, 2])
def test_no_tasks_give_no_results(name, workers):
    assert list(engine(name, workers).run(double, [])) == []


@EVERY
@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_its_own(name, workers):
    with pytest.raises(CurateError, match="^three is not allowed$"):
        list(engine(name, workers).run(fails_at_three, range(5)))


@EVERY
def test_a_killed_worker_is_replaced_and_its_task_run_again(name, tmp_path):
    markers = [str(tmp_path / f"m{i}") for i in range(4)]
    Path(markers[0]).write_text("")
    Path(markers[1]).write_text("")
    for marker in markers[3:]:
        Path(marker).write_text("")
    assert sorted(engine(name).run(dies_once, markers)) == ["m0", "m1", "m2", "m3"]


@EVERY
def test_a_task_that_always_kills_its_worker_is_named(name):
    with engine(name).session() as session:
        line = "^3 worker processes died while they ran the same task, .* [1-4] of 5 tasks remain. The task: 3$"
        with pytest.raises(WorkerDied, match=line) as caught:
            list(session.run(dies_at_three, range(5)))
        assert "\n" not in str(caught.value)
        assert caught.value.task == 3
        # The session goes on with other workers.
        assert sorted(session.run(double, range(4))) == [0, 2, 4, 6]


@EVERY
def test_the_environment_is_restored(name):
    before = dict(os.environ)
    assert list(engine(name).run(threads, [0, 0])) == ["1", "1"]
    assert dict(os.environ) == before


@EVERY
@pytest.mark.parametrize("workers", [1, 2])
def test_a_session_runs_several_times_on_the_same_workers(name, workers):
    with engine(name, workers).session() as session:
        pids = [set(session.run(process, range(8))) for _ in range(3)]
        assert sorted(session.run(double, range(5))) == [0, 2, 4, 6, 8]
        with session.session() as inner:
            pids.append(set(inner.run(process, range(8))))
    assert len(set.union(*pids)) <= workers


@EVERY
def test_a_session_goes_on_after_an_error_of_a_task_and_a_run_that_nobody_reads(name):
    with engine(name).session() as session:
        with pytest.raises(CurateError, match="^three is not allowed$"):
            list(session.run(fails_at_three, range(5)))
        next(session.run(double, range(50)))
        assert sorted(session.run(double, range(5))) == [0, 2, 4, 6, 8]


@EVERY
def test_what_a_function_holds_is_shared_read_only_by_the_workers(name):
    values = np.arange(1e6)
    results = list(engine(name).run(partial(holds, values), range(8)))
    assert not any(writeable for _, writeable, _ in results)
    assert sorted(value for _, _, value in results) == list(range(8))
