"""Run tasks in processes on this machine, each with one numerical thread."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for_futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread

from curate import processes
from curate.engines import R, T
from curate.errors import CurateError

# A pool of workers that died is rebuilt this often without finishing a task. After that we blame the tasks: a worker
# that dies once may be bad luck, three in a row are not.
ATTEMPTS = 3
# Tasks in the pool for each worker: one that runs and one that waits, so that no worker is idle. Few, because those in
# the pool may still run when nobody reads results any more.
AHEAD = 2
# What the program of a trainer has to end by itself, when the tasks are stopped.
PROGRAM_SECONDS = 0.5
# Every library has a variable of its own for its number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Local:
    """``workers`` processes on this machine; 1 means this process.

    A worker that dies is replaced, and its task is run again. When nobody reads the results to their end, because of an
    error or Ctrl-C, the workers are killed: tasks write files whole or not at all.

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
        context = _Workers()
        pool = ProcessPoolExecutor(min(self.workers, len(remaining) or 1), mp_context=context, initializer=_begin)
        waiting = deque(remaining)
        flying: dict[Future[R], int] = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < AHEAD * self.workers:
                    index = waiting.popleft()
                    with _for_workers():
                        flying[pool.submit(function, tasks[index])] = index
                for future in wait_for_futures(flying, return_when=FIRST_COMPLETED).done:
                    yield flying.pop(future), future.result()
        finally:
            if flying:
                # Waiting for the tasks that run could take hours. Afterwards no worker writes a file any more.
                processes.end(context.pids(), seconds=PROGRAM_SECONDS)
            pool.shutdown(wait=not flying, cancel_futures=True)


class _Workers(SpawnContext):
    """Starts workers as fresh processes, since polars and torch do not survive a fork, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: object, **kwargs: object) -> SpawnProcess:  # type: ignore[override]
        process = SpawnProcess(*args, **kwargs)  # type: ignore[arg-type]
        self.started.append(process)
        return process

    def pids(self) -> list[int]:
        return [process.pid for process in self.started if process.pid is not None and process.is_alive()]


@contextmanager
def _for_workers() -> Iterator[None]:
    """Set what processes inherit that are started in the block: one numerical thread, and no Ctrl-C."""
    # Otherwise the helper would start inside the block, and let Ctrl-C through again.
    resource_tracker.ensure_running()
    before = {name: os.environ.get(name) for name in THREADS}
    # The children read these variables when they import their libraries.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    # A terminal sends Ctrl-C to all processes of a job. The job itself ends its workers, so they must not act on it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _begin() -> None:
    """Prepare a worker: it leaves Ctrl-C to the job, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End this worker, and the programs that it runs, when the job is killed."""
    # Otherwise it would wait for ever to hand over its results.
    wait([sentinel])
    processes.end(processes.descendants(os.getpid()), seconds=PROGRAM_SECONDS)
    os._exit(1)
