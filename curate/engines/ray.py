"""Run tasks with Ray, on this machine or on a cluster. Needs the extra ``[ray]``."""

import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import cast

from curate import __version__, extras, open_sets
from curate.engines import ATTEMPTS, R, T, WorkerDied, _ray_cluster, _ray_task
from curate.engines._ray_cluster import CORES, WORKER_VARIABLES, connected, parsed_environment
from curate.errors import CurateError
from curate.storage import s3

# Seconds between two counts of the nodes, of which some may have joined or left.
LOOK_SECONDS = 5.0
# Seconds that a cluster without any node for tasks has to start one. Clusters on spot machines may lose all nodes.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Ray:
    """A Ray cluster that runs ``workers`` tasks at a time, each on one core.

    0 workers means as many as the cluster has cores. Without an ``address``, RAY_ADDRESS names the cluster; without
    that too, a cluster is started on this machine for the length of the job. Every node needs this version of curate,
    and must reach inputs and outputs under the same names.

    Options:
        workers: tasks at a time; 0 is as many as fit on the cluster (default 0).
        address: the cluster; if empty, RAY_ADDRESS or a cluster on this machine (default empty).
        runtime_env: what Ray installs on the nodes for the job, as JSON or a file of JSON (default empty).
        gpus_per_worker: GPUs of a task, such as 1 or 0.25; a model stays loaded between tasks (default 0).
    """

    workers: int = 0
    address: str = ""
    runtime_env: str = ""
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        """Raise CurateError if Ray is not installed, or ``runtime_env`` is not JSON."""
        # Ray reads its variables when it is imported, which is later, so here it is only looked for.
        extras.require("the ray engine", "ray", "ray", load=False)
        parsed_environment(self.runtime_env)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish. See `RaySession.run`."""
        if not tasks:
            return
        with self.session() as session:
            yield from session.run(function, tasks)

    @contextmanager
    def session(
        self, *, long: bool = False, folders: Sequence[Path] = (), imports: Sequence[str] = ()
    ) -> Iterator["RaySession"]:
        """Yield an engine that is connected to the cluster until the block ends. Ray keeps its workers between runs.

        Raises:
            CurateError: if no cluster answers.
        """
        environment = parsed_environment(self.runtime_env)
        with connected(self.address, self.workers, environment) as ray, _marked(folders) as marks:
            yield RaySession(RayNodes(ray, self.gpus_per_worker), self.workers, marks)


@contextmanager
def _marked(folders: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    """Put an empty file into each folder for the length of the block. A node that sees it has this folder."""
    with ExitStack() as stack:
        marks = []
        for folder in folders:
            # Every node that reaches a store sees the same objects.
            if not s3.remote(folder):
                folder.mkdir(parents=True, exist_ok=True)
                mark = tempfile.NamedTemporaryFile(dir=folder.absolute(), prefix=".curate-", suffix=".tmp")
                marks.append(stack.enter_context(mark).name)
        yield tuple(marks)


class RayNodes:
    """The nodes of the cluster that a session is connected to. A task gets one core and so many ``gpus``.

    What is slow to make or to ask for is kept for all runs of the session.
    """

    def __init__(self, ray: ModuleType, gpus: float = 0.0) -> None:
        """Prepare the call of a task on a node. Nothing is sent yet."""
        self.ray, self.gpus = ray, gpus
        # No retries by Ray: we count the attempts, so that a task that kills its workers is named. A worker that used
        # a GPU would end after each call, and load its model again, but for max_calls.
        self.call = ray.remote(
            num_cpus=CORES, num_gpus=gpus, max_retries=0, max_calls=0, runtime_env={"env_vars": WORKER_VARIABLES}
        )(_ray_task.call)
        self._slots = 0
        self._counted: float | None = None

    def slots(self) -> int:
        """Return how many tasks the nodes can run at a time. They are counted again every few seconds."""
        moment = time.monotonic()
        if self._counted is None or moment >= self._counted + LOOK_SECONDS:
            self._counted, self._slots = moment, _ray_cluster.slots(self.ray, self.gpus)
        return self._slots


@dataclass(frozen=True)
class RaySession:
    """A connection to a cluster.

    ``workers`` tasks run at a time, 0 as many as fit on the ``nodes``. ``marks`` are files by which a node sees that it
    has the folders of the job.
    """

    nodes: RayNodes
    workers: int
    marks: tuple[str, ...] = ()

    @contextmanager
    def session(
        self, *, long: bool = False, folders: Sequence[Path] = (), imports: Sequence[str] = ()
    ) -> Iterator["RaySession"]:
        """Yield this engine, which also checks these folders: a session within a session has the same connection."""
        with _marked(folders) as marks:
            yield replace(self, marks=(*self.marks, *marks))

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        The function goes into the object store once, with all that it holds, such as learned scorers. The workers of a
        node share that copy. Results are read as they come, and no more tasks are in flight than run at a time, so
        that the store holds few of them.

        Raises:
            WorkerDied: if a worker died three times on one task.
            CurateError: if no node is left, or a node lacks a module, the version or a folder of this command.
        """
        if tasks:
            yield from cast(Iterator[R], _Flight(self, function, tasks).results())


