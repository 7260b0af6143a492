"""`curate fit --law downstream` and `--law annealing`: curves that are not laws over recipes."""

import numpy as np
import torch

from curate import annealing, downstream, plugins
from curate.errors import SchemaError
from curate.runs import Runs

CURVES = ("downstream", "annealing")


def fit_curve(
    data: Runs, spec: str, evaluation: str, on: str | None, *, draws: int, seed: int
) -> tuple[dict[str, object], str]:
    """Return the artefact and the words of a fitted curve."""
    name, options = plugins.parse(spec)
    return (
        _downstream(data, str(options.get("kind", "error")), evaluation, on, draws, seed)
        if name == "downstream"
        else _annealing(data, evaluation)
    )


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


def _annealing(data: Runs, evaluation: str) -> tuple[dict[str, object], str]:
    """Fit every run's curve: its rows are all steps in order, with ``step`` and ``lr``; losses may be missing."""
    if missing := [c for c in ("step", "lr") if c not in data.frame.columns]:
        raise SchemaError(f"--law annealing needs a column {missing[0]!r}: one row a step, with run, step, lr and loss")
    fits, lines = {}, []
    for (run,), part in sorted(data.frame.partition_by("run", as_dict=True).items(), key=lambda item: str(item[0])):
        ordered = part.sort("step")
        s1, s2 = annealing.s1_s2(torch.from_numpy(ordered["lr"].cast(float).to_numpy().copy()))
        loss = ordered[f"loss.{evaluation}"].cast(float).fill_null(np.nan).to_numpy()
        rows = torch.from_numpy(np.isfinite(loss))
        observed = torch.from_numpy(loss.copy())[rows]
        theta = annealing.fit(s1[rows], s2[rows], observed)
        left = annealing.curve(theta, s1[rows], s2[rows]) - observed
        r2 = 1 - float((left**2).sum() / ((observed - observed.mean()) ** 2).sum())
        fits[str(run)] = {"theta": theta, "r2": r2, "rows": int(rows.sum())}
        lines.append(f"{run}: " + ", ".join(f"{k} {v:.4g}" for k, v in theta.items()) + f"; R2 {r2:.5f}")
    return {"law": "annealing", "eval": evaluation, "theta": {}, "fits": fits}, "\n".join(lines)
