"""Say how far the curve of a downstream metric holds: beyond the fitted runs, and whether the metric follows it."""

from itertools import pairwise

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from curate.fitting.curves.downstream import metric_values
from curate.fitting.curves.metric_curve import MetricCurve, position
from curate.fitting.curves.metric_points import MetricPoints
from curate.fitting.curves.metric_solver import MetricSolution, best_solution
from curate.fitting.curves.standardised_form import size

FOLLOWS = 0.5  # share of the variance: a curve that explains less gets a note that the metric does not follow its input
TAILS = (0.05, 0.95)  # quantiles of the draws that bound a 90 % interval
# Shares of the rows, in order of falling loss. The rows between two cuts are predicted from all rows before them.
CUTS = (0.6, 0.8, 1.0)


def drift(points: MetricPoints, best: MetricSolution, weights: Tensor) -> float:
    """Return the drift: how fast the scatter around the curve grows outside the fitted x (see `MetricCurve`).

    The rows with the lowest losses (or the most tokens or compute) are held out, and predicted from the others.
    """
    rows = points.measured
    x, metric = torch.from_numpy(points.x[rows]), torch.from_numpy(points.metric[rows])
    place = position(points.kind, weights, x)
    beyond = place if points.kind == "error" else -place
    cuts = torch.quantile(beyond, 1 - torch.tensor(CUTS, dtype=torch.float64))
    drifts = []
    for start, end in pairwise(cuts):
        train, test = beyond > start, (beyond <= start) & (beyond >= end)
        distance = float((beyond[train].min() - beyond[test]).sum()) if bool(train.any()) else 0.0
        if int(train.sum()) <= size(points.kind, x.shape[1]) or distance <= 0:
            continue
        theta = best_solution(best.form, x[train], metric[train], best.point[None]).theta
        residual = metric_values(points.kind, theta, x[test]) - metric[test]
        drifts.append(max(float((residual**2 - best.noise**2).sum()), 0.0) / distance)
    if not drifts:
        # There are too few rows to hold some out. Assume that the metric varies as much outside the runs as inside.
        return float(metric.std() / (place.max() - place.min()).sqrt())
    # Errors of neighbouring runs are correlated, so each cut gives about one independent error. Take the largest.
    return float(np.sqrt(max(drifts)))


def flat(curve: MetricCurve, x: Tensor) -> str | None:
    """Return the reason if the runs do not determine how the metric changes with x, else None."""
    values = curve.metric(x)
    ends = x[torch.stack([values.argmin(), values.argmax()])]
    drawn = curve.draw_metrics(ends)
    low, high = torch.quantile(drawn[:, 1] - drawn[:, 0], torch.tensor(TAILS, dtype=torch.float64)).tolist()
    if low > 0:
        return None
    change = float(values.max() - values.min())
    return (
        f"the runs do not determine how metric.{curve.name} depends on {curve.x}: over the range of the runs the curve "
        f"changes by {change:.3g} (90 % interval {low:.3g} to {high:.3g}), and the noise of a run is {curve.noise:.3g}"
    )


def misaligned(curve: MetricCurve, x: Tensor, metric: Tensor) -> str | None:
    """Return why the data do not seem to serve the task, or None."""
    if curve.kind != "error":
        trend = float(spearmanr(x[:, 0].numpy(), metric.numpy()).statistic)
        if trend < 0:  # translation quality rises with tokens, accuracy with compute
            return (
                f"the metric falls with {curve.x} (rank correlation {trend:.2f}): the data do not seem to serve this "
                "task"
            )
    if curve.flat is None and curve.explained < FOLLOWS:
        return (
            f"the curve explains only {curve.explained:.0%} of the variance of metric.{curve.name}: the metric depends "
            f"mostly on other things than {curve.x}"
        )
    return None
