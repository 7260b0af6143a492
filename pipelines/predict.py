"""Predict the losses of runs from a fit, with intervals.

If the fit has several evals, their mean and each eval are predicted. A fit of --law pruning_curves predicts the error
of runs with a column keep; a fit of --law downstream predicts a metric.

Example: curate predict fit.json runs.parquet --out predicted.parquet
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out

SHOWN = 20  # rows printed


def main(
    fit: Annotated[Path, typer.Argument(help="The fit.json that `curate fit` wrote.")],
    runs: Annotated[Path, typer.Argument(help="A run table. Its losses, if it has any, are not read.")],
    out: Out,
    level: Annotated[float, typer.Option(min=0.01, max=0.99, help="Coverage of the interval.")] = 0.9,
    target: Annotated[
        str | None, typer.Option(help="The column distance.<target> that the law transport reads.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict losses."""
    from curate.fitting.predict import predict
    from pipelines.shared.show import notes, result, table

    predictions = predict(fit, runs, level=level, target=target)
    notes(predictions.notes)
    predictions.save(out)
    rows = predictions.table()
    result(
        as_json,
        {"rows": rows.height, "out": str(out)},
        table(rows.select("run", "predicted", "low", "high").head(SHOWN)),
    )
