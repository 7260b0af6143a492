"""Show the pilot runs beside the law that was fitted to them: fit.json with runs.parquet."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.charts import run_charts
from curate.charts.chart import Chart
from curate.errors import SchemaError
from curate.fitting.compare import SCHEMA
from curate.fitting.curves import direct_metric
from curate.fitting.curves.direct_metric import Kind
from curate.fitting.curves.metric_columns import PREFIX
from curate.fitting.fit import Fit
from curate.fitting.fitted_laws import FittedLaw
from curate.fitting.jobs import metric_as_loss
from curate.reporting.html_page import Section
from curate.reporting.law_curves import law_curves
from curate.reporting.records import Values
from curate.runs import run_table
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs

TITLE = "Pilots: small runs and the fitted law"
LAWS_COMPARED = "Table: the laws compared, by their error on held-out runs."  # where several evals share one table


def pilot_sections(fitted: FittedLaw, path: Path, record: Values) -> Iterator[Section]:
    """Show measured and predicted losses, a section for each eval; the first has the tables.

    ``record`` is the content of fit.json, and ``path`` the table of the runs.
    """
    arguments = _arguments(record)
    # The expressions of the fit are for its own table, and these may be other runs.
    same = Path(str(arguments.get("runs"))).name == path.name
    runs = run_table.read(
        path,
        target=cast(str | None, arguments.get("target")),
        map=cast(Mapping[str, str] | None, arguments.get("map")) if same else None,
        source=cast(str | None, arguments.get("from")) if same else None,
        losses="metric_kind" not in record,
    ).trained()
    if "metric_kind" in record:
        kind = cast(Kind, record["metric_kind"])
        runs = metric_as_loss.as_loss(runs, fitted.eval.removeprefix(PREFIX), kind).runs
    tables = [*_comparison(record), *([fitted.table()] if isinstance(fitted, Fit) else [])]
    # Blends and trees have no single table of parameters.
    name = f"the law {fitted.spec}" if isinstance(fitted, Fit) else "the fit"
    parts = _parts(fitted)
    legend = "Tables: the laws compared, and the parameters of the fitted one." if len(parts) == 1 else LAWS_COMPARED
    for evaluation, part in parts.items():
        title = TITLE if len(parts) == 1 else f"{TITLE}, loss.{evaluation}"
        text, drawn = _drawn(part, runs, evaluation, name)
        if "metric_kind" in record:
            text += f" {direct_metric.in_words(cast(Kind, record['metric_kind']), evaluation.removeprefix(PREFIX))}"
        if tables:
            text += f" {legend}"
        yield Section(title, text, drawn, tables)
        tables = []


def _parts(fitted: FittedLaw) -> Mapping[str, Predictor]:
    """Return the predictor of each eval; a blend of several evals has one for each."""
    parts = fitted.parts() if isinstance(fitted, Blend) else {}
    return parts if len(parts) > 1 else {fitted.eval: fitted}


def _arguments(record: Values) -> Mapping[str, object]:
    """Return the arguments with which the fit was made; none of a fit by other means."""
    made_by = cast(Mapping[str, Mapping[str, object]], record.get("made_by", {}))
    return made_by.get("arguments", {})


def _comparison(record: Values) -> list[pl.DataFrame]:
    """Return the comparison of laws as a table; the fits of cmr and old files have none."""
    rows = cast(list[Values], record.get("compared", []))
    names = [name for name in SCHEMA if any(name in row for row in rows)]
    schema = {name: SCHEMA[name] for name in names}
    frame = pl.DataFrame([{name: row.get(name) for name in names} for row in rows], schema=schema)
    return [frame] if rows else []


def _drawn(fitted: Predictor, runs: Runs, evaluation: str, name: str) -> tuple[str, list[Chart]]:
    """Return a text and the charts of one eval, over the runs that have its loss."""
    loss = runs.loss(evaluation, missing=True)
    measured = np.isfinite(loss)
    recipes, loss = runs.recipes(fitted.pools).take(measured), loss[measured]
    names = runs.frame["run"].filter(pl.Series(measured))
    points = pl.DataFrame({"run": names, "tokens": recipes.tokens.numpy(), "loss": loss})
    agreement = points.select(
        "run", pl.col("tokens").map_elements(lambda tokens: f"{tokens:.2g}", pl.String), measured="loss"
    ).with_columns(predicted=pl.Series(fitted.loss(recipes).numpy()))
    lines = _lines(fitted, recipes)
    if lines is None:
        return f"Dots: losses of the pilot runs, and what {name} predicts for them.", [run_charts.fitted(agreement)]
    pool, curves = lines
    points = points.with_columns(share=pl.Series(recipes.weights[:, fitted.pools.index(pool)].numpy()))
    text = (
        f"Dots: losses of the pilot runs, coloured by the share of {pool}. Lines: losses that {name} predicts for "
        f"{pool} alone and for a uniform mixture."
    )
    return text, [run_charts.pilots(points, curves), run_charts.fitted(agreement)]


def _lines(fitted: Predictor, recipes: Recipes) -> tuple[str, pl.DataFrame] | None:
    try:
        return law_curves(fitted, recipes)
    except SchemaError:
        # A law of transport distances cannot predict a mixture whose distance nobody measured.
        return None
