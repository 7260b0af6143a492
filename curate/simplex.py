"""Minimisation over capped simplices {low <= w <= high, sum w = 1}: many problems and starts in one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Objective = Callable[[Tensor], Tensor]  # (m, p) -> (m,), row by row
MEMORY = 8  # accepted values a step may fall short of (non-monotone line search; Grippo et al. 1986)
HALVINGS = 25
ROUNDS = 300  # of the random search


@dataclass(frozen=True)
class Minimum:
    """m minima: ``point`` (m, p), ``value`` (m,), ``residual`` (m,): |P(w - g) - w|_inf with g scaled to unit
    largest component; 0 certifies a stationary (KKT) point."""

    point: Tensor
    value: Tensor
    residual: Tensor


def project(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Euclidean projection of (m, p) rows: clip(v - nu, low, high), nu per row by bisection to machine precision."""
    under, over = (v - high).amin(dim=1, keepdim=True) - 1, (v - low).amax(dim=1, keepdim=True) + 1
    for _ in range(70):
        nu = (under + over) / 2
        heavy = (v - nu).clamp(low, high).sum(dim=1, keepdim=True) > 1
        under, over = torch.where(heavy, nu, under), torch.where(heavy, over, nu)
    return (v - (under + over) / 2).clamp(low, high)


def minimize(
    objective: Objective, start: Tensor, low: Tensor, high: Tensor, *, steps: int = 400, tol: float = 1e-8
) -> Minimum:
    """Spectral projected gradient (Birgin, Martinez, Raydan 2000) from each row of ``start`` (m, p), batched.

    ``low``, ``high`` broadcast to (m, p). Stops when every row's residual is below ``tol`` or after ``steps``.
    """
    low, high = low.expand_as(start), high.expand_as(start)
    w = project(start, low, high)
    value, gradient = _evaluate(objective, w)
    best, best_value = w.clone(), value.clone()
    recent = value[None].repeat(MEMORY, 1)
    step = 0.1 / gradient.abs().amax(dim=1).clamp_min(1e-300)
    for iteration in range(steps):
        if bool((_residual(w, gradient, low, high) < tol).all()):
            break
        direction = project(w - step[:, None] * gradient, low, high) - w
        slope = (gradient * direction).sum(dim=1)
        limit = recent.amax(dim=0)
        length = torch.ones_like(value)
        trial = (w + direction).clamp(low, high)  # w + (P - w) is not P in floating point
        new = torch.nan_to_num(objective(trial).detach(), nan=torch.inf)
        for _ in range(HALVINGS):
            short = new > limit + 1e-4 * length * slope
            if not bool(short.any()):
                break
            length = torch.where(short, length / 2, length)
            trial = (w + length[:, None] * direction).clamp(low, high)
            new = torch.nan_to_num(objective(trial).detach(), nan=torch.inf)
        trial = torch.where((new <= limit)[:, None], trial, w)
        new, new_gradient = _evaluate(objective, trial)
        moved, turned = trial - w, new_gradient - gradient
        curvature = (moved * turned).sum(dim=1)
        spectral = (moved**2).sum(dim=1) / curvature.clamp_min(1e-300)
        largest = 1e3 / new_gradient.abs().amax(dim=1).clamp_min(1e-300)
        step = torch.where(curvature > 0, spectral.minimum(largest), largest).clamp_min(1e-12)
        w, value, gradient = trial, new, new_gradient
        recent[iteration % MEMORY] = value
        improved = value < best_value
        best, best_value = torch.where(improved[:, None], w, best), torch.where(improved, value, best_value)
    _, gradient = _evaluate(objective, best)
    return Minimum(best, best_value, _residual(best, gradient, low, high))


def search(
    objective: Objective, start: Tensor, low: Tensor, high: Tensor, *, rounds: int = ROUNDS, seed: int = 0
) -> Minimum:
    """Random local search from each row of ``start`` (m, p), for objectives without a gradient, such as trees.

    Round r moves every row a share of the way, 1/2 shrinking to 1/200, to a random mixture, or away from it, and keeps
    what improves. The residual is NaN: nothing is certified.
    """
    low, high = low.expand_as(start), high.expand_as(start)
    rng = np.random.default_rng(seed)
    w = project(start, low, high)
    value = torch.nan_to_num(objective(w).detach(), nan=torch.inf)
    for share in np.geomspace(0.5, 0.005, rounds):
        other = torch.from_numpy(rng.dirichlet(np.full(w.shape[1], 0.5), size=len(w)))
        sign = torch.from_numpy(rng.choice([1.0, -1.0], size=(len(w), 1), p=[0.7, 0.3]))
        trial = project(w + sign * float(share) * (other - w), low, high)
        new = torch.nan_to_num(objective(trial).detach(), nan=torch.inf)
        better = new < value
        w, value = torch.where(better[:, None], trial, w), torch.where(better, new, value)
    return Minimum(w, value, torch.full_like(value, torch.nan))


def _evaluate(objective: Objective, w: Tensor) -> tuple[Tensor, Tensor]:
    here = w.detach().requires_grad_(True)
    value = objective(here)
    (gradient,) = torch.autograd.grad(value.sum(), here)
    return value.detach(), torch.nan_to_num(gradient)


def _residual(w: Tensor, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    scaled = gradient / gradient.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
    return (project(w - scaled, low, high) - w).abs().amax(dim=1)
