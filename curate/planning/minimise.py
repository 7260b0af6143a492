"""Minimise functions over regions of the simplex, many problems and starts in one batch.

In: an objective in torch, starts and a `Region`. Out: `Minimum`. `minimize` needs a gradient; `search` does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.planning import scipy_solvers
from curate.planning.regions import Region
from curate.progress import counted

Objective = Callable[[Tensor, Tensor], Tensor]  # points (k, p) and the rows (k,) of the batch they belong to -> (k,)
MEMORY = 8  # a step must improve on the largest of so many past values (non-monotone line search; Grippo et al. 1986)
HALVINGS = 25  # of a step, before the row stays where it is
STALL = 40  # steps without an improvement of 1e-14 of the value after which a row rests
QUADRATIC_STEPS, QUADRATIC_TOLERANCE = 300, 1e-14  # of SLSQP, which finishes what spectral steps leave
ROUNDS = 300  # of the random search
# Longest steps, in units of the gradient's largest component. Points far outside are costly to project where several
# shares are limited together, so steps are shorter there.
LONGEST_STEP, LONGEST_STEP_LINEAR = 1e3, 30.0
STEEP = 1e12  # stands for a slope that is not a finite number, such as that of a root at 0
TINY = 1e-300  # avoids a division by zero


@dataclass(frozen=True)
class Minimum:
    """m minima: ``point`` (m, p), ``value`` (m,) and ``residual`` (m,).

    The residual is |P(w - g) - w|_inf with the projection P and the gradient g scaled to largest component 1. A point
    with residual 0 is stationary: it satisfies the conditions of Karush, Kuhn and Tucker (KKT).
    """

    point: Tensor
    value: Tensor
    residual: Tensor


@dataclass(frozen=True)
class _Iterate:
    """The present points (m, p) of m rows, their values (m,) and gradients (m, p)."""

    point: Tensor
    value: Tensor
    gradient: Tensor

    def take(self, rows: Tensor) -> "_Iterate":
        return _Iterate(self.point[rows], self.value[rows], self.gradient[rows])


def minimize(objective: Objective, start: Tensor, region: Region, *, steps: int = 400, tol: float = 1e-8) -> Minimum:
    """Minimise by spectral projected gradient steps from each row of ``start`` (m, p).

    All rows are treated in one batch. A row rests when its residual is below ``tol``, when it stalls, or after
    ``steps``; only the others are evaluated. A start without a finite value stays where it is, with the value inf.
    Source: Birgin, Martinez and Raydan (2000).
    """
    point, rows = region.project(start), torch.arange(len(start))
    current = _Iterate(point, *evaluate(objective, point, rows))
    best = _Iterate(current.point.clone(), current.value.clone(), current.gradient.clone())
    stalled_steps = torch.zeros(len(start))
    recent_values = current.value[None].repeat(MEMORY, 1)
    step = 0.1 / _size(current.gradient)
    for iteration in counted(range(steps), "steps of the search done, at most", steps):
        rows = rows[stalled_steps[rows] < STALL]
        # Only rows that still move are evaluated: late steps are then cheap.
        regions, iterate = region.take(rows), current.take(rows)
        direction = regions.project(iterate.point - step[rows, None] * iterate.gradient) - iterate.point
        going = _unfinished(iterate, direction, step[rows], regions, tol)
        rows, regions, iterate, direction = rows[going], regions.take(going), iterate.take(going), direction[going]
        if not len(rows):
            break
        new = _line_search(objective, rows, regions, iterate, direction, recent_values[:, rows].amax(dim=0))
        step[rows] = _spectral_step(iterate, new, LONGEST_STEP if regions.rows.shape[1] == 0 else LONGEST_STEP_LINEAR)
        current.point[rows], current.value[rows], current.gradient[rows] = new.point, new.value, new.gradient
        # A ring buffer of the last MEMORY values.
        recent_values[iteration % MEMORY] = current.value
        stalled_steps += 1
        stalled_steps[current.value < best.value - 1e-14 * best.value.abs()] = 0
        # The line search is not monotone, so the present point need not be the best one.
        better = current.value < best.value
        best.point[better], best.gradient[better] = current.point[better], current.gradient[better]
        best.value[better] = current.value[better]
    return Minimum(best.point, best.value, residual(best.point, best.gradient, region))


def _unfinished(iterate: _Iterate, direction: Tensor, step: Tensor, region: Region, tol: float) -> Tensor:
    """Return whether residuals are at least ``tol``, (m,).

    |P(w - t g) - w| grows with t, but more slowly than t. The step that is taken anyway therefore bounds the residual
    on both sides. The residual itself, which needs a projection, is worked out only where the bounds leave it open.
    """
    steps = step * _size(iterate.gradient)  # in the unit in which the residual is measured
    distance = direction.norm(dim=1)
    unfinished: Tensor = distance / steps.clamp_max(1.0) >= tol
    unclear = unfinished & (distance / steps.clamp_min(1.0) < tol * direction.shape[1] ** 0.5)
    if bool(unclear.any()):
        unfinished[unclear] = residual(iterate.point[unclear], iterate.gradient[unclear], region.take(unclear)) >= tol
    return unfinished


def _line_search(
    objective: Objective, rows: Tensor, region: Region, iterate: _Iterate, direction: Tensor, ceiling: Tensor
) -> _Iterate:
    """Halve the step until the value is under ``ceiling`` (m,) by a part of the promised descent, or stay."""
    slope = (iterate.gradient * direction).sum(dim=1)
    length = torch.ones_like(slope)
    # w + (P - w) is not exactly P in floating point, so the end of the step is held within the bounds.
    point = (iterate.point + direction).clamp(region.low, region.high)
    value, gradient = evaluate(objective, point, rows)
    too_long = shortened = (value > ceiling + 1e-4 * slope).nonzero()[:, 0]
    for _ in range(HALVINGS):
        if not len(too_long):
            break
        length[too_long] /= 2
        trial = iterate.point[too_long] + length[too_long, None] * direction[too_long]
        point[too_long] = trial.clamp(region.low[too_long], region.high[too_long])
        value[too_long] = _finite(objective(point[too_long], rows[too_long]).detach())
        too_long = too_long[value[too_long] > (ceiling + 1e-4 * length * slope)[too_long]]
    # Where no length was good enough, the row stays; it will stall and rest.
    stay = value > ceiling
    point[stay] = iterate.point[stay]
    # The trials above computed values alone; shortened rows need gradients at their new points.
    if len(shortened):
        value[shortened], gradient[shortened] = evaluate(objective, point[shortened], rows[shortened])
    return _Iterate(point, value, gradient)


def _spectral_step(iterate: _Iterate, new: _Iterate, longest: float) -> Tensor:
    """Return the (m,) inverse of the curvature along the last step, at most ``longest`` over the gradient's size."""
    moved, turned = new.point - iterate.point, new.gradient - iterate.gradient
    curvature = (moved * turned).sum(dim=1)
    most = longest / _size(new.gradient)
    quotient = (moved**2).sum(dim=1) / curvature.clamp_min(TINY)
    return torch.where(curvature > 0, quotient.minimum(most), most).maximum(most * 1e-12)


