"""Hold the question that `fit` answers, and its report, which is the same for laws, corpora and curves."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import polars as pl

from curate.fitting.curves.direct_metric import DirectMetric, Kind
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.pruning_curves import PruningCurves
from curate.fitting.curves.schedules.schedule_fit import ScheduleFit
from curate.fitting.fit import Fit
from curate.fitting.fitted_laws import FittedLaw
from curate.fitting.solver.multistart import FitOptions
from curate.runs.predictors.predictor import Predictor
from curate.storage import artifacts

if TYPE_CHECKING:
    from curate.charts.chart import Chart

Fitted: TypeAlias = FittedLaw | MetricCurve | PruningCurves | ScheduleFit


@dataclass(frozen=True)
class FitQuestion:
    """The laws and evals to fit, and the options.

    ``holdout``: which runs are held out; None means the default for the run table. ``by``: the column that names the
    corpus of a run; each corpus is fitted separately. ``on``: the losses that metrics are predicted from, separated by
    commas. ``metrics``: the metrics to fit; ("auto",) for all that the runs determine, ("none",) for none.
    ``tokens_per_param``: training tokens per parameter at which corpora are compared. ``notes``: on what the user left
    open and the table decided.
    """

    laws: tuple[str, ...]
    evals: tuple[str, ...]
    options: FitOptions
    holdout: str | None = None
    stack: bool = False
    explain: bool = False
    by: str | None = None
    on: str | None = None
    tokens_per_param: float = 20.0
    metrics: tuple[str, ...] = ("auto",)
    notes: tuple[str, ...] = ()

    @property
    def law(self) -> str:
        """The first law in ``laws``. A fit of corpora or of a curve has only this one."""
        return self.laws[0]

    @property
    def evaluation(self) -> str:
        """The first eval in ``evals``. A fit of corpora or of a curve has only this one."""
        return self.evals[0]


@dataclass(frozen=True, repr=False)
class FitReport:
    """What a fit has learned from a run table.

    Attributes:
        law: name of the law that was kept.
        comparison: the laws with their error on held-out runs, the best first. For corpora: where their losses cross.
            For curves: how well each fits, or the best share to keep at each size.
        parameter_rows: the table that `parameters` returns.
        points: columns run, group, measured and predicted.
        record: the fields of fit.json without ``made_by``.
        shown: texts and tables, in the order in which the command prints them.
        predictor: predicts the losses of runs. None for corpora and for `relearn`.
        corpora: the fit of each corpus, if ``by`` was used.
        metrics: the curve of each downstream metric, by its name.
        notes: warnings about what the runs cannot determine.
        explanation: these warnings at length, if ``explain`` was used.
        metric_kind: the kind of the metric that the law was fitted to; None if it was fitted to losses.
        made_by: the record of how the fit was made.
    """

    law: str
    comparison: pl.DataFrame
    parameter_rows: pl.DataFrame
    points: pl.DataFrame
    record: Mapping[str, object]
    shown: tuple[str | pl.DataFrame, ...]
    predictor: Fitted | None = None
    corpora: Mapping[str, Fit] = field(default_factory=dict)
    metrics: Mapping[str, MetricCurve] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    explanation: str = ""
    metric_kind: Kind | None = None
    made_by: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the law, the evals and the number of runs, on one line."""
        return f"FitReport({self.law} of {', '.join(self.evals)}, {self.points.height} measured points)"

    def _repr_html_(self) -> str:
        """Return the tables and texts of the report, for notebooks."""
        return "".join(
            part._repr_html_() if isinstance(part, pl.DataFrame) else f"<pre>{escape(part)}</pre>"
            for part in self.shown
        )

    @property
    def direct(self) -> DirectMetric | None:
        """The metric as a function of recipes, if the law was fitted to a metric instead of a loss."""
        if self.metric_kind is None:
            return None
        return DirectMetric(self.metric_kind, cast(Predictor, self.predictor))

    @property
    def evals(self) -> tuple[str, ...]:
        """The evals or metrics that were fitted."""
        return tuple(cast(list[str], self.record["evals"]))

    @property
    def subject(self) -> str:
        """The name of what was fitted, for messages: ``corpora``, or the name of the law or curve."""
        return "corpora" if self.corpora else self.law

    def table(self) -> pl.DataFrame:
        """Return the comparison of laws, corpora or curves (see ``comparison``)."""
        return self.comparison

    def parameters(self) -> pl.DataFrame:
        """Return one row for each parameter of each fitted law or curve.

        Columns: param, value, and the ends low and high of its interval over bootstrap draws.
        """
        return self.parameter_rows

    def chart(self) -> "Chart":
        """Return a chart of the predicted against the measured values, with the diagonal."""
        from curate.charts import run_charts  # Altair is slow to import: only charts pay for it

        return run_charts.predicted(self.points)

    def save(self, path: str | Path) -> None:
        """Write the report to fit.json, like ``curate fit --out``."""
        artifacts.save(Path(path), "fit", {**self.record, "made_by": dict(self.made_by)})

    def with_provenance(self, made_by: Mapping[str, object]) -> "FitReport":
        """Return the same report with this record of how it was made."""
        return replace(self, made_by=made_by)


def parameter_table(fits: Mapping[str, Fit], label: str) -> pl.DataFrame:
    """Return the parameters of several fits below each other, with their names in the column ``label``."""
    tables = [fit.table().select(pl.lit(name).alias(label), pl.all()) for name, fit in fits.items()]
    return pl.concat(tables) if tables else pl.DataFrame()
