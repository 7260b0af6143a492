"""Turn scored (and pruned) rows into pools.json: one pool a source, large sources split by score.

Example: curate pools scores/ --kept kept/ --by score.prototypes --bins 3 --min-tokens 1e6 --out pools.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out


def main(
    scores: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    out: Out,
    by: Annotated[str, typer.Option(help="source, or a score column whose quantiles split each source.")] = "source",
    bins: Annotated[int, typer.Option(min=1, help="Bins a source, with --by score.NAME.")] = 5,
    min_tokens: Annotated[float, typer.Option(help="Split a source only into bins of about this many tokens.")] = 0,
    kept: Annotated[
        Path | None, typer.Option(help="A folder made by `curate prune`; dropped rows do not count.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make pools."""
    import polars as pl

    from curate.pool import pool
    from curate.pruning import prune
    from curate.storage import artifacts
    from pipelines.shared.show import result, table

    column = None if by == "source" else by
    made = prune.make_pools(scores, kept=kept, by=column, bins=bins if column else 1, min_tokens=min_tokens)
    arguments = {"scores": scores, "kept": kept, "by": by, "bins": bins, "min_tokens": min_tokens}
    inputs = [scores] if kept is None else [scores, kept]
    artifacts.save(out, "pools", {"pools": pool.to_json(made), "made_by": artifacts.made_by(arguments, inputs, 0)})
    frame = pl.DataFrame({"pool": p.name, "tokens": p.tokens, "examples": p.examples} for p in made)
    result(as_json, {"pools": frame.to_dicts(), "out": str(out)}, table(frame, 6))
