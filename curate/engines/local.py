"""Run tasks in processes on this machine, each with one numerical thread."""

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

# A pool of workers that died is rebuilt this often without finishing a task. After that we blame the tasks: a worker
# that dies once may be bad luck, three in a row are not.
ATTEMPTS = 3
# Every library has a variable of its own for its number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Local:
    """``workers`` processes on this machine; 1 means this process.

    A worker that dies is replaced, and its task is run again.

    Options:
        workers: processes that run tasks at a time (default 1).
    """

    workers: int = 1

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        Raises:
            CurateError: if workers died three times without finishing a task.
        """
        if self.workers <= 1:
            yield from map(function, tasks)
            return
        remaining = list(range(len(tasks)))
        attempts = 0
        while attempts < ATTEMPTS:
            try:
                for index, result in self._attempt(function, tasks, remaining):
                    remaining.remove(index)
                    attempts = 0
                    yield result
            except BrokenProcessPool:
                attempts += 1
                continue
            return
        raise CurateError(
            f"a worker process died {ATTEMPTS} times with {len(remaining)} of {len(tasks)} tasks left, most likely for "
            "lack of memory. Lower --workers; finished tasks are kept, and the same command continues"
        )

    def _attempt(
        self, function: Callable[[T], R], tasks: Sequence[T], remaining: Sequence[int]
    ) -> Iterator[tuple[int, R]]:
        context = multiprocessing.get_context("spawn")  # polars and torch do not survive a fork
        # The children read these variables when they import their libraries.
        before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, "1"))
        workers = min(self.workers, len(remaining) or 1)
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
        try:
            futures = {pool.submit(function, tasks[i]): i for i in remaining}
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
            for future in as_completed(list(futures)):
                yield futures.pop(future), future.result()
        finally:
            # Tasks that have not begun are dropped; those that run are waited for, so that no file is written later.
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when the job is killed. Otherwise it would wait for ever to hand over its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
