"""Fit the curve downstream to a run table: a metric read from a loss, from tokens or from compute."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import polars as pl
import torch

from curate import open_sets
from curate.errors import SchemaError
from curate.fitting.curves import downstream
from curate.fitting.curves.downstream import MetricCurve
from curate.fitting.curves.rows import column, in_words, point_table
from curate.fitting.fit_report import FitQuestion, FitReport
from curate.runs.run_table import Runs


def metric_inputs(runs: Runs, kind: str, on: str | None) -> np.ndarray:
    """Return the (n,) values that a curve of this kind reads from runs: losses, tokens or FLOPs."""
    if kind != "error":
        recipes = runs.recipes()
        return np.asarray(recipes.tokens if kind == "translation" else 6 * recipes.tokens * recipes.params)
    if on is None:
        raise SchemaError(f"--law downstream reads the metric from a loss. Give --on, one of {', '.join(runs.evals)}")
    return runs.loss(on, missing=True)


def fit_downstream(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit ``metric.<eval>`` of the runs, with a bootstrap over rows.

    Raises:
        SchemaError: if the kind is unknown, or a column is missing.
        FitError: if there are not more rows than parameters.
    """
    metric, options = question.evaluation, question.options
    kind = str(open_sets.parse(question.law)[1].get("kind", "error"))
    if kind not in downstream.KINDS:
        raise SchemaError(f"downstream has no kind {kind!r}: choose one of {', '.join(downstream.KINDS)}")
    if f"metric.{metric}" not in runs.frame.columns:
        names = [c.removeprefix("metric.") for c in runs.frame.columns if c.startswith("metric.")]
        raise SchemaError(
            f"no column 'metric.{metric}': the metrics are {', '.join(names) or 'none'}; name one with --eval"
        )
    x, y = metric_inputs(runs, kind, question.on), column(runs.frame, f"metric.{metric}")
    measured = np.isfinite(x) & np.isfinite(y)
    curve = downstream.fit(kind, x[measured], y[measured], draws=options.draws, seed=options.seed)
    curve = replace(curve, on=question.on)
    law = {
        "law": f"downstream:kind={kind}",
        "eval": metric,
        "on": question.on,
        "theta": {name: float(value) for name, value in curve.theta.items()},
        "draws": [{name: float(value[i]) for name, value in curve.draws.items()} for i in range(options.draws)],
        "rmse": curve.rmse,
        "rows": int(measured.sum()),
        "explained": curve.explained,
        "misaligned": curve.misaligned,
        "weight": 1.0,
    }
    words = f"{kind}: {in_words(curve.theta)}; rmse {curve.rmse:.4g}, explains {curve.explained:.1%} of the variance"
    if curve.misaligned is not None:
        words += f"\nmisaligned: {curve.misaligned}"
    ends = {name: torch.quantile(values, torch.tensor([0.05, 0.95]).double()) for name, values in curve.draws.items()}
    return FitReport(
        law=str(law["law"]),
        comparison=pl.DataFrame([{name: law[name] for name in ("law", "rmse", "explained", "rows", "misaligned")}]),
        parameter_rows=pl.DataFrame(
            [
                {"param": name, "value": float(value), "low": float(ends[name][0]), "high": float(ends[name][1])}
                for name, value in curve.theta.items()
            ]
        ),
        points=point_table(
            runs.frame["run"].filter(pl.Series(measured)).to_list(),
            kind,
            y[measured],
            curve.metric(torch.from_numpy(x[measured])).numpy(),
        ),
        record={"laws": [law], "eval": metric, "evals": [metric], "rmse": curve.rmse, "rows": law["rows"]},
        shown=(words,),
        predictor=curve,
    )


def from_json(record: Mapping[str, object]) -> MetricCurve:
    """Return the curve of a fit.json's body.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    law = cast(list[Mapping[str, object]], record["laws"])[0]
    theta = cast(Mapping[str, float], law["theta"])
    draws = cast(list[Mapping[str, float]], law["draws"])
    kind = str(open_sets.parse(str(law["law"]))[1]["kind"])
    names = [param.name for param in downstream.KINDS[kind].params]
    return MetricCurve(
        kind=kind,
        theta={name: torch.tensor(theta[name], dtype=torch.float64) for name in names},
        draws={name: torch.tensor([draw[name] for draw in draws], dtype=torch.float64) for name in names},
        rmse=float(cast(float, law["rmse"])),
        explained=float(cast(float, law["explained"])),
        misaligned=cast("str | None", law["misaligned"]),
        on=cast("str | None", law["on"]),
    )
