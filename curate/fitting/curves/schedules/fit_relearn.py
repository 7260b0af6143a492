"""Fit the curve `relearn` to the steps of continued trainings of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError, first_few
from curate.fitting.curves import curve_options
from curate.fitting.curves.rows import in_words, point_table, r2
from curate.fitting.curves.schedules import relearn
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


def fit_relearn(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit all runs together; the column ``continued`` is 0 in the first training and 1 after it.

    Raises:
        CurateError: if the law has an option; there are none.
        SchemaError: if a column is missing, or ``continued`` falls.
        FitError: if there are too few losses.
    """
    curve_options.parse(question.law)
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


def _steps(runs: Runs, question: FitQuestion, columns: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Return the steps of every run in order: one row a step, of which losses may be missing."""
    if missing := [name for name in ("step", *columns) if name not in runs.frame.columns]:
        raise SchemaError(
            f"--law {question.law} needs a column {missing[0]!r}: one row a step, with run, "
            f"{', '.join(('step', *columns))} and loss"
        )
    if question.evaluation not in runs.evals:
        raise SchemaError(f"no eval {question.evaluation!r}: the run table has {first_few(runs.evals)}")
    numbers = [pl.Series(name, runs.numbers(name)) for name in ("step", *columns)]
    numbers.append(pl.Series(f"loss.{question.evaluation}", runs.loss(question.evaluation, missing=True)))
    parts = runs.frame.with_columns(numbers).partition_by("run", as_dict=True).items()
    return {str(run): part.sort("step") for (run,), part in sorted(parts, key=lambda item: str(item[0]))}


def _tensor(part: pl.DataFrame, name: str) -> Tensor:
    return torch.from_numpy(part[name].to_numpy().copy())
