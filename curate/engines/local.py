"""Run tasks in processes on this machine, each with one numerical thread."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import cast

from curate.engines import ATTEMPTS, R, T, WorkerDied, _main_script, _shared_function
from curate.engines._shared_function import SharedFunction
from curate.engines._worker_processes import WorkerProcesses
from curate.processes import usable_cores
from curate.storage.scratch import scratch_folder

# Tasks in the queue for each worker: one that runs and one that waits, so that no worker is idle. Few, because those in
# the queue may still run when nobody reads results any more.
AHEAD = 2


# If the number of workers is left to us, the first tasks of a job run in this process for so many seconds. Starting a
# worker takes about a second of CPU, for its imports, so a job that ends sooner gains nothing from workers.
SECONDS_ALONE = 1.0
# The most workers that start before tasks are known. Most jobs have at least so many tasks: `corpus_parts.BUNDLES`.
STARTED_EARLY = 16


@dataclass(frozen=True)
class Local:
    """``workers`` processes on this machine; 1 means this process, and 0 as many as useful.

    "As many as useful" is the number of cores that this process may use, and no worker for a single task or a job that
    ends within about a second. With 2 or more, no task runs in this process, so that a task that ends its process does
    not end the job. The results are the same for every number.

    A worker that dies is replaced, and its task is run again. When nobody reads the results to their end, because of an
    error or Ctrl-C, the workers are killed: tasks write files whole or not at all.

    Options:
        workers: processes that run tasks at a time; 0 is as many as useful (default 1).
    """

    workers: int = 1

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish. The workers end with the last task.

        Raises:
            WorkerDied: if a task ended its worker three times.
        """
        with self.session() as session:
            yield from session.run(function, tasks)

    @contextmanager
    def session(
        self, *, long: bool = False, folders: Sequence[Path] = (), imports: Sequence[str] = ()
    ) -> Iterator["LocalSession"]:
        """Yield an engine whose workers live until the block ends.

        A worker starts when a task needs it. If ``imports`` names modules, workers start at once instead, provided that
        they will certainly be used: the caller set a number of workers of at least 2, or the job is ``long``.
        """
        if self.workers:
            session = LocalSession(self.workers)
        else:
            session = LocalSession(usable_cores(), 0.0 if long else SECONDS_ALONE, workers_only=False)
        try:
            session.begin(imports)
            yield session
        finally:
            session.end()


class LocalSession:
    """Worker processes that live over many runs."""

    def __init__(self, workers: int, seconds_alone: float = 0.0, *, workers_only: bool = True) -> None:
        """Start nothing yet.

        Tasks run in this process if ``workers`` is 1. Without ``workers_only``, they also run in this process until
        ``seconds_alone`` have passed. So does a single task, as long as no worker was started.
        """
        self.workers = workers
        self._workers_only = workers_only
        self._seconds_alone = seconds_alone
        self._scratch = ExitStack()
        self._folder: Path | None = None  # for the files that workers read
        self._names = count()
        self._open_runs = 0
        self._processes: WorkerProcesses | None = None

    @contextmanager
    def session(
        self, *, long: bool = False, folders: Sequence[Path] = (), imports: Sequence[str] = ()
    ) -> Iterator["LocalSession"]:
        """Yield this engine: a session within a session has the same workers."""
        if long:
            self._seconds_alone = 0.0
        self.begin(imports)
        yield self

    def begin(self, imports: Sequence[str]) -> None:
        """Start workers that import modules, if it is certain that workers will be used."""
        certain = self.workers > 1 and (self._workers_only or self._seconds_alone <= 0)
        if imports and certain and self._processes is None:
            self._processes = WorkerProcesses(self.workers)
            self._processes.begin(min(self.workers, usable_cores(), STARTED_EARLY), imports)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish. The workers wait for the next run.

        Raises:
            WorkerDied: if a task ended its worker three times.
        """
        finished = 0
        while finished < len(tasks) and self._is_alone(len(tasks) - finished):
            started = time.monotonic()
            result = function(tasks[finished])
            self._seconds_alone -= time.monotonic() - started
            finished += 1
            yield result
        if finished < len(tasks):
            yield from self._run_in_workers(function, tasks[finished:])

    def _is_alone(self, remaining: int) -> bool:
        """Return whether this process runs the next task itself."""
        few = self._processes is None and (remaining == 1 or self._seconds_alone > 0)
        return self.workers <= 1 or (few and not self._workers_only)

    def _run_in_workers(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        self._folder = self._folder or self._scratch.enter_context(scratch_folder())
        path = self._folder / f"function-{next(self._names)}"
        self._open_runs += 1
        try:
            shared = _shared_function.write(function, path)
            script = _main_script.uses_script(function, tasks[0])
            yield from cast(Iterator[R], _Flow(self, shared, tasks, script=script).results())
        finally:
            self._open_runs -= 1
            path.unlink(missing_ok=True)

    def processes(self, *, script: bool) -> WorkerProcesses:
        """Return the workers of this session. With ``script`` they can run what the user's script defines."""
        if self._processes is not None and script and not self._processes.script:
            self._processes.end()
            self._processes = None
        self._processes = self._processes or WorkerProcesses(self.workers, script=script)
        return self._processes

    def kill(self) -> None:
        """End the workers at once. The next task starts others."""
        if self._processes is not None:
            self._processes.kill()
        self._processes = None

    def lose(self) -> None:
        """End the workers because one of them died.

        Raises:
            CurateError: if it died because the user's script starts workers wherever it is run.
        """
        if self._processes is not None and self._processes.unguarded():
            raise _main_script.unguarded()
        # The task that ended its worker would end the job if it ran here.
        self._workers_only = True
        self.kill()

    def end(self) -> None:
        """End the workers: at once if they had no task, or if the results of a run have not been read to their end."""
        if self._open_runs or (self._processes is not None and not self._processes.used):
            self.kill()
        if self._processes is not None:
            self._processes.end()
        self._processes = None
        self._scratch.close()


