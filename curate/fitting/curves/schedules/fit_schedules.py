"""Fit a law of schedules, `annealing` or `multi_power`, to the trainings of a run table."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.fitting.curves import curve_options
from curate.fitting.curves.rows import point_table, r2
from curate.fitting.curves.schedules import schedule_rows, schedule_solver
from curate.fitting.curves.schedules.rate_schedule import Curve
from curate.fitting.curves.schedules.schedule_fit import ScheduleFit
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.runs.runs import Runs


@dataclass(frozen=True)
class _MeasuredCurves:
    """The curves of a run table, the positions (n,) of their rows in the table, and notes on what was left out."""

    curves: tuple[Curve, ...]
    rows: tuple[np.ndarray, ...]
    notes: tuple[str, ...]


def fit_schedules(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit `annealing` or `multi_power` to all trainings together; the run table has the columns ``step`` and ``lr``.

    Raises:
        CurateError: if the law has an option; there are none.
        SchemaError: if a column is missing, a value is impossible, or the models or mixtures differ.
        FitError: if there are too few losses.
    """
    curve_options.parse(question.law)
    law, evaluation = question.law, question.evaluation
    if evaluation not in runs.evals:
        raise SchemaError(f"no eval {evaluation!r}: the run table has {first_few(runs.evals, near=evaluation)}")
    _refuse_several_models(runs, law)
    measured = _measured_curves(runs, law, evaluation)
    fitted = schedule_solver.fit(
        law,
        measured.curves,
        evaluation=evaluation,
        params=_only_params(runs),
        draws=question.options.draws,
        seed=question.options.seed,
    )
    return _report(runs, measured, fitted)


def _measured_curves(runs: Runs, law: str, evaluation: str) -> _MeasuredCurves:
    """Return the losses of each training after its rate warmed up, where they were measured."""
    table = schedule_rows.read(runs, law)
    losses = runs.loss(evaluation, missing=True)
    curves, positions, notes, early = [], [], list(table.notes), 0
    for schedule, rows in zip(table.schedules, table.rows, strict=True):
        finite = np.isfinite(losses[rows])
        kept = finite & schedule.warm
        early += int((finite & ~schedule.warm).sum())
        if kept.any():
            curves.append(Curve(schedule.take(kept), losses[rows[kept]]))
            positions.append(rows[kept])
    if early:
        notes.append(
            f"{early} of {int(np.isfinite(losses).sum())} losses are left out: they were measured while the learning "
            "rate warmed up, where the law does not hold"
        )
    if len(curves) == 1:
        notes.append(
            f"the fit has one training, {curves[0].schedule.run}. Its held-out error is of its own last steps, not of "
            "another schedule. Add a training with another schedule"
        )
    return _MeasuredCurves(tuple(curves), tuple(positions), tuple(notes))


def _report(runs: Runs, measured: _MeasuredCurves, fitted: ScheduleFit) -> FitReport:
    """Return the report of a fit: how well the law fits each training, its parameters, and its held-out error."""
    curves, notes = measured.curves, measured.notes
    predicted = [fitted.loss(curve.schedule) for curve in curves]
    each = [_fitted_curve(curve, values) for curve, values in zip(curves, predicted, strict=True)]
    names = runs.frame["run"].to_numpy()
    points = [
        point_table(names[rows].tolist(), curve.schedule.run, curve.loss, values)
        for curve, rows, values in zip(curves, measured.rows, predicted, strict=True)
    ]
    return FitReport(
        law=fitted.law,
        comparison=pl.DataFrame(each),
        parameter_rows=fitted.parameter_rows(),
        points=pl.concat(points),
        record={
            "laws": [fitted.to_json() | {"schedules": each}],
            "eval": fitted.eval,
            "evals": [fitted.eval],
            "rows": sum(len(curve.loss) for curve in curves),
            "notes": list(notes),
        },
        shown=(
            *(f"note: {note}" for note in notes),
            f"{fitted.law}, fitted to {len(curves)} trainings together:",
            fitted.parameter_rows(),
            "How well the law fits each training:",
            pl.DataFrame(each),
            fitted.in_words(),
        ),
        predictor=fitted,
        notes=notes,
    )


def _fitted_curve(curve: Curve, predicted: np.ndarray) -> dict[str, object]:
    """Return how well the (n,) predicted losses fit one curve, as a row of the report."""
    return {
        "run": curve.schedule.run,
        "r2": r2(curve.loss, predicted),
        "rows": len(curve.loss),
        "steps": len(curve.schedule.rates),
    }


def _refuse_several_models(runs: Runs, law: str) -> None:
    """Refuse trainings that differ in more than their schedule."""
    for name in runs.frame.columns:
        if name == "params" or name.startswith("weight."):
            values = np.unique(runs.numbers(name))
            values = values[np.isfinite(values)]
            if len(values) > 1:
                raise SchemaError(
                    f"{runs.origin}: {name} is {values[0]:g} in some runs and {values[-1]:g} in others. --law {law} "
                    f"fits runs of one model and mixture that differ in their learning rates. Choose one with --where "
                    f"'{name} = {values[0]:g}'"
                )


def _only_params(runs: Runs) -> float | None:
    """Return the number of parameters of the model, or None if the table does not say it."""
    values = runs.numbers("params")
    values = values[np.isfinite(values)]
    return float(values[0]) if len(values) else None
