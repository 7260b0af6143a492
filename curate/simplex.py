"""Minimisation over capped simplices {low <= w <= high, sum w = 1}: many problems and starts in one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor], Tensor]  # (m, p) -> (m,), row by row
MEMORY = 8  # accepted values a step may fall short of (non-monotone line search; Grippo et al. 1986)
HALVINGS = 25


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


def _evaluate(objective: Objective, w: Tensor) -> tuple[Tensor, Tensor]:
    here = w.detach().requires_grad_(True)
    value = objective(here)
    (gradient,) = torch.autograd.grad(value.sum(), here)
    return value.detach(), torch.nan_to_num(gradient)


def _residual(w: Tensor, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    scaled = gradient / gradient.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
    return (project(w - scaled, low, high) - w).abs().amax(dim=1)
