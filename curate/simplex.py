"""Minimisation over regions of the simplex: many problems and starts in one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from curate.regions import Region

Objective = Callable[[Tensor, Tensor], Tensor]  # points (k, p) and the rows (k,) of the batch they belong to -> (k,)
MEMORY = 8  # accepted values a step may fall short of (non-monotone line search; Grippo et al. 1986)
HALVINGS = 25
STALL = 40  # steps without an improvement of 1e-14 of the value after which a row rests
QUADRATIC = 300  # steps of sequential quadratic programming
ROUNDS = 300  # of the random search


@dataclass(frozen=True)
class Minimum:
    """m minima: ``point`` (m, p), ``value`` (m,), ``residual`` (m,): |P(w - g) - w|_inf with g scaled to unit
    largest component; 0 certifies a stationary (KKT) point."""

    point: Tensor
    value: Tensor
    residual: Tensor


def minimize(objective: Objective, start: Tensor, region: Region, *, steps: int = 400, tol: float = 1e-8) -> Minimum:
    """Spectral projected gradient (Birgin, Martinez, Raydan 2000) from each row of ``start`` (m, p), batched.

    A row rests when its residual is below ``tol``, when it stalls, or after ``steps``; only the others are evaluated.
    """
    w = region.project(start)
    value, gradient = _evaluate(objective, w, torch.arange(len(w)))
    best, best_value, best_gradient, since = w.clone(), value.clone(), gradient.clone(), torch.zeros(len(w))
    recent = value[None].repeat(MEMORY, 1)
    step = 0.1 / gradient.abs().amax(dim=1).clamp_min(1e-300)
    for iteration in range(steps):
        rows = ((residual(w, gradient, region) >= tol) & (since < STALL)).nonzero()[:, 0]
        if not len(rows):
            break
        at, here, slope_here = region.take(rows), w[rows], gradient[rows]
        direction = at.project(here - step[rows, None] * slope_here) - here
        new_w, new_value = _line(objective, rows, at, here, direction, slope_here, recent[:, rows].amax(dim=0))
        new_value, new_gradient = _evaluate(objective, new_w, rows)
        step[rows] = _spectral(new_w - here, new_gradient - slope_here, new_gradient)
        w[rows], value[rows], gradient[rows] = new_w, new_value, new_gradient
        recent[iteration % MEMORY] = value
        since += 1
        since[value < best_value - 1e-14 * best_value.abs()] = 0
        improved = value < best_value
        best[improved], best_gradient[improved] = w[improved], gradient[improved]
        best_value = torch.minimum(best_value, value)
    return Minimum(best, best_value, residual(best, best_gradient, region))


def _line(
    objective: Objective, rows: Tensor, at: Region, w: Tensor, direction: Tensor, gradient: Tensor, limit: Tensor
) -> tuple[Tensor, Tensor]:
    """Halve the step until it is under the largest of the recent values by the promised descent, or stay."""
    slope = (gradient * direction).sum(dim=1)
    length = torch.ones_like(slope)
    trial = (w + direction).clamp(at.low, at.high)  # w + (P - w) is not P in floating point
    new = torch.nan_to_num(objective(trial, rows).detach(), nan=torch.inf)
    for _ in range(HALVINGS):
        short = (new > limit + 1e-4 * length * slope).nonzero()[:, 0]
        if not len(short):
            break
        length[short] = length[short] / 2
        trial[short] = (w + length[:, None] * direction)[short].clamp(at.low[short], at.high[short])
        new[short] = torch.nan_to_num(objective(trial[short], rows[short]).detach(), nan=torch.inf)
    return torch.where((new <= limit)[:, None], trial, w), new


def _spectral(moved: Tensor, turned: Tensor, gradient: Tensor) -> Tensor:
    curvature = (moved * turned).sum(dim=1)
    longest = 1e3 / gradient.abs().amax(dim=1).clamp_min(1e-300)
    quotient = (moved**2).sum(dim=1) / curvature.clamp_min(1e-300)
    return torch.where(curvature > 0, quotient.minimum(longest), longest).clamp_min(1e-12)


def finish(objective: Objective, w: Tensor, region: Region, rows: Tensor) -> Minimum:
    """Sequential quadratic programming (scipy's SLSQP) from points (m, p), one after the other, for ``rows`` (k,) only.

    A point that does not get better, or leaves its region by more than rounding, stays.
    """
    point, value = w.clone(), torch.full((len(w),), torch.inf, dtype=w.dtype)
    gradient = torch.zeros_like(w)
    for i in rows.tolist():
        at, one = region.take(torch.tensor([i])), torch.tensor([i])
        value[i], gradient[i] = (x[0] for x in _evaluate(objective, w[i : i + 1], one))
        new = at.project(torch.from_numpy(_slsqp(objective, w[i], at, one))[None])
        new_value, new_gradient = _evaluate(objective, new, one)
        if float(new_value) < float(value[i]):
            point[i], value[i], gradient[i] = new[0], new_value[0], new_gradient[0]
    return Minimum(point, value, residual(point, gradient, region))


def _slsqp(objective: Objective, w: Tensor, at: Region, row: Tensor) -> np.ndarray:
    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        found, slope = _evaluate(objective, torch.from_numpy(x)[None], row)
        return float(torch.nan_to_num(found, nan=torch.inf)), slope[0].numpy()

    a, b = at.rows[0].numpy(), at.limits[0].numpy()
    limits = [{"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like}]
    if len(a):
        limits.append({"type": "ineq", "fun": lambda x: b - a @ x, "jac": lambda _: -a})
    bounds = np.stack([at.low[0].numpy(), at.high[0].numpy()], axis=1)
    options = {"maxiter": QUADRATIC, "ftol": 1e-14}
    found = optimize.minimize(
        value, w.numpy(), jac=True, bounds=bounds, constraints=limits, method="SLSQP", options=options
    )
    return np.asarray(found.x)


def search(objective: Objective, start: Tensor, region: Region, *, rounds: int = ROUNDS, seed: int = 0) -> Minimum:
    """Random local search from each row of ``start`` (m, p), for objectives without a gradient, such as trees.

    Round r moves every row a share of the way, 1/2 shrinking to 1/200, to a random mixture, or away from it, and keeps
    what improves. The residual is NaN: nothing is certified.
    """
    rng, rows = np.random.default_rng(seed), torch.arange(len(start))
    w = region.project(start)
    value = torch.nan_to_num(objective(w, rows).detach(), nan=torch.inf)
    for share in np.geomspace(0.5, 0.005, rounds):
        other = torch.from_numpy(rng.dirichlet(np.full(w.shape[1], 0.5), size=len(w)))
        sign = torch.from_numpy(rng.choice([1.0, -1.0], size=(len(w), 1), p=[0.7, 0.3]))
        trial = region.project(w + sign * float(share) * (other - w))
        new = torch.nan_to_num(objective(trial, rows).detach(), nan=torch.inf)
        better = new < value
        w, value = torch.where(better[:, None], trial, w), torch.where(better, new, value)
    return Minimum(w, value, torch.full_like(value, torch.nan))


def gap(objective: Objective, w: Tensor, region: Region) -> Tensor:
    """(m,) Frank-Wolfe duality gap max over the region of gradient . (w - z), in units of the objective.

    For a convex objective no point of the region is better by more (Jaggi 2013).
    """
    _, gradient = _evaluate(objective, w, torch.arange(len(w)))
    found = []
    for i, slope in enumerate(gradient.numpy()):
        bounds = np.stack([region.low[i].numpy(), region.high[i].numpy()], axis=1)
        limits = {"A_ub": region.rows[i].numpy(), "b_ub": region.limits[i].numpy() + 1e-12}
        least = optimize.linprog(
            slope, A_eq=np.ones((1, len(slope))), b_eq=[1.0], bounds=bounds, method="highs", **limits
        )
        found.append(max(0.0, float(slope @ w[i].numpy() - least.fun)))
    return torch.tensor(found, dtype=w.dtype)


def residual(w: Tensor, gradient: Tensor, region: Region) -> Tensor:
    """(m,) KKT residual of points (m, p) with gradients (m, p); see ``Minimum``."""
    scaled = gradient / gradient.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
    return (region.project(w - scaled) - w).abs().amax(dim=1)


def _evaluate(objective: Objective, w: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    here = w.detach().requires_grad_(True)
    value = objective(here, rows)
    if not value.requires_grad:  # a law that does not see the mixture
        return value, torch.zeros_like(w)
    (gradient,) = torch.autograd.grad(value.sum(), here)
    return value.detach(), torch.nan_to_num(gradient)
