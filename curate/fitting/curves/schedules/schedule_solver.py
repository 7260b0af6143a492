"""Fit a law of schedules, `annealing` or `multi_power`, to the loss curves of one model.

The curves share one floor and all other parameters. Bootstrap draws refit the curves with their residuals moved in
blocks. Curves that are left out of the fit show how far the law itself errs.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from curate.errors import FitError
from curate.fitting.curves.schedules.rate_schedule import Curve
from curate.fitting.curves.schedules.schedule_fit import ScheduleFit
from curate.fitting.curves.schedules.schedule_laws import LAWS
from curate.fitting.curves.schedules.schedule_points import SMALLEST_NOISE, SchedulePoints

MOST_ROWS = 200  # of one curve in a fit. Neighbouring losses are not independent, so that more rows tell little more
TAIL = 0.3  # share of the steps of a lone curve that is held out


def fit(
    law: str,
    curves: Sequence[Curve],
    *,
    evaluation: str = "loss",
    params: float | None = None,
    draws: int = 200,
    seed: int = 0,
) -> ScheduleFit:
    """Fit a law of `LAWS` to the curves of one model by Huber's loss on log loss.

    At most 200 rows of each curve are used, evenly spaced.

    Raises:
        FitError: if there are fewer losses than parameters and one more.
    """
    needed = len(LAWS[law].parameters) + 1
    if (losses := sum(len(curve.loss) for curve in curves)) < needed:
        raise FitError(
            f"{losses} losses after warming up cannot determine the {needed - 1} parameters of {law}. Give at least "
            f"{needed} steps"
        )
    thinned = [_thinned(curve) for curve in curves]
    points = SchedulePoints.of(law, thinned)
    theta = points.solve()
    residuals = points.residuals(theta)
    degrees = max(1, len(residuals) - needed + 1)
    noise = float(np.sqrt((residuals**2).sum() / degrees))
    drawn = points.redraw(theta, residuals, draws, seed)
    measures = [curve.schedule.measures() for curve in curves]
    return ScheduleFit(
        law=law,
        eval=evaluation,
        theta=dict(zip(LAWS[law].parameters, theta.exp().tolist(), strict=True)),
        draws=dict(zip(LAWS[law].parameters, drawn.exp().T, strict=True)),
        noise=noise,
        heldout=_heldout(law, thinned, theta, noise),
        curves=len(curves),
        ranges={name: (min(m[name] for m in measures), max(m[name] for m in measures)) for name in measures[0]},
        params=params,
    )


def _heldout(law: str, curves: Sequence[Curve], theta: Tensor, noise: float) -> float:
    """Return the root mean square error of log loss on held-out rows.

    Each curve is held out in turn; of a lone curve, its last part is.
    """
    pairs = []
    if len(curves) > 1:
        pairs = [([c for c in curves if c is not left_out], left_out) for left_out in curves]
    else:
        last = int(len(curves[0].loss) * (1 - TAIL))
        rows = np.arange(len(curves[0].loss))
        pairs = [([curves[0].take(rows[:last])], curves[0].take(rows[last:]))]
    errors = []
    for kept, left_out in pairs:
        if sum(len(curve.loss) for curve in kept) <= len(theta) or not len(left_out.loss):
            continue
        points = SchedulePoints.of(law, kept)
        solution = points.solve_from(theta, points.starts[0], max(noise, SMALLEST_NOISE))
        errors.append(float((SchedulePoints.of(law, [left_out]).residuals(solution) ** 2).mean()))
    return float(np.sqrt(np.mean(errors))) if errors else noise


def _thinned(curve: Curve) -> Curve:
    """Return at most MOST_ROWS rows of a curve, evenly spaced in its rows."""
    n = len(curve.loss)
    return curve if n <= MOST_ROWS else curve.take(np.linspace(0, n - 1, MOST_ROWS).round().astype(int))
