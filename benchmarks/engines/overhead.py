"""What an engine costs for each task, beside a plain pool of processes: python benchmarks/engines/overhead.py

CPU is that of the job itself, the driver, in all its threads: the part of an engine that more workers do not share. It
is measured after the workers have started, over 500 tasks that return at once; 200 tasks that sleep for 50 ms; 200
tasks with a function that holds an array of 32 MB; and 100 tasks that use 50 ms of CPU each. For the last ones the
driver's share of all CPU is shown, and the wall time, which other programs on the machine change.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec

import numpy as np

from curate.engines import Engine
from curate.engines.local import Local
from curate.engines.ray import Ray

NOTHING, SLEEPS, LARGE, BUSY = 500, 200, 200, 100
SECONDS = 0.05


class PlainPool:
    """The executor of the standard library, with all tasks handed to it at once."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @contextmanager
    def session(self) -> Iterator["PlainPool"]:
        """Start an executor, and use it until the block ends."""
        with ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn")) as self.executor:
            yield self

    def run(self, function: Callable, tasks: Sequence) -> Iterator:
        """Yield results in the order of tasks."""
        return self.executor.map(function, tasks)


def nothing(task: int) -> int:
    """Return at once."""
    return task


def sleep(seconds: float) -> None:
    """Wait, as for a task on another core."""
    time.sleep(seconds)


def busy(seconds: float) -> float:
    """Use so much CPU, and return how much it was."""
    began = time.process_time()
    while time.process_time() < began + seconds:
        pass
    return time.process_time() - began


def element(values: np.ndarray, place: int) -> float:
    """Return one element of what all tasks share."""
    return float(values[place])


def cost(session: Engine, function: Callable, tasks: Sequence) -> float:
    """Return the CPU that the driver uses for a task, in milliseconds."""
    began = time.process_time()
    list(session.run(function, tasks))
    return (time.process_time() - began) / len(tasks) * 1e3


def row(name: str, workers: int, session: Engine) -> str:
    """Measure one engine; return a line of the table."""
    list(session.run(sleep, [0.2] * 2 * workers))  # starts the workers
    costs = [cost(session, nothing, range(NOTHING)), cost(session, sleep, [SECONDS] * SLEEPS)]
    costs.append(cost(session, partial(element, np.arange(4e6)), range(LARGE)))
    wall, driver = time.perf_counter(), time.process_time()
    work = sum(session.run(busy, [SECONDS] * BUSY))
    wall, driver = time.perf_counter() - wall, time.process_time() - driver
    numbers = " | ".join(f"{value:.2f}" for value in costs)
    return f"| {name} | {workers} | {numbers} | {driver / (driver + work):.1%} | {wall:.1f} |"


def main() -> None:
    """Print one table."""
    print("| engine | workers | ms a task: nothing | 50 ms asleep | 32 MB held | driver's share | wall s, 50 ms busy |")
    print("|---|---|---|---|---|---|---|", flush=True)
    engines: dict[str, Callable[[int], AbstractContextManager]] = {
        "ProcessPoolExecutor": lambda workers: PlainPool(workers).session(),
        "local": lambda workers: Local(workers).session(),
        "ray": lambda workers: Ray(workers, "local").session(),
    }
    for name, engine in engines.items():
        if name == "ray" and find_spec("ray") is None:
            print("| ray | not installed: pip install 'curate-planner[ray]' | | | | | |")
            continue
        # One local worker is the driver itself.
        for workers in (2,) if name == "local" else (1, 2):
            with engine(workers) as session:
                print(row(name, workers, session), flush=True)


if __name__ == "__main__":
    main()
