"""Minimisation over regions of the simplex: many problems and starts in one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from curate.planning.regions import Region

Objective = Callable[[Tensor, Tensor], Tensor]  # points (k, p) and the rows (k,) of the batch they belong to -> (k,)
MEMORY = 8  # accepted values a step may fall short of (non-monotone line search; Grippo et al. 1986)
HALVINGS = 25
STALL = 40  # steps without an improvement of 1e-14 of the value after which a row rests
QUADRATIC = 300  # steps of sequential quadratic programming
ROUNDS = 300  # of the random search
LONGEST, LONG = (
    1e3,
    30.0,
)  # steps in units of the gradient's largest component; where shares are limited together, where
# points far off are dear to project
STEEP = 1e12  # a slope that has no number, as that of a root at 0


@dataclass(frozen=True)
class Minimum:
    """m minima: ``point`` (m, p), ``value`` (m,), ``residual`` (m,): |P(w - g) - w|_inf with g scaled to unit
    largest component; 0 certifies a stationary (KKT) point."""

    point: Tensor
    value: Tensor
    residual: Tensor


@dataclass(frozen=True)
class _Here:
    """Where m rows stand: points (m, p), values (m,), gradients (m, p)."""

    point: Tensor
    value: Tensor
    gradient: Tensor

    def take(self, rows: Tensor) -> "_Here":
        return _Here(self.point[rows], self.value[rows], self.gradient[rows])


def minimize(objective: Objective, start: Tensor, region: Region, *, steps: int = 400, tol: float = 1e-8) -> Minimum:
    """Spectral projected gradient (Birgin, Martinez, Raydan 2000) from each row of ``start`` (m, p), batched.

    A row rests when its residual is below ``tol``, when it stalls, or after ``steps``; only the others are evaluated.
    A start without a finite value stays where it is, with value inf.
    """
    point, rows = region.project(start), torch.arange(len(start))
    now = _Here(point, *_evaluate(objective, point, rows))
    best, since = _Here(now.point.clone(), now.value.clone(), now.gradient.clone()), torch.zeros(len(start))
    recent = now.value[None].repeat(MEMORY, 1)
    step = 0.1 / _size(now.gradient)
    for iteration in range(steps):
        rows = rows[since[rows] < STALL]
        at, here = region.take(rows), now.take(rows)
        direction = at.project(here.point - step[rows, None] * here.gradient) - here.point
        left = _unfinished(here, direction, step[rows], at, tol)
        rows, at, here, direction = rows[left], at.take(left), here.take(left), direction[left]
        if not len(rows):
            break
        new = _line(objective, rows, at, here, direction, recent[:, rows].amax(dim=0))
        step[rows] = _spectral(here, new, LONGEST if at.rows.shape[1] == 0 else LONG)
        now.point[rows], now.value[rows], now.gradient[rows] = new.point, new.value, new.gradient
        recent[iteration % MEMORY] = now.value
        since += 1
        since[now.value < best.value - 1e-14 * best.value.abs()] = 0
        better = now.value < best.value
        best.point[better], best.gradient[better] = now.point[better], now.gradient[better]
        best.value[better] = now.value[better]
    return Minimum(best.point, best.value, residual(best.point, best.gradient, region))


def _unfinished(here: _Here, direction: Tensor, step: Tensor, at: Region, tol: float) -> Tensor:
    """(m,) whether residuals are at least ``tol``.

    |P(w - t g) - w| grows with t and grows more slowly than t, so steps that are taken anyway bound the residual on
    both sides; it is worked out only where that leaves it open.
    """
    steps = step * _size(here.gradient)  # in units of the residual's
    far = direction.norm(dim=1)
    left: Tensor = far / steps.clamp_max(1.0) >= tol
    open_ = left & (far / steps.clamp_min(1.0) < tol * direction.shape[1] ** 0.5)
    if bool(open_.any()):
        left[open_] = residual(here.point[open_], here.gradient[open_], at.take(open_)) >= tol
    return left


def _line(objective: Objective, rows: Tensor, at: Region, here: _Here, direction: Tensor, limit: Tensor) -> _Here:
    """Halve the step until it is under the largest of the recent values by the promised descent, or stay."""
    slope = (here.gradient * direction).sum(dim=1)
    length = torch.ones_like(slope)
    point = (here.point + direction).clamp(at.low, at.high)  # w + (P - w) is not P in floating point
    value, gradient = _evaluate(objective, point, rows)
    short = cut = (value > limit + 1e-4 * slope).nonzero()[:, 0]
    for _ in range(HALVINGS):
        if not len(short):
            break
        length[short] /= 2
        trial = here.point[short] + length[short, None] * direction[short]
        point[short] = trial.clamp(at.low[short], at.high[short])
        value[short] = _finite(objective(point[short], rows[short]).detach())
        short = short[value[short] > (limit + 1e-4 * length * slope)[short]]
    stay = value > limit
    point[stay] = here.point[stay]
    if len(cut):
        value[cut], gradient[cut] = _evaluate(objective, point[cut], rows[cut])
    return _Here(point, value, gradient)


def _spectral(here: _Here, new: _Here, longest: float) -> Tensor:
    """(m,) the inverse of the curvature along the last step, at most ``longest`` over the gradient's size."""
    moved, turned = new.point - here.point, new.gradient - here.gradient
    curvature = (moved * turned).sum(dim=1)
    most = longest / _size(new.gradient)
    quotient = (moved**2).sum(dim=1) / curvature.clamp_min(1e-300)
    return torch.where(curvature > 0, quotient.minimum(most), most).maximum(most * 1e-12)


