"""Fit the curve of one downstream metric to points, with a bootstrap over trainings."""

from dataclasses import replace

import torch

from curate.fitting.curves import metric_columns, metric_points, metric_reach, metric_solver
from curate.fitting.curves.downstream import metric_values
from curate.fitting.curves.metric_curve import MetricCurve
from curate.fitting.curves.metric_points import MetricPoints
from curate.fitting.solver.redraws import resample


def fit(points: MetricPoints, *, draws: int = 200, seed: int = 0) -> MetricCurve:
    """Fit a curve by least squares, with ``draws`` bootstrap refits over trainings.

    With the same seed, the bootstrap draws the same trainings here as in the fit of a law. So draw i of the curve and
    draw i of the law belong together.

    Raises:
        FitError: if there are not more points than parameters, or x does not vary.
    """
    metric_points.check(points)
    rows = torch.from_numpy(points.measured)
    x, metric = torch.from_numpy(points.x)[rows], torch.from_numpy(points.metric)[rows]
    counts = resample(points.clusters, draws, seed)[:, rows]
    best, drawn = metric_solver.solve(points.kind, x, metric, counts, seed)
    residual = metric_values(points.kind, best.theta, x) - metric
    curve = MetricCurve(
        name=points.name,
        kind=points.kind,
        on=points.on,
        theta=best.theta,
        draws=drawn,
        rmse=float((residual**2).mean().sqrt()),
        noise=best.noise,
        explained=1 - float((residual**2).sum() / ((metric - metric.mean()) ** 2).sum().clamp_min(1e-300)),
        rows=len(metric),
        ranges={name: (float(c.min()), float(c.max())) for name, c in zip(points.columns, x.T, strict=True)},
    )
    place = curve.position(x)
    curve = replace(
        curve,
        reach=(float(place.min()), float(place.max())),
        drift=metric_reach.drift(points, best, curve.weights[0]),
        flat=metric_reach.flat(curve, x),
    )
    bounds = metric_columns.bounds(points.name, metric.numpy())
    return replace(curve, misaligned=metric_reach.misaligned(curve, x, metric), bounds=bounds)
