"""Processes on this machine, one numerical thread each."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from threading import Thread

from curate.engines import R, T
from curate.errors import CurateError

ATTEMPTS = 3  # how often a pool is rebuilt without a task done in between before we blame the task
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Local:
    """``workers`` processes; 1 runs in this process. A worker that dies is replaced and its task run again."""

    workers: int = 1

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish."""
        if self.workers <= 1:
            yield from map(function, tasks)
            return
        left = list(range(len(tasks)))
        attempts = 0
        while attempts < ATTEMPTS:
            try:
                for index, result in self._attempt(function, tasks, left):
                    left.remove(index)
                    attempts = 0
                    yield result
            except BrokenProcessPool:
                attempts += 1
                continue
            return
        raise CurateError(
            f"a worker process died {ATTEMPTS} times with {len(left)} of {len(tasks)} tasks left, most likely for want "
            "of memory: lower --workers; what is finished is kept and the same command continues"
        )

    def _attempt(self, function: Callable[[T], R], tasks: Sequence[T], left: Sequence[int]) -> Iterator[tuple[int, R]]:
        context = multiprocessing.get_context("spawn")  # polars and torch do not survive a fork
        before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, "1"))  # read by the children when they import their libraries
        workers = min(self.workers, len(left) or 1)
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
        try:
            futures = {pool.submit(function, tasks[i]): i for i in left}
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
            for future in as_completed(list(futures)):
                yield futures.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when the job is killed: nobody would take its results, and it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
