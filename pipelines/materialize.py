"""Draw a training set from its pools as a plan says, shuffle it, and write it to Parquet shards.

Rows and tokens of each pool are counted exactly. Pools that were scored are read as they were scored; --columns names
the columns of other pools.

Example: curate materialize plan.json --pools pools.json --budget 0 --out train/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, RuntimeEnv
from pipelines.shared.flags import (
    Columns,
    Join,
    Json,
    OutFolder,
    Partial,
    Render,
    Restart,
    Seed,
    TakeOver,
    TextColumn,
)


def main(
    plan: Annotated[
        Path,
        typer.Argument(
            help="plan.json; schedule.json, whose phases are drawn in order; or pools.json, to draw every row once."
        ),
    ],
    out: OutFolder,
    pools: Annotated[Path | None, typer.Option(help="pools.json. Default: the pools that the plan file holds.")] = None,
    budget: Annotated[
        int | None, typer.Option(help="Which budget of the plan, counted from 0. Needed if there are several.")
    ] = None,
    shard_rows: Annotated[
        int, typer.Option(help="Rows in each shard. A worker holds about three shards in memory.")
    ] = 100_000,
    tag: Annotated[
        str,
        typer.Option(
            help="A column, such as source, whose value is prepended to each text: `source: books` and an empty line. "
            "The tokens of these tags are counted, with the tokenizer of the texts if one counted them."
        ),
    ] = "",
    holdout: Annotated[
        float | None,
        typer.Option(
            help="Share of the tokens to set aside in OUT/holdout, such as 0.01. Copies that the scorer duplicates "
            "found stay together, so that no copy of a held-out text is trained on."
        ),
    ] = None,
    holdout_by: Annotated[
        str, typer.Option(help="Set rows with equal values of this column aside together, such as domain.")
    ] = "",
    columns: Columns = "",
    text_column: TextColumn = "text",
    join: Join = "",
    render: Render = "",
    seed: Seed = 0,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    partial: Partial = False,
    restart: Restart = False,
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Draw a training set."""
    from curate.training_set.job import materialize
    from pipelines.shared import engine_options
    from pipelines.shared.show import notes, progress, result, table, warn

    with progress() as report:
        training_set = materialize(
            plan,
            out,
            pools=pools,
            budget=budget,
            shard_rows=shard_rows,
            seed=seed,
            engine=engine_options.engine(engine, workers, address, runtime_env),
            restart=restart,
            partial=partial,
            take_over=take_over,
            progress=report,
            tag=tag,
            holdout=holdout,
            holdout_by=holdout_by,
            columns=columns,
            text_column=text_column,
            join=join,
            render=render,
        )
    warn(training_set.warnings)
    record = {**training_set.record(), "out": str(out)}
    record |= {"warnings": list(training_set.warnings)} if training_set.warnings else {}
    result(as_json, record, table(training_set.table(), tokens=training_set.tokens_noun))
    notes(training_set.notes)
