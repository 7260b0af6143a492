"""Run worker processes on this machine. Each has one numerical thread, and ends when its job ends or is killed."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread

from curate import processes
from curate.engines import _main_script

# Seconds that the program of a trainer has to end by itself when its task is stopped.
PROGRAM_SECONDS = 0.5
# Every library has a variable of its own for its number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class WorkerProcesses:
    """Up to ``count`` processes that run tasks. A process is started when a task finds no idle one.

    With ``script``, they first run the user's script, because tasks are defined there.
    """

    def __init__(self, count: int, *, script: bool = False) -> None:
        _main_script.check_not_running_again()
        if script:
            _main_script.check_runnable()
        self._count = count
        self.script = script
        self.used = False  # whether a task was submitted
        self._context = _SpawnedWorkers()
        # Before the semaphores of the next line, which would start it in their own way.
        _start_helper()
        self._executor = ProcessPoolExecutor(count, mp_context=self._context, initializer=_begin)

    def begin(self, count: int, imports: Sequence[str]) -> None:
        """Start ``count`` processes now, each of which imports modules. Their tasks come later."""
        for _ in range(count):
            # A process starts for each call. If one takes two of them, the other imports when its first task comes.
            self._submit(_import, tuple(imports))

    def submit(self, function: Callable[..., object], *arguments: object) -> Future[object]:
        """Queue one call.

        Raises:
            BrokenProcessPool: if a process died. Then all have ended, and no call will succeed any more.
        """
        self.used = True
        return self._submit(function, *arguments)

    def _submit(self, function: Callable[..., object], *arguments: object) -> Future[object]:
        with ExitStack() as stack:
            # Only a call that starts a process needs the settings.
            if len(self._context.started) < self._count:
                stack.enter_context(_inherited_settings())
                if not self.script:
                    stack.enter_context(_main_script.hidden())
            return self._executor.submit(function, *arguments)

    def end(self) -> None:
        """End the processes once they have finished what was submitted."""
        self._executor.shutdown(wait=True)

    def kill(self) -> None:
        """End the processes at once, with the programs that they run. Afterwards none of them writes a file."""
        processes.end(self._context.pids(), seconds=PROGRAM_SECONDS)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def unguarded(self) -> bool:
        """Return whether a process ended because it would have started processes while it ran the script."""
        return self.script and any(process.exitcode == _main_script.UNGUARDED for process in self._context.started)


class _SpawnedWorkers(SpawnContext):
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
def _inherited_settings() -> Iterator[None]:
    """Let processes that are started in the block have one numerical thread, and ignore Ctrl-C."""
    # Otherwise the helper of `multiprocessing` would start inside the block, and unblock Ctrl-C in the middle of it.
    _start_helper()
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


def _start_helper() -> None:
    """Start the helper of `multiprocessing`, which removes semaphores when the job has ended.

    By itself it ignores Ctrl-C and SIGTERM. A terminal that closes sends SIGHUP to it too. A job that then ends would
    start another helper, which knows no semaphore and prints a traceback for each.
    """
    hang_up = {signal.SIGHUP} if hasattr(signal, "SIGHUP") else set()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, hang_up)
    try:
        # It inherits the mask.
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _import(modules: Sequence[str]) -> None:
    """Import the modules that the tasks of a worker need."""
    for name in modules:
        import_module(name)


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
