"""Batched robust least squares: many small nonlinear fits at once by damped Gauss-Newton (Levenberg-Marquardt)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

LONGEST = 3.0  # of a step in one coordinate: log units for most parameters

Residual = Callable[[Tensor], Tensor]  # (k,) -> (n,)


@dataclass(frozen=True)
class Prior:
    """A quadratic penalty sum_j precision_j (u_j - centre_j)^2 / 2: ``centre`` (b, k), ``precision`` (k,)."""

    centre: Tensor
    precision: Tensor


@dataclass(frozen=True)
class Solution:
    """b fits: ``point`` (b, k), ``objective`` (b,), ``converged`` (b,) bool."""

    point: Tensor
    objective: Tensor
    converged: Tensor


def huber(r: Tensor, delta: float) -> Tensor:
    """Huber's loss, elementwise: r^2 / 2 inside +-delta, linear outside."""
    size = r.abs()
    return torch.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))


def least_squares(
    residual: Residual,
    start: Tensor,
    weights: Tensor,
    *,
    delta: float,
    prior: Prior | None = None,
    steps: int = 200,
    tol: float = 1e-9,
    chunk: int = 256,
) -> Solution:
    """Minimise sum_j weights_j * huber(residual_j(u)) + prior from each row of ``start`` (b, k); ``weights`` (b, n).

    A step solves (J'WJ + damping diag) d = -J'Wr with Huber's weights W (iteratively reweighted) and is kept only if
    the true objective falls. Converged: the last accepted step changed the objective by less than ``tol`` of itself.
    One thread: the sums have a fixed order and small matrices gain nothing from more.
    """
    b, k = start.shape
    prior = prior or Prior(torch.zeros_like(start), torch.zeros(k, dtype=start.dtype))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parts = []
        for i in range(0, b, chunk):
            part = slice(i, i + chunk)
            near = Prior(prior.centre[part], prior.precision)
            parts.append(_chunk(residual, start[part].clone(), weights[part], near, delta=delta, steps=steps, tol=tol))
    finally:
        torch.set_num_threads(threads)
    return Solution(*(torch.cat([getattr(p, f) for p in parts]) for f in ("point", "objective", "converged")))


def _chunk(
    residual: Residual, u: Tensor, weights: Tensor, prior: Prior, *, delta: float, steps: int, tol: float
) -> Solution:
    values, jacobian = vmap(residual), vmap(jacfwd(_twice(residual), has_aux=True))

    def objective(point: Tensor, r: Tensor, rows: Tensor) -> Tensor:
        penalty = 0.5 * (prior.precision * (point - prior.centre[rows]) ** 2).sum(dim=1)
        return torch.nan_to_num((weights[rows] * huber(r, delta)).sum(dim=1) + penalty, nan=torch.inf)

    active = torch.arange(len(u))
    damping = torch.full((len(u),), 1e-2, dtype=u.dtype)
    best = objective(u, values(u), active)
    converged = torch.zeros(len(u), dtype=torch.bool)
    for _ in range(steps):
        here = u[active]
        jac, r = jacobian(here)
        step = _step(jac, r, weights[active], here - prior.centre[active], prior.precision, damping[active], delta)
        trial = here + step
        new = objective(trial, values(trial), active)
        better = new < best[active]
        gained = (best[active] - new) / best[active].clamp_min(1e-300)
        done = (better & (gained < tol)) | (~better & (damping[active] > 1e8)) | (best[active] == 0)
        u[active] = torch.where(better[:, None], trial, here)
        best[active] = torch.where(better, new, best[active])
        damping[active] = torch.where(better, damping[active] / 5, damping[active] * 4).clamp(1e-10, 1e10)
        converged[active[done]] = True
        active = active[~done]
        if len(active) == 0:
            break
    return Solution(u, best, converged)


def _step(
    jac: Tensor, r: Tensor, weights: Tensor, offset: Tensor, precision: Tensor, damping: Tensor, delta: float
) -> Tensor:
    """(b, k) damped Gauss-Newton steps, no coordinate further than LONGEST."""
    scaled = (weights * torch.clamp(delta / r.abs().clamp_min(1e-300), max=1.0))[..., None] * jac
    gradient = torch.nan_to_num((scaled * r[..., None]).sum(dim=1)) + precision * offset
    hessian = torch.nan_to_num(jac.mT @ scaled) + torch.diag(precision)
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-12)
    damped = hessian + torch.diag_embed(damping[:, None] * diagonal.clamp_min(floor) + floor)
    factor, info = torch.linalg.cholesky_ex(damped)
    step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    step = torch.nan_to_num(torch.where((info == 0)[:, None], step, -gradient / diagonal.clamp_min(floor)))
    return step * (LONGEST / step.abs().amax(dim=1, keepdim=True).clamp_min(LONGEST))


def _twice(residual: Residual) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def both(u: Tensor) -> tuple[Tensor, Tensor]:
        r = residual(u)
        return r, r

    return both