def finish(objective: Objective, w: Tensor, region: Region, rows: Tensor) -> Minimum:
    """Sequential quadratic programming (scipy's SLSQP) from points (m, p), one after the other, for ``rows`` (k,) only;
    the other values and residuals are inf.

    A point that does not get better, or leaves its region by more than rounding, stays.
    """
    point, value = w.clone(), torch.full((len(w),), torch.inf, dtype=w.dtype)
    left = torch.full_like(value, torch.inf)
    for i in rows.tolist():
        at, one = region.take(torch.tensor([i])), torch.tensor([i])
        here = _Here(w[i : i + 1], *_evaluate(objective, w[i : i + 1], one))
        found = at.project(torch.from_numpy(_slsqp(objective, w[i], at, one))[None])
        new = _Here(found, *_evaluate(objective, found, one))
        if bool(torch.isfinite(found).all()) and float(new.value) < float(here.value):
            here = new
        point[i], value[i], left[i] = here.point[0], here.value[0], residual(here.point, here.gradient, at)[0]
    return Minimum(point, value, left)


def _slsqp(objective: Objective, w: Tensor, at: Region, row: Tensor) -> np.ndarray:
    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        found, slope = _evaluate(objective, torch.from_numpy(x)[None], row)
        return float(found), slope[0].numpy()

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
    value = _finite(objective(w, rows).detach())
    for share in np.geomspace(0.5, 0.005, rounds):
        other = torch.from_numpy(rng.dirichlet(np.full(w.shape[1], 0.5), size=len(w)))
        sign = torch.from_numpy(rng.choice([1.0, -1.0], size=(len(w), 1), p=[0.7, 0.3]))
        trial = region.project(w + sign * float(share) * (other - w))
        new = _finite(objective(trial, rows).detach())
        better = new < value
        w, value = torch.where(better[:, None], trial, w), torch.where(better, new, value)
    return Minimum(w, value, torch.full_like(value, torch.nan))


def gap(objective: Objective, w: Tensor, region: Region) -> Tensor:
    """(m,) Frank-Wolfe duality gap max over the region of gradient . (w - z), in units of the objective.

    For a convex objective no point of the region is better by more (Jaggi 2013).
    """
    _, gradient = _evaluate(objective, w, torch.arange(len(w)))
    least = (gradient * _corners(gradient, region)).sum(dim=1)
    for i in range(len(w)) if region.rows.shape[1] else ():
        least[i] = _least(gradient[i].numpy(), region.take(torch.tensor([i])))
    return ((gradient * w).sum(dim=1) - least).clamp_min(0.0)


def _corners(cost: Tensor, region: Region) -> Tensor:
    """(m, p) the mixtures between the bounds with the least ``cost`` (m, p) . w: the cheapest shares are filled up."""
    order = cost.argsort(dim=1)
    room = (region.high - region.low).gather(1, order)
    before = room.cumsum(dim=1) - room
    filled = (1 - region.low.sum(dim=1, keepdim=True) - before).clamp_min(0.0).minimum(room)
    return region.low.scatter_add(1, order, filled)


def _least(cost: np.ndarray, one: Region) -> float:
    """The least ``cost`` (p,) . w over one region, by a linear programme in costs of size 1."""
    size = max(float(np.abs(cost).max()), 1e-300)
    bounds = np.stack([one.low[0].numpy(), one.high[0].numpy()], axis=1)
    a, b = one.rows[0].numpy(), one.limits[0].numpy() + 1e-12
    found = optimize.linprog(cost / size, A_ub=a, b_ub=b, A_eq=np.ones((1, len(cost))), b_eq=[1.0], bounds=bounds)
    return size * float(found.fun)


def residual(w: Tensor, gradient: Tensor, region: Region) -> Tensor:
    """(m,) KKT residual of points (m, p) with gradients (m, p); see ``Minimum``."""
    scaled = gradient / _size(gradient)[:, None]
    return (region.project(w - scaled) - w).abs().amax(dim=1)


def _size(gradient: Tensor) -> Tensor:
    """(m,) largest component in size, never 0."""
    return gradient.abs().amax(dim=1).clamp_min(1e-300)


def _finite(value: Tensor) -> Tensor:
    """Values with inf for what is no number, so that it is never best."""
    return torch.where(torch.isfinite(value), value, torch.inf)


def _evaluate(objective: Objective, w: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    here = w.detach().requires_grad_(True)
    value = objective(here, rows)
    if not value.requires_grad:  # a law that does not see the mixture
        return _finite(value), torch.zeros_like(w)
    (gradient,) = torch.autograd.grad(value.sum(), here)
    return _finite(value.detach()), torch.nan_to_num(gradient, posinf=STEEP, neginf=-STEEP)
