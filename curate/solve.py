"""Batched robust least squares: many small nonlinear fits at once by damped Gauss-Newton (Levenberg-Marquardt)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

Residual = Callable[[Tensor], Tensor]  # (k,) -> (n,)


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
    residual: Residual, start: Tensor, weights: Tensor, *, delta: float, steps: int = 200, chunk: int = 256
) -> Solution:
    """Minimise sum_j weights_j * huber(residual_j(u)) from each row of ``start`` (b, k), ``weights`` (b, n).

    A step solves (J'WJ + damping diag) d = -J'Wr with Huber's weights W (iteratively reweighted) and is kept only if
    the true objective falls. Converged: the last accepted step changed the objective by less than 1e-10 of itself.
    """
    parts = [
        _chunk(residual, start[i : i + chunk], weights[i : i + chunk], delta, steps) for i in range(0, len(start), chunk)
    ]
    return Solution(*(torch.cat([getattr(p, f) for p in parts]) for f in ("point", "objective", "converged")))


def _chunk(residual: Residual, u: Tensor, weights: Tensor, delta: float, steps: int) -> Solution:
    values, jacobian = vmap(residual), vmap(jacfwd(_twice(residual), has_aux=True))

    def objective(r: Tensor, w: Tensor) -> Tensor:
        return torch.nan_to_num((w * huber(r, delta)).sum(dim=1), nan=torch.inf)

    b, k = u.shape
    damping = torch.full((b,), 1e-2, dtype=u.dtype)
    best = objective(values(u), weights)
    converged = torch.zeros(b, dtype=torch.bool)
    active = torch.arange(b)
    for _ in range(steps):
        here, w = u[active], weights[active]
        jac, r = jacobian(here)
        s = w * torch.clamp(delta / r.abs().clamp_min(1e-300), max=1.0)
        sj = s[..., None] * jac
        gradient = torch.nan_to_num((sj * r[..., None]).sum(dim=1))
        hessian = torch.nan_to_num(jac.mT @ sj)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        floor = 1e-9 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-12)
        damped = hessian + torch.diag_embed(damping[active, None] * diagonal.clamp_min(floor) + floor)
        factor, info = torch.linalg.cholesky_ex(damped)
        step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        step = torch.where((info == 0)[:, None], step, -gradient / diagonal.clamp_min(floor))
        step = torch.nan_to_num(step) * (3.0 / step.abs().amax(dim=1, keepdim=True).clamp_min(3.0))  # trust: 3 log units
        trial = here + step
        new = objective(values(trial), w)
        better = new < best[active]
        gained = (best[active] - new) / best[active].clamp_min(1e-300)
        done = (better & (gained < 1e-10)) | (~better & (damping[active] > 1e8)) | (best[active] == 0)
        u[active] = torch.where(better[:, None], trial, here)
        best[active] = torch.where(better, new, best[active])
        damping[active] = torch.where(better, damping[active] / 5, damping[active] * 4).clamp(1e-10, 1e10)
        converged[active[done]] = True
        active = active[~done]
        if len(active) == 0:
            break
    return Solution(u, best, converged)


def _twice(residual: Residual) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def both(u: Tensor) -> tuple[Tensor, Tensor]:
        r = residual(u)
        return r, r

    return both
