"""Run tasks with Ray, on this machine or on a cluster. Needs the extra ``[ray]``."""

import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from curate import __version__, extras
from curate.engines import ATTEMPTS, R, T, WorkerDied
from curate.engines._worker_processes import THREADS
from curate.errors import CurateError
from curate.storage.scratch import scratch_folder

# Ray must send no usage statistics, and must not write to stdout, which belongs to the job.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}
# The path of a socket has at most 107 bytes, and Ray adds up to 64: /session_TIME_PID/sockets/plasma_store.
LONGEST_FOLDER = 43


@dataclass(frozen=True)
class Ray:
    """A Ray cluster that runs ``workers`` tasks at a time, each on one core.

    0 workers means as many as the cluster has cores. Without an ``address``, RAY_ADDRESS names the cluster; without
    that too, a cluster is started on this machine for the length of the job. Every node needs this version of curate,
    and must reach inputs and outputs under the same names.

    Options:
        workers: tasks at a time; 0 is one for each core of the cluster (default 0).
        address: the cluster; if empty, RAY_ADDRESS or a cluster on this machine (default empty).
    """

    workers: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        """Raise CurateError if Ray is not installed."""
        # Ray reads its variables when it is imported, which is later, so here it is only looked for.
        extras.require("the ray engine", "ray", "ray", load=False)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        The function goes into the object store once, with all that it holds, such as learned scorers. The workers of a
        node share that copy.

        Raises:
            CurateError: if no cluster answers.
            WorkerDied: if a worker died three times on one task.
        """
        if not tasks:
            return
        with connected(self.address, self.workers) as ray:
            limit = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            yield from _flow(ray, function, tasks, limit)

    @contextmanager
    def session(self, *, long: bool = False) -> Iterator["Ray"]:
        """Yield this engine, connected to its cluster until the block ends. Ray keeps its workers between runs."""
        with connected(self.address, self.workers):
            yield self


def _flow(ray: ModuleType, function: Callable[[T], R], tasks: Sequence[T], limit: int) -> Iterator[R]:
    """Keep ``limit`` tasks in flight, and yield their results. No task is left running.

    A task that lost its worker or node is started again.
    """
    threads = {"env_vars": dict.fromkeys(THREADS, "1")}
    # No retries by Ray: we count the attempts, so that a task that kills its workers is named.
    remote = ray.remote(_call).options(num_cpus=1, max_retries=0, runtime_env=threads)
    shared, folder = ray.put(function), os.getcwd()
    waiting, lost = deque(range(len(tasks))), dict.fromkeys(range(len(tasks)), 0)
    flying: dict[object, int] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < limit:
                index = waiting.popleft()
                flying[remote.remote(shared, tasks[index], folder, __version__)] = index
            (done, *_), _ = ray.wait(list(flying), num_returns=1)
            index = flying.pop(done)
            try:
                result: R = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                # The task itself failed. Ray wraps its error in a traceback.
                raise _own(error.cause) from None
            except ray.exceptions.RayError as error:
                lost[index] += 1
                if lost[index] == ATTEMPTS:
                    raise _blame(error, tasks[index], len(waiting) + len(flying) + 1, len(tasks)) from None
                waiting.append(index)
                continue
            yield result
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


def _own(cause: Exception) -> Exception:
    """Return the error of a task, in words of ours if a node lacks a module and could not begin it."""
    missing = re.search(r"No module named '([^']+)'", str(cause))
    if missing and not isinstance(cause, CurateError):
        return CurateError(
            f"a Ray node has no module {missing[1]}. Install curate {__version__} and its extras on all nodes"
        )
    return cause


def _unconnected(where: str, reason: str) -> str:
    """Return the message for a cluster that cannot be reached, or not be started on this machine."""
    if where == "local":
        advice = "Run it again when the machine is less busy, or with --engine local"
        return f"Ray did not start on this machine: {reason} {advice}"
    return f"no Ray cluster answers at {where}: {reason} Check --address, or leave it out"


def _blame(error: Exception, task: object, remaining: int, total: int) -> WorkerDied:
    """Return the error for a task that lost its worker too often."""
    cause = type(error).__name__
    memory = "for lack of memory" if cause == "OutOfMemoryError" else "most likely for lack of memory"
    return WorkerDied(
        task, remaining, total, reason=f"{memory} ({cause})", advice="Lower --workers or use larger nodes"
    )


def _call(function: Callable[[T], R], task: T, folder: str, version: str) -> R:
    """Run one task in the folder of the command, so that relative paths mean the same on every node."""
    # Tasks and results are objects of our classes, so both sides must run the same code during a job. (A job that is
    # continued later may have another version: see `curate.storage.job_record`.)
    if version != __version__:
        raise CurateError(
            f"a Ray node has curate {__version__}, this command is {version}. Install the same on all nodes"
        )
    with chdir(folder) if Path(folder).is_dir() else nullcontext():
        return function(task)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces by one that raises SystemExit in the middle of the job."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def connected(address: str, workers: int) -> Iterator[ModuleType]:
    """Yield the module ray, connected to a cluster.

    A connection that exists is used as it is. Otherwise ``address``, then RAY_ADDRESS, name the cluster; without them,
    one is started on this machine, and ends with the block.
    """
    before = dict(os.environ)
    os.environ.update({k: v for k, v in QUIET.items() if k not in before})
    with ExitStack() as stack:
        try:
            ray = import_module("ray")
            ours = not ray.is_initialized()
            if ours:
                where = address or before.get("RAY_ADDRESS") or "local"
                local = _local_options(workers, stack) if where == "local" else {}
                try:
                    with _own_handlers():
                        ray.init(where, log_to_driver=False, logging_level="ERROR", **local)
                except Exception as error:
                    # Ray raises a bare Exception when a machine is too slow to start it in time.
                    raise CurateError(_unconnected(where, " ".join(str(error).split())[:300])) from error
                stack.callback(ray.shutdown)
        finally:
            for name in QUIET.keys() - before.keys():
                os.environ.pop(name, None)
        yield ray


def _local_options(workers: int, stack: ExitStack) -> dict[str, object]:
    """Return the options of a cluster on this machine. Its logs and sockets are scratch, removed with ``stack``."""
    options: dict[str, object] = {"num_cpus": workers or None, "include_dashboard": False}
    folder = stack.enter_context(scratch_folder())
    if len(str(folder)) > LONGEST_FOLDER:
        folder = stack.enter_context(scratch_folder("/tmp"))
    return options | {"_temp_dir": str(folder)}
