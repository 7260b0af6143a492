"""Predict the losses of runs from a fit, with intervals.

Example: curate predict fit.json runs.parquet --out predicted.parquet
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines._flags import Json, Out


def main(
    fit: Annotated[Path, typer.Argument(help="fit.json")],
    runs: Annotated[Path, typer.Argument(help="A run table; its losses, if any, are not read.")],
    out: Out,
    level: Annotated[float, typer.Option(min=0.01, max=0.99, help="Coverage of the interval.")] = 0.9,
    as_json: Json = False,
) -> None:
    """Predict losses."""
    import polars as pl

    from curate import predictors, tables
    from curate import runs as run_tables
    from pipelines._show import result, table

    fitted = predictors.load(fit)
    data = run_tables.read(runs, losses=False)
    recipes = data.recipes(fitted.pools)
    low, high = fitted.interval(recipes, level)
    predicted = fitted.loss(recipes)
    frame = pl.DataFrame(
        {"run": data.frame["run"], "predicted": predicted.numpy(), "low": low.numpy(), "high": high.numpy()}
    )
    tables.save(out, frame)
    result(as_json, {"rows": frame.height, "out": str(out)}, table(frame.head(20)))
