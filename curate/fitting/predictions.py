"""The result of the job `predict`: predicted losses or metrics of runs, with intervals."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.tables import writer

if TYPE_CHECKING:
    from curate.charts.chart import Chart


@dataclass(frozen=True, repr=False)
class Predictions:
    """Predicted losses or metrics of runs, with one row for each run.

    The columns are run, predicted, low and high, in nats per token. A fit of learning-rate schedules adds the column
    step after run. If the fit has several evals, these are of the mean loss, and the columns predicted.EVAL, low.EVAL
    and high.EVAL follow for each eval. If a metric is predicted, they are of the metric, in its unit. The same columns
    then follow for each loss that the metric is predicted from. ``level`` is the coverage of the interval. ``better``
    says whether lower or higher values are better. ``warnings`` are reasons to doubt the predictions. ``notes`` say
    what was changed in the run table or left out of it.
    """

    rows: pl.DataFrame
    level: float
    metric: str | None = None
    better: str = "lower"
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the number of runs and the range of predictions, on one line."""
        values = self.rows["predicted"].drop_nulls().to_numpy()
        ends = f"{values.min():.4g} to {values.max():.4g}"
        what = "" if self.metric is None else f"metric.{self.metric} "
        return f"Predictions({self.rows.height} runs, {what}{ends}, {self.level:.0%} intervals)"

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        return self.table()._repr_html_()

    def table(self) -> pl.DataFrame:
        """Return a table with one row for each run: run, predicted, low, high, and the columns of each eval."""
        return self.rows

    def chart(self) -> "Chart":
        """Return a chart of the predicted losses and their intervals, with one line for each run."""
        from curate.charts import run_charts  # Altair is slow to import: only charts pay for it

        return run_charts.intervals(self.rows.select("run", "predicted", "low", "high"))

    def save(self, path: str | Path) -> None:
        """Write the table to a file: CSV if ``path`` ends in .csv, otherwise Parquet."""
        writer.save(Path(path), self.rows)