def finish(objective: Objective, w: Tensor, region: Region, rows: Tensor) -> Minimum:
    """Improve the points (m, p) at ``rows`` (k,) by scipy's SLSQP, one after the other.

    The values and residuals of all other points are inf. A point that does not get better, or whose solution is not
    finite, stays.
    """
    point, value = w.clone(), torch.full((len(w),), torch.inf, dtype=w.dtype)
    residuals = torch.full_like(value, torch.inf)
    for i in rows.tolist():
        row = torch.tensor([i])
        this_region = region.take(row)
        best = _Iterate(w[i : i + 1], *evaluate(objective, w[i : i + 1], row))
        end = scipy_solvers.slsqp(
            _for_scipy(objective, row), w[i].numpy(), this_region, steps=QUADRATIC_STEPS, tolerance=QUADRATIC_TOLERANCE
        )
        solution = this_region.project(torch.from_numpy(end)[None])
        new = _Iterate(solution, *evaluate(objective, solution, row))
        if bool(torch.isfinite(solution).all()) and float(new.value) < float(best.value):
            best = new
        point[i], value[i] = best.point[0], best.value[0]
        residuals[i] = residual(best.point, best.gradient, this_region)[0]
    return Minimum(point, value, residuals)


def _for_scipy(objective: Objective, row: Tensor) -> scipy_solvers.ValueAndGradient:
    """Return the objective of one row of the batch as a function of numpy arrays."""

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = evaluate(objective, torch.from_numpy(x)[None], row)
        return float(value), gradient[0].numpy()

    return value_and_gradient


