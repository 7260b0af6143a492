"""Batched robust least squares: many small nonlinear fits at once by damped Gauss-Newton (Levenberg-Marquardt)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

LONGEST = 3.0  # of a step in one coordinate: log units for most parameters

Rows = tuple[Tensor, ...]  # each (n, ...): what a prediction reads of every row
Predict = Callable[[Tensor, Rows], Tensor]  # (k,) and one row -> its prediction, a scalar


@dataclass(frozen=True)
class Problems:
    """b least-squares problems that share a prediction function.

    ``start`` (b, k); ``target`` (b, n), NaN where not measured; ``weights`` (b, n); ``delta`` (b,) of Huber's loss;
    prior sum_j precision_j (u_j - centre_j)^2 / 2 with ``centre`` (b, k), ``precision`` (b, k).
    """

    start: Tensor
    target: Tensor
    weights: Tensor
    delta: Tensor
    centre: Tensor
    precision: Tensor

    def part(self, rows: Tensor | slice) -> "Problems":
        """Return the problems at positions."""
        return Problems(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Solution:
    """b fits: ``point`` (b, k), ``objective`` (b,), ``converged`` (b,) bool."""

    point: Tensor
    objective: Tensor
    converged: Tensor


def huber(r: Tensor, delta: Tensor | float) -> Tensor:
    """Huber's loss, elementwise: r^2 / 2 inside +-delta, linear outside."""
    size = r.abs()
    return torch.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))


def least_squares(
    predict: Predict, rows: Rows, problems: Problems, *, steps: int = 200, tol: float = 1e-9, chunk: int = 256
) -> Solution:
    """Minimise sum_j weights_j * huber(predict(u, rows_j) - target_j) + prior for every problem.

    A step solves (J'WJ + damping diag) d = -J'Wr with Huber's weights W (iteratively reweighted) and is kept only if
    the true objective falls. Converged: the last accepted step changed the objective by less than ``tol`` of itself.
    A row depends on u and itself alone, so one reverse pass gives the whole (n, k) Jacobian, for the price of about
    four predictions whatever k is. One thread: the sums have a fixed order and small matrices gain
    nothing from more. ``chunk`` problems at a time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        count = len(problems.start)
        parts = [
            _chunk(predict, rows, problems.part(slice(i, i + chunk)), steps=steps, tol=tol)
            for i in range(0, count, chunk)
        ]
    finally:
        torch.set_num_threads(threads)
    return Solution(*(torch.cat([getattr(p, f) for p in parts]) for f in ("point", "objective", "converged")))


def jacobian(predict: Predict, u: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """(b, k) points to (b, n, k) derivatives and (b, n) predictions."""
    per_row = vmap(grad_and_value(predict), in_dims=(None, 0))
    slopes, values = vmap(per_row, in_dims=(0, None))(u, rows)
    return slopes, values


def _chunk(predict: Predict, rows: Rows, all_: Problems, *, steps: int, tol: float) -> Solution:
    per_row = vmap(predict, in_dims=(None, 0))

    def values(u: Tensor) -> Tensor:
        return vmap(per_row, in_dims=(0, None))(u, rows)

    measured = torch.isfinite(all_.target)
    clean = Problems(  # a missing target counts as 0 with weight 0
        all_.start.clone(),
        torch.nan_to_num(all_.target),
        all_.weights * measured,
        all_.delta,
        all_.centre,
        all_.precision,
    )

    def objective(point: Tensor, r: Tensor, p: Problems) -> Tensor:
        penalty = 0.5 * (p.precision * (point - p.centre) ** 2).sum(dim=1)
        return torch.nan_to_num((p.weights * huber(r, p.delta[:, None])).sum(dim=1) + penalty, nan=torch.inf)

    u, active = clean.start, torch.arange(len(clean.start))
    damping = torch.full((len(u),), 1e-2, dtype=u.dtype)
    best = objective(u, values(u) - clean.target, clean)
    converged = torch.zeros(len(u), dtype=torch.bool)
    for _ in range(steps):
        p, here = clean.part(active), u[active]
        jac, predicted = jacobian(predict, here, rows)
        trial = here + _step(jac, predicted - p.target, here, p, damping[active])
        new = objective(trial, values(trial) - p.target, p)
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


def _step(jac: Tensor, r: Tensor, here: Tensor, p: Problems, damping: Tensor) -> Tensor:
    """(b, k) damped Gauss-Newton steps, no coordinate further than LONGEST."""
    scaled = (p.weights * torch.clamp(p.delta[:, None] / r.abs().clamp_min(1e-300), max=1.0))[..., None] * jac
    gradient = torch.nan_to_num((scaled * r[..., None]).sum(dim=1)) + p.precision * (here - p.centre)
    hessian = torch.nan_to_num(jac.mT @ scaled) + torch.diag_embed(p.precision)
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-12)
    damped = hessian + torch.diag_embed(damping[:, None] * diagonal.clamp_min(floor) + floor)
    factor, info = torch.linalg.cholesky_ex(damped)
    step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    step = torch.nan_to_num(torch.where((info == 0)[:, None], step, -gradient / diagonal.clamp_min(floor)))
    return step * (LONGEST / step.abs().amax(dim=1, keepdim=True).clamp_min(LONGEST))
