"""Design small training runs over the pools, train them (resumable run by run), write the run table.

Example: curate pilot pools.json --target prose=heldout/ --runs 32 --params 1e5 --tokens 4e5 --out runs.parquet
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Restart, Seed, Workers


def main(
    pools: Annotated[Path, typer.Argument(help="pools.json")],
    out: Out,
    runs: Annotated[int, typer.Option(min=1, help="How many trainings.")] = 32,
    params: Annotated[float, typer.Option(help="Model parameters.")] = 1e6,
    tokens: Annotated[
        float, typer.Option(help="Tokens of the longest runs; others are 2, 4 and 8 times shorter.")
    ] = 1e7,
    design: Annotated[str, typer.Option(help="dirichlet, simplex or optimal.")] = "dirichlet",
    trainer: Annotated[str, typer.Option(help="tiny, linear or command:PROGRAM; options as tiny:rate=0.004.")] = "tiny",
    target: Annotated[list[str], typer.Option(help="NAME=DATA: held-out data to measure loss on; repeat.")] = [],  # noqa: B006
    workers: Workers = 1,
    seed: Seed = 0,
    restart: Restart = False,
    as_json: Json = False,
) -> None:
    """Run pilots."""
    from dataclasses import replace

    from curate.engines.local import Local
    from curate.pool.pool import Budget, Pool, load_pools
    from curate.runs import pilots
    from curate.tables import batches
    from pipelines.shared.show import progress, result
    from pipelines.shared.trainers import load

    goals = {}
    for item in target:
        name, equals, path = item.partition("=")
        if not equals:
            raise typer.BadParameter(f"{item!r} is not NAME=DATA", param_hint="--target")
        goals[name] = Pool(name, 1, 1, (path,))
    known = load_pools(pools)
    model, unique, data = load(trainer, known, goals)
    on_hand = [replace(pool, tokens=unique[pool.name]) for pool in known]
    planned = pilots.design(on_hand, runs, Budget(tokens, params), kind=design, seed=seed)
    with progress() as report:
        table = pilots.run(
            planned, model, out.with_suffix(".runs"), data=data, engine=Local(workers), restart=restart, progress=report
        )
    batches.save(out, table)
    result(as_json, {"runs": table.height, "out": str(out)}, f"{table.height} runs in {out}")
