"""Fit curves of downstream metrics to a run table: alone (`--law downstream`), or beside the laws of the losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from curate import open_sets
from curate.errors import FitError, SchemaError
from curate.fitting.curves import downstream, metric_solver
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.metric_solver import MetricPoints
from curate.fitting.curves.rows import in_words, point_table
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.runs.run_table import Runs

AUTO, NONE = "auto", "none"  # of --metric: every metric that has enough rows, or no metric
PREFIX = "metric."
MOST = 8  # metrics that are fitted without being named: each takes about a second and adds 20 kB to fit.json


@dataclass(frozen=True)
class MetricFits:
    """The curves that were fitted beside the laws, by metric, and notes on what the runs cannot tell."""

    curves: Mapping[str, MetricCurve]
    notes: tuple[str, ...]

    def table(self) -> pl.DataFrame:
        """Return one row for each metric: what it reads, its direction, and how well the curve fits."""
        return pl.DataFrame([curve.summary() for curve in self.curves.values()])


def metric_names(runs: Runs) -> tuple[str, ...]:
    """Return the names of the metrics of a run table: its columns ``metric.<name>``."""
    return tuple(name.removeprefix(PREFIX) for name in runs.frame.columns if name.startswith(PREFIX))


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
        raise SchemaError(f"--law downstream reads the metric from a loss. Give --on, one of {', '.join(runs.evals)}")
    return np.column_stack([runs.loss(name, missing=True) for name in on])


def fit_downstream(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit ``metric.<eval>`` of the runs alone, with a bootstrap over trainings.

    Raises:
        SchemaError: if the kind is unknown, or a column is missing.
        FitError: if the runs cannot determine the curve.
    """
    kind = str(open_sets.parse(question.law)[1].get("kind", "error"))
    if kind not in downstream.KINDS:
        raise SchemaError(f"downstream has no kind {kind!r}: choose one of {', '.join(downstream.KINDS)}")
    on = _evals(question.on) if kind == "error" else ()
    points = _points(runs, question.evaluation, kind, on, option="--eval")
    curve = metric_solver.fit(points, draws=question.options.draws, seed=question.options.seed)
    law = curve.to_json()
    measured = points.measured
    predicted = curve.metric(torch.from_numpy(points.x[measured])).numpy()
    names = runs.frame["run"].filter(pl.Series(measured)).to_list()
    return FitReport(
        law=str(law["law"]),
        comparison=pl.DataFrame([{"law": law["law"]} | curve.summary()]),
        parameter_rows=curve.parameter_rows(),
        points=point_table(names, kind, points.metric[measured], predicted),
        record={"laws": [law], "eval": curve.name, "evals": [curve.name], "rmse": curve.rmse, "rows": curve.rows},
        shown=(_in_words(curve), *(f"note: {note}" for note in _notes(curve))),
        predictor=curve,
        notes=_notes(curve),
        metrics={curve.name: curve},
    )


def fit_beside(runs: Runs, question: FitQuestion) -> MetricFits:
    """Fit the metrics of a run table from the losses whose laws are fitted.

    By default each of up to MOST metrics gets a curve, and those that the runs cannot determine get a note. Metrics
    that the question names must all be fitted.

    Raises:
        SchemaError: if a metric or a loss is missing.
        FitError: if the runs cannot determine the curve of a metric that is named.
    """
    automatic = question.metrics == (AUTO,)
    names = metric_names(runs) if automatic else () if question.metrics == (NONE,) else question.metrics
    on = _evals(question.on) or question.evals
    if unfitted := [name for name in on if name not in question.evals]:
        raise SchemaError(
            f"--on {unfitted[0]}: a plan predicts the metric from losses that have a law. Add {unfitted[0]} to --eval, "
            f"or choose from {', '.join(question.evals)}"
        )
    curves: dict[str, MetricCurve] = {}
    notes: list[str] = []
    if automatic and len(names) > MOST:
        notes.append(
            f"the runs have {len(names)} metrics, more than the {MOST} that are fitted unasked. Name those that you "
            "need with --metric NAME,..."
        )
        names = ()
    for name in names:
        try:
            points = _points(runs, name, "error", on, option="--metric")
            curves[name] = metric_solver.fit(points, draws=question.options.draws, seed=question.options.seed)
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
    return () if text is None else tuple(name.strip() for name in text.split(","))


def _points(runs: Runs, name: str, kind: str, on: Sequence[str], *, option: str) -> MetricPoints:
    if name not in metric_names(runs):
        raise SchemaError(
            f"no column 'metric.{name}': the metrics are {', '.join(metric_names(runs)) or 'none'}; name one with "
            f"{option}"
        )
    # Small runs often lack some metrics: rows without one of the values are left out of the fit.
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
