"""What every engine promises, checked for every file of ``curate/engines``."""

import os
import signal
from pathlib import Path

import pytest

from curate import plugins
from curate.errors import CurateError

NAMES = plugins.names("engines")


def engine(name, workers=2):
    try:
        return plugins.build("engines", f"{name}:workers={workers}")
    except ModuleNotFoundError as missing:
        pytest.skip(f"{name} needs {missing.name}, an extra that is not installed")


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


def always_dies(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def threads(_: int) -> str:
    return os.environ.get("POLARS_MAX_THREADS", "unset")


EVERY = pytest.mark.parametrize("name", NAMES)


@EVERY
@pytest.mark.parametrize("workers", [1, 2])
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
def test_a_task_that_always_kills_its_worker_ends_in_a_clear_error(name):
    with pytest.raises(CurateError, match="worker process died") as caught:
        list(engine(name).run(always_dies, [1]))
    assert "\n" not in str(caught.value)


@EVERY
def test_the_environment_is_restored(name):
    before = dict(os.environ)
    assert list(engine(name).run(threads, [0])) == ["1"]
    assert dict(os.environ) == before
