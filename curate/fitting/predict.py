"""The job `predict`: predict the losses or a downstream metric of runs from a fit, with intervals."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.fitting import fit_files
from curate.fitting.curves import chained_metric, fit_pruning, pruning_curves
from curate.fitting.curves.direct_metric import DirectMetric
from curate.fitting.curves.fit_metrics import metric_inputs
from curate.fitting.curves.fit_pruning import kept_shares, kept_sizes, predict_error
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.pruning_curves import PruningCurves
from curate.fitting.curves.schedules import schedule_fit, schedule_laws, schedule_rows
from curate.fitting.curves.schedules.schedule_fit import ScheduleFit
from curate.fitting.fit_json import metric_curve_json
from curate.fitting.fit_report import FitReport
from curate.fitting.predictions import Predictions
from curate.planning import aims, extrapolation
from curate.runs import fitted_size, run_table
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.runs import Runs
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.read_tables import Tables
from curate.runs.trainings.training_keys import Checkpoints

Predicting: TypeAlias = Predictor | MetricCurve | PruningCurves | ScheduleFit | DirectMetric


def predict(
    fit: str | Path | FitReport | Predicting,
    runs: Tables,
    *,
    level: float = 0.9,
    target: str | None = None,
    metric: str | None = None,
    map: WrittenMap = None,
    source: str | None = None,
    checkpoints: Checkpoints = "auto",
) -> Predictions:
    """Predict the losses or a downstream metric of runs, with intervals.

    The interval of a loss covers the uncertainty of the parameters, the noise of a run, and the discrepancy of the law,
    which grows with the distance in size and tokens. The interval of a metric covers the uncertainty of the laws, the
    uncertainty of the curve from loss to metric, and the noise of both.

    If all fitted runs have one size, runs of another size are compared as at the fitted size; see
    `curate.runs.fitted_size`. Warnings name what lies outside the fitted runs, as those of a plan do.

    Args:
        fit: a path to fit.json, a report of ``fit``, or a predictor.
        runs: a run table, a file or in memory. Its losses, if any, are read only by a fit of `downstream` alone.
        level: coverage of the interval, between 0 and 1.
        target: the column ``distance.<target>`` that the law ``transport`` reads.
        metric: predict ``metric.<metric>`` from the losses that the laws predict.
        map: SQL expressions that compute columns of the run table from other columns, by name; or a TOML file of them.
        source: the program that wrote the table: ``wandb``, ``regmix`` or ``swarm``. None: it is a run table.
        checkpoints: which rows are checkpoints of one training, as in ``fit``. Rows from inside a training are
            predicted as unfinished runs; with ``no``, every row is a finished run.

    Raises:
        SchemaError: if the fit cannot predict single runs, as a fit of corpora or of `relearn`; if it has no
            such metric; or if the runs use a pool or a kept share that the fit does not have.
    """
    predictor, metrics, fit_name = _parts(fit)
    if target is not None and isinstance(predictor, ScheduleFit | MetricCurve | PruningCurves):
        raise SchemaError(
            f"--target {target} names the column distance.{target}, which only the law transport reads, and {fit_name} "
            "has a curve. Leave --target out"
        )
    if isinstance(predictor, ScheduleFit):
        table = run_table.read(runs, losses=False, map=map, source=source, absent=schedule_rows.ABSENT, counts=False)
        return _schedules(predictor, table, level, metric, fit_name)
    # As in a fit, sizes do not matter to a curve.
    counts = not isinstance(predictor, MetricCurve | PruningCurves)
    table = run_table.read(
        runs, losses=False, target=target, map=map, source=source, counts=counts, checkpoints=checkpoints
    ).trained()
    if isinstance(predictor, DirectMetric):
        return _direct(predictor, table, level, metric, fit_name)
    if not isinstance(predictor, MetricCurve | PruningCurves):
        predictor = fitted_size.at_fitted_size(predictor)
        table = replace(table, notes=(*table.notes, *table.trainings.notes))
    if metric is not None:
        return _metric(predictor, fit_files.named_metric(metrics, metric, fit_name), table, level, fit_name)
    if isinstance(predictor, MetricCurve):
        return _metric(predictor, predictor, table, level, fit_name)
    warnings: tuple[str, ...] = ()
    if isinstance(predictor, PruningCurves):
        columns = _named(predict_error(predictor, kept_shares(table), kept_sizes(table), level))
    else:
        columns = _columns(predictor, table, level, "")
        warnings = _extrapolations(predictor, table)
        # A stack of laws of one eval has one part, which is the blend itself.
        if isinstance(predictor, Blend) and len(parts := predictor.parts()) > 1:
            for name, part in parts.items():
                columns |= _columns(part, table, level, f".{name}")
    rows = pl.DataFrame({"run": table.frame["run"]} | columns)
    return Predictions(rows, level, warnings=warnings, notes=table.notes)


def _parts(fit: str | Path | FitReport | Predicting) -> tuple[Predicting, Mapping[str, MetricCurve], str]:
    """Return the predictor of a fit, the curves of its metrics, and words that name the fit.

    Raises:
        SchemaError: if the fit has no such part.
    """
    if isinstance(fit, str | Path):
        return load(Path(fit)), fit_files.load_metrics(Path(fit)), str(fit)
    if not isinstance(fit, FitReport):
        return fit, {fit.name: fit} if isinstance(fit, MetricCurve) else {}, "the fit"
    if fit.predictor is None:
        if fit.corpora:
            raise SchemaError("a fit of corpora does not predict single runs. Fit one of them alone with where=")
        raise SchemaError(f"this is {fit_files.not_a_law(fit.law)}")
    return fit.direct or fit.predictor, fit.metrics, "the fit"


def load(path: Path) -> Predicting:
    """Read the predictor of runs from fit.json.

    It is a law, a blend of laws, boosted trees, a law of schedules, or one of the curves `downstream` and
    `pruning_curves`.

    Raises:
        SchemaError: if the file is not a fit, or the fit cannot predict runs.
    """
    record = fit_files.read(path)
    laws = cast(list[Mapping[str, object]], record["laws"])
    name = str(laws[0].get("law", "")).partition(":")[0]
    # A file with only a curve is handled first, because the code below refuses names that are not laws.
    try:
        if name == metric_curve_json.NAME:
            return metric_curve_json.from_json(laws[0])
        if name == pruning_curves.NAME:
            return fit_pruning.from_json(record)
        if name in schedule_laws.LAWS and "run" not in laws[0]:
            return schedule_fit.from_json(laws[0])
    except fit_files.BROKEN as error:
        raise fit_files.broken(path, error) from None
    if name in schedule_laws.LAWS:
        raise SchemaError(
            f"{path} has a curve for each run, as earlier versions fitted {name}, and no draws. To predict other "
            f"schedules, fit all runs together: curate fit RUNS --law {name}"
        )
    laws_of_mixtures = fit_files.load(path)
    return fit_files.direct_metric_of(record, laws_of_mixtures) or laws_of_mixtures


def _direct(fitted: DirectMetric, runs: Runs, level: float, name: str | None, fit_name: str) -> Predictions:
    """Predict a metric by the law that was fitted to it. The option --metric has ``name``."""
    if name not in (None, fitted.name):
        raise SchemaError(f"{fit_name} has no metric.{name}: its law was fitted to metric.{fitted.name}")
    runs = replace(runs, notes=(*runs.notes, *runs.trainings.notes))
    predictor = fitted_size.at_fitted_size(fitted.predictor)
    metric = replace(fitted, predictor=predictor)
    recipes = runs.recipes(predictor.pools)
    columns = _named((metric.values(recipes), *metric.interval(recipes, level)))
    table = pl.DataFrame({"run": runs.frame["run"]} | columns)
    return Predictions(table, level, metric.name, metric.better, _extrapolations(predictor, runs), runs.notes)


def _schedules(fit: ScheduleFit, table: Runs, level: float, metric: str | None, fit_name: str) -> Predictions:
    """Predict the loss at each row of learning-rate schedules. There is no metric to predict."""
    if metric is not None:
        raise SchemaError(
            f"{fit_name} has a fit of {fit.law}, which predicts the loss at each step of a schedule and no metric. "
            "Leave --metric out"
        )
    params = table.numbers("params")
    other = np.isfinite(params) & (params != fit.params)
    if fit.params is not None and other.any():
        raise SchemaError(
            f"{fit_name} is of a model of {fit.params:g} parameters, and run "
            f"{table.frame['run'][int(other.argmax())]!r} has {params[other.argmax()]:g}: a law of schedules "
            "says nothing about other sizes. Drop such rows"
        )
    read = schedule_rows.read(table, fit.law)
    columns = {name: np.full(len(table), np.nan) for name in ("predicted", "low", "high")}
    notes = [*table.notes, *read.notes]
    for schedule, rows in zip(read.schedules, read.rows, strict=True):
        for column, values in zip(columns.values(), (fit.loss(schedule), *fit.interval(schedule, level)), strict=True):
            column[rows] = values
    if early := sum(int((~schedule.warm).sum()) for schedule in read.schedules):
        notes.append(
            f"{early} of {len(table)} rows have no prediction: the learning rate warms up there, and the law does not "
            "hold"
        )
    names = {"run": table.frame["run"], "step": pl.Series(table.numbers("step")).cast(pl.Int64)}
    frame = pl.DataFrame(names | columns).fill_nan(None)
    return Predictions(frame, level, warnings=fit.warnings(read.schedules), notes=tuple(notes))


def _metric(
    predictor: Predictor | MetricCurve | PruningCurves, curve: MetricCurve, runs: Runs, level: float, source: str
) -> Predictions:
    """Predict a metric from the losses that the laws predict. Without laws, use the measured losses."""
    if isinstance(predictor, MetricCurve):
        return _from_measured(curve, runs, level, source)
    if isinstance(predictor, PruningCurves):
        raise SchemaError(f"{source} has {fit_files.not_a_law(pruning_curves.NAME)}")
    chained = chained_metric.chain(curve, predictor, source)
    recipes = runs.recipes(predictor.pools)
    columns = _named((chained.values(recipes), *chained.interval(recipes, level)))
    for part in chained.parts:
        columns |= _columns(part, runs, level, f".{part.eval}")
    table = pl.DataFrame({"run": runs.frame["run"]} | columns)
    warnings = (*_extrapolations(predictor, runs), *chained.warnings(recipes))
    return Predictions(table, level, curve.name, curve.better, warnings, runs.notes)


def _from_measured(curve: MetricCurve, runs: Runs, level: float, source: str) -> Predictions:
    """Predict a metric from the losses of finished runs."""
    if missing := [name for name in curve.on if name not in runs.evals]:
        raise SchemaError(
            f"{source} predicts the metric from measured {curve.x}, but the runs have no column loss.{missing[0]}. "
            "Give runs with that loss, or fit a law of the loss together with the curve: curate fit RUNS --law LAW "
            f"--eval {','.join(curve.on)} --metric {curve.name}"
        )
    x = torch.from_numpy(metric_inputs(runs, curve.kind, curve.on).copy())
    measured = x.isfinite().all(dim=1)
    if not bool(measured.any()):
        raise SchemaError(f"metric.{curve.name} is predicted from {curve.x}, but no run has that. Fill in empty cells")
    # A run without a measured loss has no prediction.
    columns = {name: np.full(len(x), np.nan) for name in ("predicted", "low", "high")}
    values = (curve.metric(x[measured]), *curve.interval(x[measured], level))
    for column, part in zip(columns.values(), values, strict=True):
        column[measured.numpy()] = part.numpy()
    table = pl.DataFrame({"run": runs.frame["run"]} | columns).fill_nan(None)
    return Predictions(table, level, curve.name, curve.better, curve.warnings(x[measured]), runs.notes)


def _extrapolations(predictor: Predictor, runs: Runs) -> tuple[str, ...]:
    """Return the warnings that a plan would give for these runs."""
    return extrapolation.warnings(aims.leaves(predictor), runs.recipes(predictor.pools))


def _columns(predictor: Predictor, runs: Runs, level: float, suffix: str) -> dict[str, pl.Series]:
    recipes = runs.recipes(predictor.pools)
    return _named((predictor.loss(recipes), *predictor.interval(recipes, level)), suffix)


def _named(values: tuple[Tensor | np.ndarray, ...], suffix: str = "") -> dict[str, pl.Series]:
    """Return (n,) predictions, low and high ends as columns."""
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else x for x in values]
    return {name + suffix: pl.Series(x) for name, x in zip(("predicted", "low", "high"), arrays, strict=True)}
