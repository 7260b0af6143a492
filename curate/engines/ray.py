"""Ray Core tasks, on this machine or on a cluster; the extra ``[ray]``."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from curate import __version__
from curate.engines import R, T
from curate.engines.local import ATTEMPTS, THREADS
from curate.errors import CurateError

QUIET = {  # nothing is sent anywhere, and stdout is the job's own
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}


@dataclass(frozen=True)
class Ray:
    """``workers`` tasks in flight, a core each; 0: as many as the cluster has cores. No ``address``: the cluster that
    RAY_ADDRESS names, else one on this machine for the length of the job.

    Every node needs this version of curate and must reach the inputs and outputs under the same names.
    """

    workers: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        """Check that Ray is there."""
        if find_spec("ray") is None:
            raise CurateError("the ray engine needs Ray, which is not installed: pip install 'curate[ray]'")

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        ``function`` goes into the object store once, with all it holds (scorers that learned, by
        ``functools.partial``), and the workers of a node share that copy.
        """
        if not tasks:
            return
        with connected(self.address, self.workers) as ray:
            most = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            yield from _flow(ray, function, tasks, most)


def _flow(ray: ModuleType, function: Callable[[T], R], tasks: Sequence[T], most: int) -> Iterator[R]:
    """Keep ``most`` tasks in flight, start again what lost its worker or node, and leave nothing running."""
    threads = {"env_vars": dict.fromkeys(THREADS, "1")}
    remote = ray.remote(_call).options(num_cpus=1, max_retries=0, runtime_env=threads)
    shared, here = ray.put(function), os.getcwd()
    waiting, lost = deque(range(len(tasks))), dict.fromkeys(range(len(tasks)), 0)
    flying: dict[object, int] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < most:
                index = waiting.popleft()
                flying[remote.remote(shared, tasks[index], here, __version__)] = index
            (done, *_), _ = ray.wait(list(flying), num_returns=1)
            index = flying.pop(done)
            try:
                result: R = ray.get(done)
            except ray.exceptions.RayTaskError as error:  # the task's own error, which Ray wraps in a traceback
                raise _own(error.cause) from None
            except ray.exceptions.RayError as error:
                lost[index] += 1
                if lost[index] == ATTEMPTS:
                    raise _blame(error, len(waiting) + len(flying) + 1, len(tasks)) from None
                waiting.append(index)
                continue
            yield result
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


def _own(cause: Exception) -> Exception:
    """Return the error of a task, or what it means when a node could not even begin it."""
    missing = re.search(r"No module named '([^']+)'", str(cause))
    if missing and not isinstance(cause, CurateError):
        return CurateError(
            f"a Ray node has no module {missing[1]}: install curate {__version__} and its extras on all nodes"
        )
    return cause


def _unconnected(where: str, reason: str) -> str:
    if where == "local":
        return f"Ray did not start on this machine: {reason} Run it again, with less beside it, or with --engine local"
    return f"no Ray cluster answers at {where}: {reason} Check --address, or leave it out"


def _blame(error: Exception, left: int, total: int) -> CurateError:
    memory = "for want of memory" if type(error).__name__ == "OutOfMemoryError" else "most likely for want of memory"
    return CurateError(
        f"a worker process died {ATTEMPTS} times on one task ({type(error).__name__}) with {left} of {total} tasks "
        f"left, {memory}: lower --workers or take larger nodes; what is finished is kept and the same command continues"
    )


def _call(function: Callable[[T], R], task: T, folder: str, version: str) -> R:
    """Run one task as if in the folder of the command, so that relative paths mean what they meant there."""
    if version != __version__:
        raise CurateError(f"a Ray node has curate {__version__}, this command is {version}: install the same on all")
    with chdir(folder) if Path(folder).is_dir() else nullcontext():
        return function(task)


@contextmanager
def connected(address: str, workers: int) -> Iterator[ModuleType]:
    """Yield ray, connected: as it is, to the cluster at ``address``, or to one of our own that ends with the block."""
    before = dict(os.environ)
    os.environ.update({k: v for k, v in QUIET.items() if k not in before})
    try:
        ray = import_module("ray")
        ours = not ray.is_initialized()
        if ours:
            where = address or before.get("RAY_ADDRESS") or "local"
            local = {"num_cpus": workers or None, "include_dashboard": False} if where == "local" else {}
            try:
                ray.init(where, log_to_driver=False, logging_level="ERROR", **local)
            except Exception as error:  # Ray raises bare ones when a machine is too slow to start it in time
                raise CurateError(_unconnected(where, " ".join(str(error).split())[:300])) from error
    finally:
        for name in QUIET.keys() - before.keys():
            os.environ.pop(name, None)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()
