"""Draw a planned training set from its pools into Parquet shards, shuffled, with exact counts of rows and tokens.

Example: curate materialize plan.json --pools pools.json --budget 0 --out train/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Restart, Seed, Workers


def main(
    plan: Annotated[Path, typer.Argument(help="plan.json, or schedule.json: then in its order")],
    out: Out,
    pools: Annotated[Path | None, typer.Option(help="pools.json; without it the pools in the file.")] = None,
    budget: Annotated[int | None, typer.Option(help="Which of the plan's budgets, counted from 0.")] = None,
    shard_rows: Annotated[int, typer.Option(help="Rows a shard; a worker holds about three shards.")] = 100_000,
    seed: Seed = 0,
    workers: Workers = 1,
    restart: Restart = False,
    as_json: Json = False,
) -> None:
    """Draw a training set."""
    from curate.engines.local import Local
    from curate.pool import mixture as mixtures
    from curate.pool.pool import load_pools
    from curate.storage import artifacts
    from curate.training_set import draw
    from pipelines.shared.show import progress, result, table

    mixture = mixtures.load(plan, budget, pools=load_pools(pools) if pools else None)
    with progress() as report:
        drawn = draw.draw(
            mixture, out, shard_rows=shard_rows, seed=seed, engine=Local(workers), restart=restart, progress=report
        )
    counts = {
        "planned": mixture.tokens,
        "left_out": list(mixture.left_out),
        "pools": drawn.table().to_dicts(),
        "shards": [dict(zip(("file", "rows", "tokens"), one, strict=True)) for one in drawn.shards],
    }
    arguments = {"plan": plan, "pools": pools, "budget": budget, "shard_rows": shard_rows}
    made_by = artifacts.made_by(arguments, [plan, *([pools] if pools else [])], seed)
    made_by["inputs"] |= drawn.inputs
    artifacts.save(out / "index.json", "training_set", {**counts, "made_by": made_by})
    result(as_json, {**counts, "out": str(out)}, table(drawn.table()))
