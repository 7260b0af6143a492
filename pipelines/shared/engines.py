"""The engine that a command line names: `--engine`, `--workers` and `--address`."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from curate.engines import Engine


def engine_of(name: str, workers: int | None, address: str) -> "Engine":
    """Return the engine for the values of the three options; without ``workers`` it chooses their number."""
    from curate.engines.local import Local
    from curate.engines.ray import Ray

    if address and name != "ray":
        raise typer.BadParameter("only --engine ray has one", param_hint="--address")
    return Ray(workers or 0, address) if name == "ray" else Local(workers or 0)