class _Flow:
    """One run: the tasks that wait, those that workers have, and how often each was with a worker that died."""

    def __init__(
        self, session: LocalSession, function: SharedFunction, tasks: Sequence[object], *, script: bool
    ) -> None:
        self.session = session
        self.function = function
        self.tasks = tasks
        self.waiting = deque(range(len(tasks)))
        self.flying: dict[Future[object], int] = {}
        self.finished = SimpleQueue[Future[object]]()
        self.losses = Counter[int]()
        self.script = script

    def results(self) -> Iterator[object]:
        try:
            while self.waiting or self.flying:
                self._submit()
                if not self.flying:
                    continue
                future = self.finished.get()
                if isinstance(future.exception(), BrokenProcessPool):
                    self._again()
                else:
                    del self.flying[future]
                    yield future.result()
        finally:
            if self.flying:
                # Waiting for the tasks that run could take hours.
                self.session.kill()

    def _submit(self) -> None:
        """Hand tasks to workers until these have enough."""
        while self.waiting and len(self.flying) < self._limit():
            index = self.waiting.popleft()
            try:
                workers = self.session.processes(script=self.script)
                future = workers.submit(_shared_function.call, self.function, self.tasks[index])
            except BrokenProcessPool:
                # A worker died since the last task was submitted. This task has not run, so it is not to blame.
                self.waiting.appendleft(index)
                if not self.flying:
                    self.session.lose()
                return
            self.flying[future] = index
            future.add_done_callback(self.finished.put)

    def _limit(self) -> int:
        """Return how many tasks workers may have. A suspected task runs alone, which shows whether it is to blame."""
        suspected = self.losses[self.waiting[0]] == ATTEMPTS - 1 or any(
            self.losses[index] == ATTEMPTS - 1 for index in self.flying.values()
        )
        return 1 if suspected else AHEAD * self.session.workers

    def _again(self) -> None:
        """Queue tasks again whose workers died, and raise an error if one of them is to blame."""
        # When one worker dies, all end, and with them all tasks that were with them.
        lost = sorted(self.flying.values())
        self.flying, self.finished = {}, SimpleQueue()
        self.session.lose()
        self.losses.update(lost)
        for index in lost:
            if self.losses[index] == ATTEMPTS:
                raise WorkerDied(
                    self.tasks[index],
                    len(self.waiting) + len(lost),
                    len(self.tasks),
                    reason="most likely for lack of memory",
                    advice="Lower --workers",
                )
        self.waiting.extendleft(reversed(lost))
