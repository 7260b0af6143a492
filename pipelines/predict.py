"""Predict the losses of runs from a fit, with intervals; of a fit of several evals also each on its own.

Example: curate predict fit.json runs.parquet --out predicted.parquet
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out

if TYPE_CHECKING:
    import polars as pl

    from curate.runs.predictor import Predictor
    from curate.runs.recipes import Recipes


def main(
    fit: Annotated[Path, typer.Argument(help="fit.json")],
    runs: Annotated[Path, typer.Argument(help="A run table; its losses, if any, are not read.")],
    out: Out,
    level: Annotated[float, typer.Option(min=0.01, max=0.99, help="Coverage of the interval.")] = 0.9,
    target: Annotated[str | None, typer.Option(help="Which distance.<target> column the law transport reads.")] = None,
    as_json: Json = False,
) -> None:
    """Predict losses."""
    import polars as pl

    from curate.fitting import fit_files
    from curate.runs import run_table as run_tables
    from curate.runs.predictor import Blend
    from curate.tables import batches
    from pipelines.shared.show import result, table

    fitted = fit_files.load(fit)
    data = run_tables.read(runs, losses=False, target=target)
    recipes = data.recipes(fitted.pools)
    columns = {"run": data.frame["run"]} | _columns(fitted, recipes, level, "")
    if isinstance(fitted, Blend) and len(parts := fitted.parts()) > 1:
        for name, part in parts.items():
            columns |= _columns(part, recipes, level, f".{name}")
    frame = pl.DataFrame(columns)
    batches.save(out, frame)
    result(
        as_json,
        {"rows": frame.height, "out": str(out)},
        table(frame.select("run", "predicted", "low", "high").head(20)),
    )


def _columns(fitted: "Predictor", recipes: "Recipes", level: float, suffix: str) -> "dict[str, pl.Series]":
    import polars as pl

    low, high = fitted.interval(recipes, level)
    named = {"predicted": fitted.loss(recipes), "low": low, "high": high}
    return {name + suffix: pl.Series(values.detach().numpy()) for name, values in named.items()}
