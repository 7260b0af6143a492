"""Fit the curve of a downstream metric: least squares with weak priors, and a bootstrap over trainings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from curate.errors import FitError
from curate.fitting.curves import metric_columns
from curate.fitting.curves.downstream import KINDS
from curate.fitting.curves.metric_curve import MetricCurve, position
from curate.fitting.solver import least_squares
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.redraws import resample
from curate.laws import Param

STARTS = 8  # of a curve: it has one minimum in nearly all tables
# A bootstrap refit starts at the solution, so it needs few steps. Draws differ by much more than this tolerance.
DRAW_TOL, DRAW_STEPS = 1e-5, 60
FOLLOWS = 0.5  # share of the variance: a curve that explains less gets a note that the metric does not follow its input
PLAIN = 1e9  # Huber's delta, larger than any residual of a metric, so that the fit is ordinary least squares
# The noise decides how strongly the priors pull. It is in standard deviations of the metric: the first value and the
# smallest. It is estimated again from the residuals, at most ROUNDS times, until it changes by less than SETTLED.
FIRST_NOISE, SMALLEST_NOISE, SETTLED, ROUNDS = 0.1, 1e-6, 0.05, 20
TAILS = (0.05, 0.95)  # quantiles of the draws that bound a 90 % interval
# Shares of the rows, in order of falling loss. The rows between two cuts are predicted from all rows before them.
CUTS = (0.6, 0.8, 1.0)

# ``likely`` spans the published constants and about a factor of two beyond. The metric is standardised before the fit
# (see `_Form`), so its unit does not matter.
LOSS_PARAMS = (
    Param("eps", -100.0, 100.0, likely=(-2.0, 4.0), positive=False),
    Param("size", 1e-4, 1e4, likely=(0.3, 3.0)),
)
GAMMA = Param("gamma", 1e-3, 20.0, likely=(0.4, 1.4), per_pool=True)
TYPICAL_GAMMA = 0.75  # the median of the published values
OTHER_PARAMS: Mapping[str, tuple[Param, ...]] = {
    "translation": (
        Param("A", 1e-12, 1e12, likely=(1e-3, 1e3)),
        Param("alpha", 0.01, 20.0, likely=(0.3, 3.0)),
        Param("beta", 0.05, 10.0, likely=(0.5, 2.0)),
    ),
    "accuracy": (
        Param("g", 1e-3, 0.9, likely=(0.02, 0.4)),
        Param("a", 1e-3, 1e3, likely=(0.1, 10.0)),
        Param("b", 0.05, 3.0, likely=(0.2, 1.0)),
        Param("c", 1e-4, 5.0, likely=(0.02, 0.5)),
    ),
}

Theta = dict[str, Tensor]


@dataclass(frozen=True)
class MetricPoints:
    """The n points that a curve is fitted to: ``x`` (n, e), ``metric`` (n,) and codes of trainings ``clusters`` (n,).

    NaN stands for what was not measured. ``on`` are the e evals of x, empty if x is tokens or FLOPs.
    """

    name: str
    kind: str
    on: tuple[str, ...]
    x: np.ndarray
    metric: np.ndarray
    clusters: np.ndarray

    @cached_property
    def measured(self) -> np.ndarray:
        """(n,) bool: the rows that have both x and the metric."""
        return np.asarray(np.isfinite(self.x).all(axis=1) & np.isfinite(self.metric))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of x: the evals, or ``tokens`` or ``flops``."""
        return self.on or (KINDS[self.kind].x,)

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the columns of x as a run table has them."""
        return tuple(f"loss.{name}" for name in self.on) or self.columns


def fit(points: MetricPoints, *, draws: int = 200, seed: int = 0) -> MetricCurve:
    """Fit a curve by least squares, with ``draws`` bootstrap refits over trainings.

    With the same seed, the bootstrap draws the same trainings here as in the fit of a law. So draw i of the curve and
    draw i of the law belong together.

    Raises:
        FitError: if there are not more points than parameters, or x does not vary.
    """
    _check(points)
    rows = torch.from_numpy(points.measured)
    x, metric = torch.from_numpy(points.x)[rows], torch.from_numpy(points.metric)[rows]
    counts = resample(points.clusters, draws, seed)[:, rows]
    best, drawn = _solve(points.kind, x, metric, counts, seed)
    residual = _values(points.kind, best.theta, x) - metric
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
        drift=_drift(points, best, curve.weights[0]),
        flat=_flat(curve, x),
    )
    bounds = metric_columns.bounds(points.name, metric.numpy())
    return replace(curve, misaligned=_misaligned(curve, x, metric), bounds=bounds)


def _check(points: MetricPoints) -> None:
    """Check that the rows can determine a curve; raise FitError if not."""
    n, k = int(points.measured.sum()), _size(points.kind, points.x.shape[1])
    what = f"metric.{points.name} and {' and '.join(points.titles)}"
    if n <= k:
        raise FitError(
            f"only {n} rows have {what}: too few for a curve of {k} parameters. Give at least {k + 1} such rows"
        )
    x, metric = points.x[points.measured], points.metric[points.measured]
    if np.ptp(metric) == 0:
        raise FitError(
            f"metric.{points.name} is {metric[0]:.4g} in all {n} rows: there is nothing to predict. Leave it out"
        )
    for title, column in zip(points.titles, x.T, strict=True):
        if np.ptp(column) == 0:
            raise FitError(
                f"all {n} rows with metric.{points.name} have the same {title}, {column[0]:.4g}, so no curve over it "
                "can be fitted. Give runs that differ in it"
            )
    if points.kind != "error" and (x <= 0).any():
        raise FitError(f"{points.titles[0]} must be positive in every row that has metric.{points.name}")
    if points.kind == "accuracy" and (metric.min() < 0 or metric.max() > 1):
        raise FitError(
            f"kind=accuracy needs values from 0 to 1, but metric.{points.name} goes from {metric.min():.4g} to "
            f"{metric.max():.4g}. Divide percentages by 100"
        )


@dataclass(frozen=True)
class _Form:
    """A form of curve, written in standardised parameters for the solver.

    A curve of losses is y = middle + unit (sign eps - sign size exp(-gamma (L - centre))). Written like this, the
    parameters are nearly independent of each other and do not depend on the unit of the metric. ``sign`` is 1 for an
    error and -1 for an accuracy. ``centre`` (e,) are the mean losses of the runs.
    """

    kind: str
    sign: float
    middle: float
    unit: float
    centre: Tensor

    @cached_property
    def coordinates(self) -> Coordinates:
        """The coordinates of the parameters in which the solver works."""
        evals = len(self.centre)
        if self.kind != "error":
            return Coordinates(OTHER_PARAMS[self.kind], 0)
        # With e losses each prior is divided by e, so that the gammas sum to what one gamma would be.
        low, high = GAMMA.likely
        return Coordinates((*LOSS_PARAMS, replace(GAMMA, likely=(low / evals, high / evals))), evals)

    def theta(self, u: Tensor) -> Theta:
        """Return the parameters of the published form at coordinates ``u`` (k,)."""
        theta = self.coordinates.theta(u)
        if self.kind != "error":
            return theta
        gamma, signed = theta["gamma"], self.sign * self.unit
        k = signed * theta["size"] * torch.exp((gamma * self.centre).sum())
        return {"eps": self.middle + signed * theta["eps"], "k": k, "gamma": gamma}

    def predict(self, u: Tensor, row: least_squares.Rows) -> Tensor:
        """Return the metric at one row of x (e,), for coordinates ``u`` (k,)."""
        if self.kind != "error":
            return KINDS[self.kind].function(self.coordinates.theta(u), row[0][0])
        theta = self.coordinates.theta(u)
        fall = torch.exp(-(theta["gamma"] * (row[0] - self.centre)).sum())
        return self.middle + self.sign * self.unit * (theta["eps"] - theta["size"] * fall)


@dataclass(frozen=True)
class _Best:
    """The best solution of one form: coordinates (k,), parameters, sum of squared residuals, and noise."""

    form: _Form
    point: Tensor
    theta: Theta
    squares: float
    noise: float


def _forms(kind: str, x: Tensor, metric: Tensor) -> tuple[_Form, ...]:
    if kind != "error":
        return (_Form(kind, 1.0, 0.0, 1.0, x.mean(dim=0)),)
    # The size of the exponential at which the curve has a typical slope over the range of the mean loss.
    spread = metric.std() / (TYPICAL_GAMMA * x.mean(dim=1).std()).clamp_min(1e-12)
    unit = max(float(spread), 1e-12)
    # The slope decides between an error and an accuracy: both are fitted.
    return tuple(_Form(kind, sign, float(metric.mean()), unit, x.mean(dim=0)) for sign in (1.0, -1.0))


def _solve(kind: str, x: Tensor, metric: Tensor, counts: Tensor, seed: int) -> tuple[_Best, Theta]:
    """Return the best solution, and the parameters of a refit for each row of ``counts`` (b, n)."""
    forms = _forms(kind, x, metric)
    solutions = [_best(form, x, metric, form.coordinates.starts(STARTS, seed)) for form in forms]
    best = min(solutions, key=lambda solution: solution.squares)
    refits = [_refits(solution, x, metric, counts, best.noise, seed) for solution in solutions]
    # A resample may fit the other direction better. Draws of both signs then show that the direction is unknown.
    choice = torch.stack([objective for _, objective in refits]).argmin(dim=0)
    each = torch.arange(len(counts))
    thetas = [theta for theta, _ in refits]
    return best, {name: torch.stack([theta[name] for theta in thetas])[choice, each] for name in best.theta}


def _best(form: _Form, x: Tensor, metric: Tensor, point: Tensor) -> _Best:
    """Return the best solution from the starts ``point`` (s, k), with the noise estimated from its residuals."""
    deviation = float(metric.std())
    floor = max(SMALLEST_NOISE * deviation, 1e-12)
    noise = max(FIRST_NOISE * deviation, floor)
    free = len(metric) - form.coordinates.size
    ones = torch.ones(1, len(metric), dtype=torch.float64)
    centre = form.coordinates.prior()[0]
    for _ in range(ROUNDS):
        point = _minimise(form, x, metric, point, ones, noise, centre).best[None]
        theta = form.theta(point[0])
        squares = float(((_values(form.kind, theta, x) - metric) ** 2).sum())
        previous, noise = noise, max((squares / free) ** 0.5, floor)
        if abs(noise - previous) <= SETTLED * previous:
            break
    return _Best(form, point[0], theta, squares, noise)


def _refits(
    solution: _Best, x: Tensor, metric: Tensor, counts: Tensor, noise: float, seed: int
) -> tuple[Theta, Tensor]:
    """Return the parameters and objectives (b,) of b refits. ``counts`` (b, n) is how often each row counts."""
    form, b = solution.form, len(counts)
    middle, width = form.coordinates.prior()
    # Prior centres vary as widely as the prior, so that parameters that the rows leave open do too.
    shifts = torch.from_numpy(np.random.default_rng(seed).standard_normal((b, form.coordinates.size)))
    start = solution.point.expand(b, -1)
    centres = middle + width * shifts
    solved = _minimise(form, x, metric, start, counts, noise, centres, tol=DRAW_TOL, steps=DRAW_STEPS)
    return torch.func.vmap(form.theta)(solved.point), solved.objective


def _minimise(
    form: _Form,
    x: Tensor,
    metric: Tensor,
    start: Tensor,
    weights: Tensor,
    noise: float,
    centre: Tensor,
    *,
    tol: float = 1e-8,
    steps: int = 40,
) -> least_squares.LeastSquaresSolution:
    """Solve b problems from ``start`` (b, k) with ``weights`` (b or 1, n) and prior centres (b, k) or (k,)."""
    b, width = len(start), form.coordinates.prior()[1]
    problems = least_squares.LeastSquaresProblems(
        start=start,
        target=metric.expand(b, -1),
        weights=weights.expand(b, -1),
        delta=torch.full((b,), PLAIN * max(1.0, float(metric.abs().max())), dtype=torch.float64),
        centre=centre.expand(b, -1),
        precision=((noise / width) ** 2).expand(b, -1),
    )
    return least_squares.least_squares(form.predict, (x,), problems, tol=tol, steps=steps)


def _values(kind: str, theta: Theta, x: Tensor) -> Tensor:
    return KINDS[kind].function(theta, x if kind == "error" else x[:, 0])


def _drift(points: MetricPoints, best: _Best, weights: Tensor) -> float:
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
        if int(train.sum()) <= _size(points.kind, x.shape[1]) or distance <= 0:
            continue
        theta = _best(best.form, x[train], metric[train], best.point[None]).theta
        residual = _values(points.kind, theta, x[test]) - metric[test]
        drifts.append(max(float((residual**2 - best.noise**2).sum()), 0.0) / distance)
    if not drifts:
        # There are too few rows to hold some out. Assume that the metric varies as much outside the runs as inside.
        return float(metric.std() / (place.max() - place.min()).sqrt())
    # Errors of neighbouring runs are correlated, so each cut gives about one independent error. Take the largest.
    return float(np.sqrt(max(drifts)))


def _size(kind: str, evals: int) -> int:
    """Return the number of parameters of a curve."""
    return len(LOSS_PARAMS) + evals if kind == "error" else len(OTHER_PARAMS[kind])


def _flat(curve: MetricCurve, x: Tensor) -> str | None:
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


def _misaligned(curve: MetricCurve, x: Tensor, metric: Tensor) -> str | None:
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