@dataclass
class _Flight:
    """One run: the tasks that wait, those that nodes have, and how often each lost its worker."""

    session: RaySession
    function: Callable[..., object]
    tasks: Sequence[object]
    waiting: deque[int] = field(init=False)
    flying: dict[object, int] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)
    # When there was a node last. A run begins as if there were one, so that a cluster has time to start nodes.
    nodes_seen: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.tasks)))

    def results(self) -> Iterator[object]:
        """Keep as many tasks in flight as may run at a time, and yield their results. No task is left running."""
        ray, session, call = self.session.nodes.ray, self.session, self.session.nodes.call
        _send_own_files(ray)
        shared, folder = ray.put(self.function), os.getcwd()
        try:
            while self.waiting or self.flying:
                slots = self._slots()
                while self.waiting and len(self.flying) < (session.workers or max(1, slots)):
                    index = self.waiting.popleft()
                    # A task that lost its worker had better go to another node.
                    placed = call.options(scheduling_strategy="SPREAD") if index in self.losses else call
                    reference = placed.remote(shared, self.tasks[index], folder, __version__, session.marks)
                    self.flying[reference] = index
                ready, _ = ray.wait(list(self.flying), num_returns=1, timeout=LOOK_SECONDS)
                for reference in ready:
                    index = self.flying.pop(reference)
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        # The task itself failed. Ray wraps its error in a traceback.
                        raise _ray_task.own_error(error.cause) from None
                    except ray.exceptions.RuntimeEnvSetupError as error:
                        raise _ray_task.failed_environment(error) from None
                    except ray.exceptions.RayError as error:
                        self._lose(index, error)
                    else:
                        yield result
        finally:
            for reference in self.flying:
                ray.cancel(reference, force=True)

    def _slots(self) -> int:
        """Return how many tasks the nodes can run at a time.

        Raises:
            CurateError: if for a while no node could run any.
        """
        nodes, moment = self.session.nodes, time.monotonic()
        if count := nodes.slots():
            self.nodes_seen = moment
        elif moment >= self.nodes_seen + PATIENCE_SECONDS:
            gpus = f" and {nodes.gpus:g} GPU" if nodes.gpus else ""
            raise CurateError(
                f"for {PATIENCE_SECONDS:.0f} seconds no node of the Ray cluster could run a task, which needs {CORES} "
                f"core{gpus}; {self._remaining()} of {len(self.tasks)} tasks remain. Start nodes and run the same "
                "command again: finished tasks are kept"
            )
        return count

    def _lose(self, index: int, error: Exception) -> None:
        """Queue a task again whose worker or node died, and raise an error if that happened too often."""
        self.losses[index] = self.losses.get(index, 0) + 1
        if self.losses[index] == ATTEMPTS:
            cause = type(error).__name__
            memory = "for lack of memory" if cause == "OutOfMemoryError" else "most likely for lack of memory"
            raise WorkerDied(
                self.tasks[index],
                self._remaining() + 1,
                len(self.tasks),
                reason=f"{memory} ({cause})",
                advice="Lower --workers or use larger nodes",
            ) from None
        self.waiting.append(index)

    def _remaining(self) -> int:
        return len(self.waiting) + len(self.flying)


def _send_own_files(ray: ModuleType) -> None:
    """Let Ray send what the user's own files define: nodes cannot import these by the names of their modules."""
    for name, module in list(sys.modules.items()):
        if name.startswith(open_sets.OWN_MODULE):
            ray.cloudpickle.register_pickle_by_value(module)
