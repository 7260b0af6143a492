"""The options that say where the tasks of a job run, and the engine that they name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

from curate.engines import Engine

EngineName = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Where to run: processes on this machine, or Ray.")
]
EngineWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        show_default=False,
        help="Number of processes; 1 starts no other process. Default: one for each core that the job may use, or with "
        "Ray one for each core of the cluster. Without Ray, a job of about a second starts no other process.",
    ),
]
Address = Annotated[
    str,
    typer.Option(help="Address of the Ray cluster. Default: RAY_ADDRESS, or else a new cluster on this machine."),
]
RuntimeEnv = Annotated[
    str,
    typer.Option(
        "--runtime-env",
        metavar="FILE|JSON",
        help='What Ray installs on its nodes for this job, such as \'{"pip": ["curate-planner==0.1.0"]}\'. Every node '
        "needs the version of curate that runs this command.",
    ),
]
GpusPerWorker = Annotated[
    float,
    typer.Option(
        "--gpus-per-worker",
        min=0,
        help="GPUs of each Ray worker, such as 1, or 0.25 for four workers on one. A worker keeps its models loaded.",
    ),
]


def engine(name: str, workers: int | None, address: str, runtime_env: str, gpus_per_worker: float = 0) -> Engine:
    """Return the engine that the options of a command name.

    Raises:
        typer.BadParameter: if an option of Ray is set for another engine.
        CurateError: if Ray is not installed, or the runtime environment is not JSON.
    """
    from curate.engines.local import Local
    from curate.engines.ray import Ray

    if name == "ray":
        return Ray(workers or 0, address, runtime_env, gpus_per_worker)
    options = {"--address": address, "--runtime-env": runtime_env, "--gpus-per-worker": gpus_per_worker}
    for option, value in options.items():
        if value:
            raise typer.BadParameter("only --engine ray has this option", param_hint=option)
    return Local(workers or 0)


@contextmanager
def started(engine: Engine, *imports: str) -> Iterator[Engine]:
    """Yield an engine whose worker processes start now, if the user gave their number, and import modules.

    This process imports its own modules meanwhile. An engine of another kind is yielded as it is.
    """
    from curate.engines.local import Local

    if not isinstance(engine, Local) or engine.workers < 2:
        yield engine
        return
    with engine.session(imports=imports) as session:
        yield session
