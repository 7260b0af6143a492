"""Predict the losses or a downstream metric of runs from a fit, with intervals.

An interval holds the loss that a new run would show. Warnings name what lies outside the fitted runs. If all fitted
runs have one size, the ratio of the losses of two mixtures is taken to be the same at every size, and the law's priors
decide how the loss changes with size. Rows from inside a training are predicted as unfinished runs; with --checkpoints
no, every row is a finished run.

If the fit has several evals, the job predicts their mean loss and the loss of each. --metric NAME predicts metric.NAME
from the losses that the laws predict. Columns predicted.EVAL then hold these losses. The intervals of a metric cover
the uncertainty of the laws, the uncertainty of the curve from loss to metric, and the noise of a run.

A fit of --law downstream alone predicts its metric from the measured losses of the runs. A fit of --law pruning_curves
predicts the error of runs; they need a column keep. A fit of --law annealing or multi_power predicts the loss at each
row of a learning-rate schedule. The table needs the columns step and lr, and run if it holds several schedules.

Example: curate predict fit.json runs.parquet --metric error --out predicted.parquet
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import From, Json, Map, Out, WhichCheckpoints

SHOWN = 20  # rows printed


def main(
    fit: Annotated[Path, typer.Argument(help="The fit.json that `curate fit` wrote.")],
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run tables. Their losses are read only if the fit is of --law downstream."),
    ],
    out: Out,
    level: Annotated[float, typer.Option(min=0.01, max=0.99, help="Coverage of the interval.")] = 0.9,
    target: Annotated[
        str | None, typer.Option(help="The column distance.<target> that the law transport reads.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="NAME: predict the column metric.NAME, from the losses that the laws predict.")
    ] = None,
    map: Map = None,
    source: From = None,
    checkpoints: WhichCheckpoints = "auto",
    as_json: Json = False,
) -> None:
    """Predict losses or a metric."""
    from curate.fitting.predict import predict
    from pipelines.shared.show import notes, progress, result, table, warn

    with progress():
        predictions = predict(
            fit,
            runs,
            level=level,
            target=target,
            metric=metric,
            map=map,
            source=source,
            checkpoints=checkpoints,
        )
    notes(predictions.notes)
    predictions.save(out)
    rows = predictions.table()
    record: dict[str, object] = {"rows": rows.height, "out": str(out), "warnings": list(predictions.warnings)}
    shown = [name for name in ("run", "step", "predicted", "low", "high") if name in rows.columns]
    text = table(rows.select(shown).head(SHOWN))
    if predictions.metric is not None:
        record |= {"metric": predictions.metric, "better": predictions.better}
        text = f"metric.{predictions.metric} ({predictions.better} is better):\n{text}"
    if not as_json:
        warn(predictions.warnings)
    result(as_json, record, text)
