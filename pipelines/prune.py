"""Decide which examples to keep by one score; a reason per row and a removal table per source.

Example: curate prune scores/ --by score.prototypes --keep 0.7 --rule easy --balance source --out kept/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines._flags import Json, Out, Seed


def main(
    scores: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    by: Annotated[str, typer.Option(help="The score column, such as score.prototypes.")],
    keep: Annotated[float, typer.Option(help="Share of rows to keep; for --rule threshold the lowest score kept.")],
    out: Out,
    rule: Annotated[str, typer.Option(help="hard (highest scores), easy (lowest), middle, threshold.")] = "hard",
    balance: Annotated[str, typer.Option(help="none, source or source:FLOOR: the least share of its quota.")] = "none",
    materialize: Annotated[
        bool, typer.Option("--materialize", help="Also write the kept rows, as they came in.")
    ] = False,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows a file of --materialize.")] = 100_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prune examples."""
    from curate import prune
    from curate.materialize import materialize as kept_rows
    from pipelines._show import progress, result, table

    with progress() as report:
        pruned = prune.prune(scores, by, out, keep=keep, rule=rule, balance=balance, seed=seed, progress=report)
        if materialize:
            kept_rows(scores, out, out / "rows", shard_rows=shard_rows, progress=report)
    result(as_json, {"by_source": pruned.table().to_dicts(), "out": str(out)}, table(pruned.table()))
