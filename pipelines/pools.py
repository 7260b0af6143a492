"""Turn scored rows into pools.json: one pool for each source, large sources split by score.

Example: curate pools scores/ --kept kept/ --by score.prototypes --bins 3 --min-tokens 1e6 --out pools.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, RuntimeEnv
from pipelines.shared.flags import Json, Out, Partial, count


def main(
    scores: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    out: Out,
    by: Annotated[
        str, typer.Option(help="source, or a score column such as score.NAME at whose quantiles each source is split.")
    ] = "source",
    bins: Annotated[int, typer.Option(min=1, help="With --by score.NAME: largest number of bins for each source.")] = 5,
    min_tokens: Annotated[
        float,
        typer.Option(
            parser=count,
            metavar="NUMBER",
            help="With --by score.NAME: smallest number of tokens in a bin, about. A small source gets fewer bins.",
        ),
    ] = 0,
    kept: Annotated[
        Path | None, typer.Option(help="A folder made by `curate prune`. Rows that it dropped are not counted.")
    ] = None,
    partial: Partial = False,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    as_json: Json = False,
) -> None:
    """Make pools."""
    from curate.pruning.make_pools import pools as make_pools
    from pipelines.shared import engine_options
    from pipelines.shared.show import notes, progress, result, table, warn

    with progress():
        pools = make_pools(
            scores,
            kept=kept,
            by=by,
            bins=bins,
            min_tokens=min_tokens,
            partial=partial,
            engine=engine_options.engine(engine, workers, address, runtime_env),
        )
    pools.save(out)
    warn(pools.warnings)
    result(as_json, {**pools.record(), "out": str(out)}, table(pools.table(), 6, pools.tokens_noun))
    notes(pools.notes)
