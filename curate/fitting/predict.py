"""The job `predict`: predict the losses of runs from a fit, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.fitting import fit_files
from curate.fitting.curves.downstream import MetricCurve
from curate.fitting.curves.fit_metrics import metric_inputs
from curate.fitting.curves.fit_pruning import kept_shares, kept_sizes, predict_error
from curate.fitting.curves.kinds import READERS
from curate.fitting.curves.pruning_curves import PruningCurves
from curate.fitting.fit_report import FitReport
from curate.runs import run_table
from curate.runs.predictor import Blend, Predictor
from curate.runs.run_table import Runs
from curate.tables import writer
from curate.tables.frames import Table

if TYPE_CHECKING:
    from curate.charts import Chart

Predicting: TypeAlias = Predictor | MetricCurve | PruningCurves


@dataclass(frozen=True, repr=False)
class Predictions:
    """Predicted losses of runs, with one row for each run.

    The columns are run, and predicted, low and high in nats per token. If the fit has several evals, these are of their
    mean, and columns predicted.EVAL, low.EVAL and high.EVAL follow for each. ``level`` is the coverage of the interval.
    ``notes`` say what was changed or left out of the run table.
    """

    rows: pl.DataFrame
    level: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the number of runs and the range of predictions, on one line."""
        values = self.rows["predicted"].to_numpy()
        ends = f"{values.min():.4g} to {values.max():.4g}"
        return f"Predictions({self.rows.height} runs, {ends}, {self.level:.0%} intervals)"

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        return self.table()._repr_html_()

    def table(self) -> pl.DataFrame:
        """Return a table with one row for each run: run, predicted, low, high, and the columns of each eval."""
        return self.rows

    def chart(self) -> "Chart":
        """Return a chart of the predicted losses and their intervals, with one line for each run."""
        from curate import charts  # Altair is slow to import: only charts pay for it

        return charts.intervals(self.rows.select("run", "predicted", "low", "high"))

    def save(self, path: str | Path) -> None:
        """Write the table to a file: CSV if ``path`` ends in .csv, otherwise Parquet."""
        writer.save(Path(path), self.rows)


def predict(
    fit: str | Path | FitReport | Predicting, runs: Table, *, level: float = 0.9, target: str | None = None
) -> Predictions:
    """Predict the losses of runs, with intervals.

    An interval covers both the uncertainty of the parameters and the noise of a run.

    Args:
        fit: a path to fit.json, a report of ``fit``, or a predictor.
        runs: a run table, a file or in memory; its losses, if any, are not read.
        level: coverage of the interval, between 0 and 1.
        target: the column ``distance.<target>`` that the law ``transport`` reads.

    Raises:
        SchemaError: if the fit cannot predict single runs (corpora, curves over steps), or the runs use a pool or a
            kept share that the fit does not have.
    """
    predictor = _predictor(fit)
    table = run_table.read(runs, losses=False, target=target).trained()
    if isinstance(predictor, PruningCurves):
        columns = _named(predict_error(predictor, kept_shares(table), kept_sizes(table), level))
    elif isinstance(predictor, MetricCurve):
        x = torch.tensor(metric_inputs(table, predictor.kind, predictor.on))
        columns = _named((predictor.metric(x), *predictor.interval(x, level)))
    else:
        columns = _columns(predictor, table, level, "")
        # A stack of laws of one eval has one part, which is the blend itself.
        if isinstance(predictor, Blend) and len(parts := predictor.parts()) > 1:
            for name, part in parts.items():
                columns |= _columns(part, table, level, f".{name}")
    return Predictions(pl.DataFrame({"run": table.frame["run"]} | columns), level, table.notes)


def _predictor(fit: str | Path | FitReport | Predicting) -> Predicting:
    """Return the part of a fit that predicts runs.

    Raises:
        SchemaError: if the fit has no such part.
    """
    if isinstance(fit, str | Path):
        return load(Path(fit))
    if not isinstance(fit, FitReport):
        return fit
    if fit.predictor is None:
        raise SchemaError(f"a fit of {fit.subject} does not predict single runs. Fit a law")
    return fit.predictor


def load(path: Path) -> Predicting:
    """Read the predictor of runs from fit.json.

    It is a law, a blend of laws, boosted trees, or one of the curves `downstream` and `pruning_curves`.

    Raises:
        SchemaError: if the file is not a fit, or the fit cannot predict runs.
    """
    record = fit_files.read(path)
    law = str(cast(list[Mapping[str, object]], record["laws"])[0].get("law", ""))
    # Curves come first: their names are not those of laws, and would be refused below.
    reader = READERS.get(law.partition(":")[0])
    if reader is None:
        return fit_files.load(path)
    try:
        return reader(record)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise fit_files.broken(path, error) from None


def _columns(predictor: Predictor, runs: Runs, level: float, suffix: str) -> dict[str, pl.Series]:
    recipes = runs.recipes(predictor.pools)
    return _named((predictor.loss(recipes), *predictor.interval(recipes, level)), suffix)


def _named(values: tuple[Tensor | np.ndarray, ...], suffix: str = "") -> dict[str, pl.Series]:
    """Return (n,) predictions, low and high ends as columns."""
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else x for x in values]
    return {name + suffix: pl.Series(x) for name, x in zip(("predicted", "low", "high"), arrays, strict=True)}
