"""Fit curves of downstream metrics: alone (`--law downstream`), or together with laws of the losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
import torch

from curate import written_names
from curate.errors import FitError, SchemaError, first_few
from curate.fitting.curves import curve_options, fit_metric
from curate.fitting.curves.curve_options import DownstreamOptions
from curate.fitting.curves.metric_columns import AUTO, NONE, PREFIX, metric_names, note_of_infinite
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.metric_points import MetricPoints
from curate.fitting.curves.rows import in_words, point_table
from curate.fitting.fit_json import metric_curve_json
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.runs.runs import Runs

# The largest number of metrics that are fitted by default. Each takes about a second and adds 20 kB to fit.json.
MOST = 8


@dataclass(frozen=True)
class MetricFits:
    """The fitted curves by metric, and notes on what the runs do not determine."""

    curves: Mapping[str, MetricCurve]
    notes: tuple[str, ...]

    def table(self) -> pl.DataFrame:
        """Return one row for each metric: its input, its direction, and how well the curve fits."""
        return pl.DataFrame([curve.summary() for curve in self.curves.values()])


def metric_inputs(runs: Runs, kind: str, on: Sequence[str]) -> np.ndarray:
    """Return the (n, e) values that a curve reads from runs: the losses of e evals, tokens, or FLOPs.

    Raises:
        SchemaError: if the runs do not have one of these losses.
    """
    if kind != "error":
        recipes = runs.recipes()
        values = recipes.tokens if kind == "translation" else 6 * recipes.tokens * recipes.params
        return np.asarray(values)[:, None]
    if not on:
        raise SchemaError(f"--law downstream reads the metric from a loss. Give --on, one of {first_few(runs.evals)}")
    return np.column_stack([runs.loss(name, missing=True) for name in on])


def fit_downstream(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit ``metric.<eval>`` of the runs alone, with a bootstrap over trainings.

    Raises:
        CurateError: if the law has another option than ``kind``.
        SchemaError: if the kind is unknown, or a column is missing.
        FitError: if the runs cannot determine the curve.
    """
    options = cast(DownstreamOptions, curve_options.parse(question.law))
    kind = options.kind
    on = _evals(question.on) if kind == "error" else ()
    points = _points(runs, question.evaluation, kind, on, option="--eval")
    curve = fit_metric.fit(points, draws=question.options.draws, seed=question.options.seed)
    notes = (*note_of_infinite(runs, f"{PREFIX}{curve.name}", points.metric), *_notes(curve))
    law = metric_curve_json.to_json(curve)
    measured = points.measured
    predicted = curve.metric(torch.from_numpy(points.x[measured])).numpy()
    names = runs.frame["run"].filter(pl.Series(measured)).to_list()
    return FitReport(
        law=str(law["law"]),
        comparison=pl.DataFrame([{"law": law["law"]} | curve.summary()]),
        parameter_rows=curve.parameter_rows(),
        points=point_table(names, kind, points.metric[measured], predicted),
        record={"laws": [law], "eval": curve.name, "evals": [curve.name], "rmse": curve.rmse, "rows": curve.rows},
        shown=(_in_words(curve), *(f"note: {note}" for note in notes)),
        predictor=curve,
        notes=notes,
        metrics={curve.name: curve},
    )


def fit_with_laws(runs: Runs, question: FitQuestion) -> MetricFits:
    """Fit curves of the metrics in a run table, as functions of the losses that have laws.

    By default, a table with at most MOST metrics gets a curve for each. A metric with too few runs then gets a note
    instead of a curve. If the question names metrics, every one must get a curve.

    Raises:
        SchemaError: if a metric or a loss is missing.
        FitError: if there are too few runs to fit the curve of a metric that is named.
    """
    automatic = question.metrics == (AUTO,)
    names = metric_names(runs) if automatic else () if question.metrics == (NONE,) else question.metrics
    on = _evals(question.on) or question.evals
    if unfitted := [name for name in on if name not in question.evals]:
        raise SchemaError(
            f"--on {unfitted[0]}: loss.{unfitted[0]} has no law, so no plan could use a metric that is predicted from "
            f"it. Add {unfitted[0]} to --eval, or choose from {first_few(question.evals, near=unfitted[0])}"
        )
    curves: dict[str, MetricCurve] = {}
    notes: list[str] = []
    if automatic and len(names) > MOST:
        notes.append(
            f"no metric is fitted: the runs have {len(names)} metrics, and more than {MOST} are not fitted by default. "
            "Name the metrics that you need with --metric NAME,..."
        )
        names = ()
    for name in names:
        try:
            points = _points(runs, name, "error", on, option="--metric")
            notes += note_of_infinite(runs, f"{PREFIX}{name}", points.metric)
            curves[name] = fit_metric.fit(points, draws=question.options.draws, seed=question.options.seed)
        except (FitError, SchemaError) as error:
            # What is wrong in a metric that nobody named does not stop the fit of the losses.
            if not automatic:
                raise
            notes.append(f"metric.{name} has no curve: {error}")
        else:
            notes += _notes(curves[name])
    return MetricFits(curves, tuple(notes))


def _evals(text: str | None) -> tuple[str, ...]:
    """Return the evals of the option --on, which are separated by commas."""
    return () if text is None else tuple(written_names.names(text))


def _points(runs: Runs, name: str, kind: str, on: Sequence[str], *, option: str) -> MetricPoints:
    if name not in metric_names(runs):
        raise SchemaError(
            f"no column 'metric.{name}': the metrics of the table are "
            f"{first_few(metric_names(runs), near=name) or 'none'}. Name "
            f"one of them with {option}"
        )
    # Small runs often lack some metrics. The fit leaves out rows in which the metric or a loss is missing.
    values = runs.numbers(f"{PREFIX}{name}").copy()
    return MetricPoints(name, kind, tuple(on), metric_inputs(runs, kind, on).copy(), values, runs.clusters)


def _notes(curve: MetricCurve) -> tuple[str, ...]:
    return tuple(note for note in (curve.flat, curve.misaligned) if note is not None)


def _in_words(curve: MetricCurve) -> str:
    theta = {row["param"]: row["value"] for row in curve.parameter_rows().to_dicts()}
    return (
        f"metric.{curve.name} from {curve.x}: {in_words(theta)}; rmse {curve.rmse:.4g}, explains "
        f"{curve.explained:.1%} of the variance. {curve.better.capitalize()} is better."
    )
