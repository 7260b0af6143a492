"""Connect to a Ray cluster, or start one on this machine, and count the tasks that it can run at a time."""

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

from curate.engines._worker_processes import THREADS
from curate.errors import CurateError
from curate.shown import shortened
from curate.storage.scratch import scratch_folder

# Ray must send no usage statistics, and must not write to stdout, which belongs to the job.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}
# The path of a socket has at most 107 bytes, and Ray adds up to 64: /session_TIME_PID/sockets/plasma_store.
LONGEST_FOLDER = 43
# Each task runs on one core: its libraries are told to use one thread.
CORES = 1
WORKER_VARIABLES = dict.fromkeys(THREADS, "1")


@contextmanager
def connected(address: str, workers: int, runtime_env: Mapping[str, object] | None = None) -> Iterator[ModuleType]:
    """Yield the module ray, connected to a cluster.

    A connection that exists is used as it is. Otherwise ``address``, then RAY_ADDRESS, name the cluster; without them,
    one is started on this machine, and ends with the block. ``runtime_env`` is what Ray installs on the nodes for the
    job: packages, files and variables.
    """
    before = dict(os.environ)
    os.environ.update({k: v for k, v in QUIET.items() if k not in before})
    with ExitStack() as stack:
        try:
            ray = import_module("ray")
            if not ray.is_initialized():
                where = address or before.get("RAY_ADDRESS") or "local"
                options = _local_options(workers, stack) if where == "local" else {}
                options["runtime_env"] = with_worker_variables(runtime_env or {})
                try:
                    with _own_handlers():
                        ray.init(where, log_to_driver=False, logging_level="ERROR", **options)
                except Exception as error:
                    # Ray raises a bare Exception when a machine is too slow to start it in time.
                    raise CurateError(unconnected(where, str(error))) from error
                stack.callback(ray.shutdown)
        finally:
            for name in QUIET.keys() - before.keys():
                os.environ.pop(name, None)
        yield ray


def with_worker_variables(runtime_env: Mapping[str, object]) -> dict[str, object]:
    """Return a runtime environment whose variables are also those that our tasks run with.

    Ray starts workers as soon as a job is connected. If their variables differed from those of the tasks, it would
    start other workers for the tasks.
    """
    variables = runtime_env.get("env_vars") or {}
    return {**runtime_env, "env_vars": {**cast(Mapping[str, str], variables), **WORKER_VARIABLES}}


def unconnected(where: str, reason: str) -> str:
    """Return the message for a cluster that cannot be reached, or not be started on this machine."""
    reason = shortened(" ".join(reason.split()), 300)
    if where == "local":
        advice = "Run it again when the machine is less busy, or with --engine local"
        return f"Ray did not start on this machine: {reason} {advice}"
    return f"no Ray cluster answers at {where}: {reason} Check --address, or leave it out"


def slots(ray: ModuleType, gpus: float) -> int:
    """Return how many tasks the nodes can run at a time. Each task needs one core and ``gpus`` GPUs."""
    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            fitting = int(resources.get("CPU", 0)) // CORES
            # Shares such as 0.1 are not exact in binary: without rounding, 3 GPUs would have 29 slots.
            total += min(fitting, int(round(resources.get("GPU", 0) / gpus, 6))) if gpus else fitting
    return total


def parsed_environment(text: str) -> dict[str, object]:
    """Read a runtime environment of Ray: JSON, or the path of a file that holds it.

    Raises:
        CurateError: if it is not a JSON object.
    """
    if not text:
        return {}
    example = """'{"pip": ["curate-planner==0.1.0"]}'"""
    try:
        value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except OSError as error:
        raise CurateError(f"--runtime-env {text}: {error.strerror}. Give a file of JSON, or JSON: {example}") from None
    except ValueError as error:
        raise CurateError(f"--runtime-env {shortened(text, 80)} is not JSON ({error}). Example: {example}") from None
    if not isinstance(value, dict):
        raise CurateError(f"--runtime-env {shortened(text, 80)} is not a JSON object. Example: {example}")
    return value


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces by one that raises SystemExit in the middle of the job."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _local_options(workers: int, stack: ExitStack) -> dict[str, object]:
    """Return the options of a cluster on this machine. Its logs and sockets are scratch, removed with ``stack``."""
    options: dict[str, object] = {"num_cpus": workers or None, "include_dashboard": False}
    folder = stack.enter_context(scratch_folder())
    if len(str(folder)) > LONGEST_FOLDER:
        folder = stack.enter_context(scratch_folder("/tmp"))
    return options | {"_temp_dir": str(folder)}
