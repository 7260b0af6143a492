"""Fit curves of the loss over the steps of each run to a run table: `annealing`, `multi_power` and `relearn`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate import open_sets
from curate.errors import SchemaError, first_few
from curate.fitting.curves.rows import in_words, point_table
from curate.fitting.curves.schedules import relearn, schedule_fit, schedule_rows
from curate.fitting.curves.schedules.schedule_fit import Curve
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.runs.runs import Runs


@dataclass(frozen=True)
class _StepCurve:
    """The fitted curve of one run: its own parameters, and measured and predicted (t,) losses."""

    theta: Mapping[str, float]
    measured: Tensor
    predicted: Tensor

    @property
    def r2(self) -> float:
        """The share of variance that the curve explains."""
        return r2(self.measured.numpy(), self.predicted.numpy())


def r2(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance of (n,) measured values that the predicted ones explain."""
    variance = float(((measured - measured.mean()) ** 2).sum())
    return 1 - float(((predicted - measured) ** 2).sum()) / variance if variance else 0.0


def fit_schedules(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit `annealing` or `multi_power` to all trainings together; the run table has the columns ``step`` and ``lr``.

    Raises:
        CurateError: if the law has an option; there are none.
        SchemaError: if a column is missing, a value is impossible, or the models or mixtures differ.
        FitError: if there are too few losses.
    """
    (law, options), evaluation = open_sets.parse(question.law), question.evaluation
    open_sets.check_options(law, options, {})
    if evaluation not in runs.evals:
        raise SchemaError(f"no eval {evaluation!r}: the run table has {first_few(runs.evals, near=evaluation)}")
    _refuse_several_models(runs, law)
    table = schedule_rows.read(runs, law)
    losses = runs.loss(evaluation, missing=True)
    curves, measured, notes, early = [], [], list(table.notes), 0
    for schedule, rows in zip(table.schedules, table.rows, strict=True):
        finite = np.isfinite(losses[rows])
        kept = finite & schedule.warm
        early += int((finite & ~schedule.warm).sum())
        if kept.any():
            curves.append(Curve(schedule.take(kept), losses[rows[kept]]))
            measured.append(rows[kept])
    if early:
        notes.append(
            f"{early} of {int(np.isfinite(losses).sum())} losses are left out: they were measured while the learning "
            "rate warmed up, where the law does not hold"
        )
    fitted = schedule_fit.fit(
        law,
        curves,
        evaluation=evaluation,
        params=_only_params(runs),
        draws=question.options.draws,
        seed=question.options.seed,
    )
    predicted = [fitted.loss(curve.schedule) for curve in curves]
    each = [
        {
            "run": curve.schedule.run,
            "r2": r2(curve.loss, values),
            "rows": len(curve.loss),
            "steps": len(curve.schedule.rates),
        }
        for curve, values in zip(curves, predicted, strict=True)
    ]
    if len(curves) == 1:
        notes.append(
            f"the fit has one training, {curves[0].schedule.run}. Its held-out error is of its own last steps, not of "
            "another schedule. Add a training with another schedule"
        )
    names = runs.frame["run"].to_numpy()
    points = [
        point_table(names[rows].tolist(), curve.schedule.run, curve.loss, values)
        for curve, rows, values in zip(curves, measured, predicted, strict=True)
    ]
    return FitReport(
        law=law,
        comparison=pl.DataFrame(each),
        parameter_rows=fitted.parameter_rows(),
        points=pl.concat(points),
        record={
            "laws": [fitted.to_json() | {"schedules": each}],
            "eval": evaluation,
            "evals": [evaluation],
            "rows": sum(len(curve.loss) for curve in curves),
            "notes": notes,
        },
        shown=(
            *(f"note: {note}" for note in notes),
            f"{law}, fitted to {len(curves)} trainings together:",
            fitted.parameter_rows(),
            "How well the law fits each training:",
            pl.DataFrame(each),
            fitted.in_words(),
        ),
        predictor=fitted,
        notes=tuple(notes),
    )


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


def _steps(runs: Runs, question: FitQuestion, columns: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Return the steps of every run in order: one row a step, of which losses may be missing."""
    if missing := [name for name in ("step", *columns) if name not in runs.frame.columns]:
        raise SchemaError(
            f"--law {question.law} needs a column {missing[0]!r}: one row a step, with run, "
            f"{', '.join(('step', *columns))} and loss"
        )
    if question.evaluation not in runs.evals:
        raise SchemaError(f"no eval {question.evaluation!r}: the run table has {first_few(runs.evals)}")
    numbers = [pl.Series(name, runs.numbers(name)) for name in ("step", *columns, f"loss.{question.evaluation}")]
    parts = runs.frame.with_columns(numbers).partition_by("run", as_dict=True).items()
    return {str(run): part.sort("step") for (run,), part in sorted(parts, key=lambda item: str(item[0]))}


def _tensor(part: pl.DataFrame, name: str) -> Tensor:
    return torch.from_numpy(part[name].to_numpy().copy())


def fit_relearn(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit all runs together; the column ``continued`` is 0 in the first training and 1 after it.

    Raises:
        SchemaError: if a column is missing, or ``continued`` falls.
        FitError: if there are too few losses.
    """
    inputs: dict[str, tuple[relearn.Areas, Tensor]] = {}
    for run, part in _steps(runs, question, ("lr", "continued")).items():
        after = _tensor(part, "continued")
        if bool((after.diff() < 0).any()) or not bool(((after == 0) | (after == 1)).all()):
            raise SchemaError(f"run {run!r}: column continued must be 0 up to a step and 1 from then on")
        loss = _tensor(part, f"loss.{question.evaluation}")
        measured = torch.isfinite(loss)
        areas = relearn.areas(_tensor(part, "lr"), int((after == 0).sum()))
        inputs[run] = areas.take(measured), loss[measured]
    common, shifts = relearn.fit(list(inputs.values()))
    curves = {
        run: _StepCurve({"B": shift}, loss, relearn.curve(common, shift, areas))
        for (run, (areas, loss)), shift in zip(inputs.items(), shifts, strict=True)
    }
    lines = [f"{run}: shift B {curve.theta['B']:.4g}; R2 {curve.r2:.5f}" for run, curve in curves.items()]
    return _step_report("relearn", question, curves, common, [in_words(common), *lines])


def _step_report(
    law: str,
    question: FitQuestion,
    curves: Mapping[str, _StepCurve],
    common: Mapping[str, float],
    lines: Sequence[str],
) -> FitReport:
    """Return the report of a curve for each run; ``common`` are the parameters that all runs share."""
    thetas = {run: {**common, **curve.theta} for run, curve in curves.items()}
    laws = [
        {
            "law": law,
            "run": run,
            "eval": question.evaluation,
            "theta": thetas[run],
            "r2": curve.r2,
            "rows": len(curve.measured),
        }
        for run, curve in curves.items()
    ]
    rows = [{"run": run, "param": name, "value": x} for run, theta in thetas.items() for name, x in theta.items()]
    points = [
        point_table([run] * len(curve.measured), run, curve.measured.numpy(), curve.predicted.numpy())
        for run, curve in curves.items()
    ]
    return FitReport(
        law=law,
        comparison=pl.DataFrame([{name: entry[name] for name in ("run", "r2", "rows")} for entry in laws]),
        parameter_rows=pl.DataFrame(rows),
        points=pl.concat(points),
        record={
            "laws": laws,
            "eval": question.evaluation,
            "evals": [question.evaluation],
            "rows": sum(len(c.measured) for c in curves.values()),
        },
        shown=("\n".join(lines),),
    )
