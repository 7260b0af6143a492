"""`curate fit --law downstream`, `annealing` and `relearn`: curves that are not laws over recipes."""

import numpy as np
import polars as pl
import torch

from curate import open_sets
from curate.errors import SchemaError
from curate.fitting import annealing, downstream, relearn
from curate.runs.run_table import Runs

CURVES = ("downstream", "annealing", "relearn")


def fit_curve(
    data: Runs, spec: str, evaluation: str, on: str | None, *, draws: int, seed: int
) -> tuple[dict[str, object], str]:
    """Return the artefact and the words of a fitted curve."""
    name, options = open_sets.parse(spec)
    if name == "downstream":
        return _downstream(data, str(options.get("kind", "error")), evaluation, on, draws, seed)
    return _relearn(data, evaluation) if name == "relearn" else _annealing(data, evaluation)


def _downstream(
    data: Runs, kind: str, metric: str, on: str | None, draws: int, seed: int
) -> tuple[dict[str, object], str]:
    if kind not in downstream.KINDS:
        raise SchemaError(f"downstream has no kind {kind!r}: choose one of {', '.join(downstream.KINDS)}")
    column = f"metric.{metric}"
    if column not in data.frame.columns:
        known = [c.removeprefix("metric.") for c in data.frame.columns if c.startswith("metric.")]
        raise SchemaError(f"no column {column!r}: the metrics are {', '.join(known) or 'none'}; name one with --eval")
    y = data.frame[column].cast(float).fill_null(np.nan).to_numpy()
    if kind == "error":
        if on is None:
            raise SchemaError(
                f"--law downstream reads the metric from a loss: give --on, one of {', '.join(data.evals)}"
            )
        x = data.loss(on, missing=True)
    else:
        recipes = data.recipes()
        x = np.asarray(recipes.tokens if kind == "translation" else 6 * recipes.tokens * recipes.params)
    known_rows = np.isfinite(x) & np.isfinite(y)
    curve = downstream.fit(kind, x[known_rows], y[known_rows], draws=draws, seed=seed)
    theta = {name: float(value) for name, value in curve.theta.items()}
    record: dict[str, object] = {
        "law": f"downstream:kind={kind}",
        "eval": metric,
        "on": on,
        "theta": theta,
        "draws": [{name: float(value[i]) for name, value in curve.draws.items()} for i in range(draws)],
        "rmse": curve.rmse,
        "rows": int(known_rows.sum()),
        "explained": curve.explained,
        "misaligned": curve.misaligned,
    }
    said = ", ".join(f"{name} {value:.4g}" for name, value in theta.items())
    words = f"{kind}: {said}; rmse {curve.rmse:.4g}, explains {curve.explained:.1%} of the variance"
    return record, words if curve.misaligned is None else f"{words}\nmisaligned: {curve.misaligned}"


def _steps(data: Runs, law: str, columns: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Return the steps of every run in order."""
    if missing := [c for c in ("step", *columns) if c not in data.frame.columns]:
        raise SchemaError(
            f"--law {law} needs a column {missing[0]!r}: one row a step, with run, {', '.join(('step', *columns))} and "
            "loss"
        )
    parts = data.frame.partition_by("run", as_dict=True).items()
    return {str(run): part.sort("step") for (run,), part in sorted(parts, key=lambda item: str(item[0]))}


def _column(part: pl.DataFrame, name: str) -> torch.Tensor:
    return torch.from_numpy(part[name].cast(float).fill_null(np.nan).to_numpy().copy())


def _annealing(data: Runs, evaluation: str) -> tuple[dict[str, object], str]:
    """Fit every run's curve: its rows are all steps in order, with ``step`` and ``lr``; losses may be missing."""
    fits, lines = {}, []
    for run, part in _steps(data, "annealing", ("lr",)).items():
        s1, s2 = annealing.s1_s2(_column(part, "lr"))
        loss = _column(part, f"loss.{evaluation}")
        rows = torch.isfinite(loss)
        theta = annealing.fit(s1[rows], s2[rows], loss[rows])
        r2 = _explained(annealing.curve(theta, s1[rows], s2[rows]), loss[rows])
        fits[run] = {"theta": theta, "r2": r2, "rows": int(rows.sum())}
        lines.append(f"{run}: " + ", ".join(f"{k} {v:.4g}" for k, v in theta.items()) + f"; R2 {r2:.5f}")
    return {"law": "annealing", "eval": evaluation, "theta": {}, "fits": fits}, "\n".join(lines)


def _relearn(data: Runs, evaluation: str) -> tuple[dict[str, object], str]:
    """Fit all runs together: rows are all steps from the first training on, ``continued`` 1 where it has continued."""
    curves: dict[str, tuple[relearn.Areas, torch.Tensor]] = {}
    for run, part in _steps(data, "relearn", ("lr", "continued")).items():
        after = _column(part, "continued")
        if bool((after.diff() < 0).any()) or not bool(((after == 0) | (after == 1)).all()):
            raise SchemaError(f"run {run!r}: column continued must be 0 up to a step and 1 from then on")
        loss = _column(part, f"loss.{evaluation}")
        rows = torch.isfinite(loss)
        curves[run] = relearn.areas(_column(part, "lr"), int((after == 0).sum())).take(rows), loss[rows]
    theta, shifts = relearn.fit(list(curves.values()))
    fits, lines = {}, [", ".join(f"{k} {v:.4g}" for k, v in theta.items())]
    for (run, (at, loss)), shift in zip(curves.items(), shifts, strict=True):
        r2 = _explained(relearn.curve(theta, shift, at), loss)
        fits[run] = {"theta": {"B": shift}, "r2": r2, "rows": len(loss)}
        lines.append(f"{run}: shift B {shift:.4g}; R2 {r2:.5f}")
    return {"law": "relearn", "eval": evaluation, "theta": theta, "fits": fits}, "\n".join(lines)


def _explained(predicted: torch.Tensor, loss: torch.Tensor) -> float:
    """Return R2."""
    return 1 - float(((predicted - loss) ** 2).sum() / ((loss - loss.mean()) ** 2).sum())