def search(objective: Objective, start: Tensor, region: Region, *, rounds: int = ROUNDS, seed: int = 0) -> Minimum:
    """Minimise by random local search from each row of ``start`` (m, p).

    It is for objectives without a gradient, such as boosted trees. Every round moves each row a part of the way to a
    random mixture, or away from it, and keeps what improves. The part shrinks from 1/2 to 1/200. The residual is NaN:
    nothing is certified.
    """
    rng, rows = np.random.default_rng(seed), torch.arange(len(start))
    w = region.project(start)
    value = _finite(objective(w, rows).detach())
    for share in np.geomspace(0.5, 0.005, rounds):
        other = torch.from_numpy(rng.dirichlet(np.full(w.shape[1], 0.5), size=len(w)))
        # Some moves lead away from the random mixture, which reaches the edges of the simplex.
        sign = torch.from_numpy(rng.choice([1.0, -1.0], size=(len(w), 1), p=[0.7, 0.3]))
        trial = region.project(w + sign * float(share) * (other - w))
        new = _finite(objective(trial, rows).detach())
        better = new < value
        w, value = torch.where(better[:, None], trial, w), torch.where(better, new, value)
    return Minimum(w, value, torch.full_like(value, torch.nan))


def gap(objective: Objective, w: Tensor, region: Region) -> Tensor:
    """Return the Frank-Wolfe gaps (m,) at points (m, p): the largest gradient . (w - z) over z in the region.

    If the objective is convex, no point of the region is better by more than its gap (Jaggi 2013). The unit is that of
    the objective.
    """
    _, gradient = evaluate(objective, w, torch.arange(len(w)))
    lowest = (gradient * _cheapest_corners(gradient, region)).sum(dim=1)
    # Where shares are limited together, the best corner needs a linear programme.
    for i in range(len(w)) if region.rows.shape[1] else ():
        lowest[i] = _lowest_cost(gradient[i].numpy(), region.take(torch.tensor([i])))
    return ((gradient * w).sum(dim=1) - lowest).clamp_min(0.0)


def _cheapest_corners(cost: Tensor, region: Region) -> Tensor:
    """Return the mixtures (m, p) between the bounds with the least ``cost`` (m, p) . w: cheap shares are full."""
    order = cost.argsort(dim=1)
    room = (region.high - region.low).gather(1, order)
    before = room.cumsum(dim=1) - room
    filled = (1 - region.low.sum(dim=1, keepdim=True) - before).clamp_min(0.0).minimum(room)
    return region.low.scatter_add(1, order, filled)


def _lowest_cost(cost: np.ndarray, region: Region) -> float:
    """Return the least ``cost`` (p,) . w over one region. Costs are scaled to size 1, for the solver."""
    size = max(float(np.abs(cost).max()), TINY)
    return size * float(scipy_solvers.linear_minimum(cost / size, region).fun)


def residual(w: Tensor, gradient: Tensor, region: Region) -> Tensor:
    """Return the KKT residuals (m,) of points (m, p) with gradients (m, p); see `Minimum`."""
    scaled = gradient / _size(gradient)[:, None]
    return (region.project(w - scaled) - w).abs().amax(dim=1)


def _size(gradient: Tensor) -> Tensor:
    """Return the (m,) largest component in size, never 0."""
    return gradient.abs().amax(dim=1).clamp_min(TINY)


def _finite(value: Tensor) -> Tensor:
    """Return values with inf in place of NaN, so that such a point is never the best."""
    return torch.where(torch.isfinite(value), value, torch.inf)


def evaluate(objective: Objective, w: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return values (m,) and gradients (m, p) at points (m, p); the gradients are 0 if no law reads the mixture."""
    point = w.detach().requires_grad_(True)
    value = objective(point, rows)
    if not value.requires_grad:  # a law that does not depend on the mixture
        return _finite(value), torch.zeros_like(w)
    (gradient,) = torch.autograd.grad(value.sum(), point)
    return _finite(value.detach()), torch.nan_to_num(gradient, posinf=STEEP, neginf=-STEEP)
