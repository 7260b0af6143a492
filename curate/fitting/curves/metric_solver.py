"""Solve for the curve of a downstream metric: least squares with weak priors, and refits of resampled trainings."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.fitting.curves.downstream import metric_values
from curate.fitting.curves.standardised_form import StandardisedForm, Theta, forms_of
from curate.fitting.solver import least_squares

STARTS = 8  # of a curve: it has one minimum in nearly all tables
# A bootstrap refit starts at the solution, so it needs few steps. Draws differ by much more than this tolerance.
DRAW_TOL, DRAW_STEPS = 1e-5, 60
PLAIN = 1e9  # Huber's delta, larger than any residual of a metric, so that the fit is ordinary least squares
# The noise decides how strongly the priors pull. It is in standard deviations of the metric: the first value and the
# smallest. It is estimated again from the residuals, at most ROUNDS times, until it changes by less than SETTLED.
FIRST_NOISE, SMALLEST_NOISE, SETTLED, ROUNDS = 0.1, 1e-6, 0.05, 20


@dataclass(frozen=True)
class MetricSolution:
    """The best solution of one form: coordinates (k,), parameters, sum of squared residuals, and noise."""

    form: StandardisedForm
    point: Tensor
    theta: Theta
    squares: float
    noise: float


def solve(kind: str, x: Tensor, metric: Tensor, counts: Tensor, seed: int) -> tuple[MetricSolution, Theta]:
    """Return the best solution, and the parameters of a refit for each row of ``counts`` (b, n)."""
    forms = forms_of(kind, x, metric)
    solutions = [best_solution(form, x, metric, form.coordinates.starts(STARTS, seed)) for form in forms]
    best = min(solutions, key=lambda solution: solution.squares)
    refits = [_refits(solution, x, metric, counts, best.noise, seed) for solution in solutions]
    # A resample may fit the other direction better. Draws of both signs then show that the direction is unknown.
    choice = torch.stack([objective for _, objective in refits]).argmin(dim=0)
    each = torch.arange(len(counts))
    thetas = [theta for theta, _ in refits]
    return best, {name: torch.stack([theta[name] for theta in thetas])[choice, each] for name in best.theta}


def best_solution(form: StandardisedForm, x: Tensor, metric: Tensor, point: Tensor) -> MetricSolution:
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
        squares = float(((metric_values(form.kind, theta, x) - metric) ** 2).sum())
        previous, noise = noise, max((squares / free) ** 0.5, floor)
        if abs(noise - previous) <= SETTLED * previous:
            break
    return MetricSolution(form, point[0], theta, squares, noise)


def _refits(
    solution: MetricSolution, x: Tensor, metric: Tensor, counts: Tensor, noise: float, seed: int
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
    form: StandardisedForm,
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
