"""Entropic optimal transport of many measures at once: exp domain in float32, potentials in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.transport import kernel_scaling
from curate.transport.ground_cost import Cost

REACH = 30.0  # natural log that a scaling may move before it is absorbed: floored cells then hold under e^-20 of mass
FLOOR, TOP = -80.0, 80.0  # exponents of the kernel: below are denormals, which cost 100 times more, above overflows
LEAST = 8  # iterations at the last level
ANNEAL = 4.0  # factor between two regularisations of a cold start
LOOSE = 0.1  # marginal error at which annealing goes on
PATIENCE = 160  # iterations of a warm start before it is given up for a cold one


class Unconverged(CurateError):
    """A transport solve stopped before its marginals were met; the message says by how much."""


@dataclass(frozen=True, eq=False)
class Potentials:
    """m solved problems: ``f`` (m, n), ``g`` (m, q) float64; dual ``value`` (m,); ``error`` (m,): L1 distance of the
    plan's first marginal from the one asked for; ``iterations`` (m,): products with the kernel and its transpose, and
    ``converged`` (m,)."""

    f: Tensor
    g: Tensor
    value: Tensor
    error: Tensor
    iterations: Tensor
    converged: Tensor


def solve(
    cost: Cost,
    a: Tensor,
    b: Tensor | None,
    *,
    eps: float,
    start: Tensor | None = None,
    tol: float = 1e-3,
    steps: int = 2000,
) -> Potentials:
    """Solve min_P <P, C> + eps KL(P | a b') with marginals ``a`` (m, n) and ``b`` (q,) for m rows of ``a`` at once.

    ``b`` None: ``a`` with itself (``cost`` square), by the averaged symmetric iteration. f = -eps log sum_j b_j
    exp((g_j - C_ij) / eps) also where a is zero. ``start``: potentials g (m, q) of something near; rows that they do
    not bring to ``tol`` in ``PATIENCE`` iterations start cold. Cold, eps falls to its value by factors of 4. One kernel
    serves all rows while their potentials stay within ``REACH`` of each other; rows that do not are solved in groups.
    Log-domain absorption follows Schmitzer (2019).
    """
    if start is None:
        return _cold(cost, a, b, eps=eps, tol=tol, steps=steps)
    found = _level(cost, a, b, start, eps=eps, tol=tol, steps=min(steps, PATIENCE))
    lost = torch.nonzero(~found.converged).reshape(-1)
    if not len(lost) or steps <= PATIENCE:
        return found
    again = _cold(cost, a[lost], b, eps=eps, tol=tol, steps=steps - PATIENCE)
    for whole, part in zip(_fields(found), _fields(again), strict=True):
        whole[lost] = part
    found.iterations[lost] += PATIENCE
    return found


def _fields(of: Potentials) -> tuple[Tensor, ...]:
    return of.f, of.g, of.value, of.error, of.iterations, of.converged


def _cold(cost: Cost, a: Tensor, b: Tensor | None, *, eps: float, tol: float, steps: int) -> Potentials:
    """Solve without a start. The symmetric iteration halves its error at any eps and needs no annealing."""
    g = a.new_zeros(len(a), cost.shape[1])
    count, level = 0, eps if b is None else max(cost.mean, eps)
    while level > eps * ANNEAL**0.5:
        state = _level(cost, a, b, g, eps=level, tol=LOOSE, steps=steps)
        g, level = state.g, level / ANNEAL
        count += int(state.iterations.max())
    found = _level(cost, a, b, g, eps=eps, tol=tol, steps=max(steps - count, LEAST))
    found.iterations.add_(count)
    return found


def _level(cost: Cost, a: Tensor, b: Tensor | None, start: Tensor, *, eps: float, tol: float, steps: int) -> Potentials:
    """Solve at one regularisation: groups of rows near each other share a kernel, until all are done."""
    g = start.clone() if b is None else start - start.mean(dim=1, keepdim=True)
    f = g.clone() if b is None else a.new_zeros(a.shape)
    m = len(a)
    kernel = torch.empty(cost.shape, dtype=torch.float32, device=a.device)
    error = torch.full((m,), torch.inf, dtype=torch.float64, device=a.device)
    iterations = torch.zeros(m, dtype=torch.int64, device=a.device)
    while True:
        pending = torch.nonzero((error > tol) & (iterations < steps)).reshape(-1)
        if not len(pending):
            break
        rows = pending[_near(g[pending], eps)]
        anchor = g[rows].mean(dim=0)
        mine = _fill_square(kernel, cost, anchor, eps) if b is None else _fill(kernel, cost, b, anchor, eps)
        v = torch.exp((g[rows] - anchor) / eps).float()
        room = steps - int(iterations[rows].max())
        masses = a[rows].float()
        if b is None:
            now, count = kernel_scaling.itself(kernel, masses, v, tol=tol, steps=room, reach=REACH)
        else:
            now, count = kernel_scaling.alternate(kernel, masses, b.float(), v, tol=tol, steps=room, reach=REACH)
        f[rows] = mine + eps * now.u.double().log()
        g[rows] = anchor + eps * now.v.double().log()
        error[rows] = now.error.double()
        iterations[rows] += count
    if b is None:
        for row in torch.nonzero((a == 0).any(dim=1)).reshape(-1).tolist():
            f[row] = torch.where(a[row] == 0, _transform(cost, g[row], a[row], eps), f[row])
    second = a if b is None else b.expand(m, -1)
    value = (f * a).sum(dim=1) + (g * second).sum(dim=1)
    return Potentials(f, g, value, error, iterations, error <= tol)


def _near(g: Tensor, eps: float) -> Tensor:
    """Positions of the rows whose potentials lie within half the reach of the row that has most such neighbours."""
    close = torch.cdist(g, g, p=torch.inf) <= REACH / 2 * eps
    return torch.nonzero(close[close.sum(dim=1).argmax()]).reshape(-1)


def _fill(kernel: Tensor, cost: Cost, b: Tensor, g: Tensor, eps: float) -> Tensor:
    """Write exp((f_i + g_j - C_ij) / eps) into ``kernel``, block by block, and return f (n,), float64.

    f is the soft c-transform of ``g``, so that rows sum to 1 under ``b`` whatever g is, and nothing overflows.
    """
    right = torch.cat([cost.right, (g[:, None] / eps).float()], dim=1)
    left = torch.cat([-cost.left / eps, torch.ones_like(cost.left[:, :1])], dim=1)
    shares, f = b.float(), g.new_empty(len(left))
    for rows in cost.blocks:
        cells = kernel[rows]
        torch.mm(left[rows], right.T, out=cells)
        top = cells.amax(dim=1, keepdim=True)
        cells.sub_(top).clamp_min_(FLOOR).exp_()
        sums = cells @ shares
        cells.div_(sums[:, None])
        f[rows] = -eps * (top[:, 0].double() + sums.double().log())
    return f


def _transform(cost: Cost, g: Tensor, b: Tensor, eps: float) -> Tensor:
    """(n,) soft c-transform of ``g`` (q,) under ``b`` (q,), some of it 0: potentials of points without mass, which a
    scaling from afar cannot reach in float32."""
    some = b > 0
    right = torch.cat([cost.right[some], (g[some, None] / eps + b[some, None].log()).float()], dim=1)
    left = torch.cat([-cost.left / eps, torch.ones_like(cost.left[:, :1])], dim=1)
    parts = [torch.logsumexp(left[rows] @ right.T, dim=1).double() for rows in cost.blocks]
    return -eps * torch.cat(parts)


def _fill_square(kernel: Tensor, cost: Cost, f: Tensor, eps: float) -> Tensor:
    """Write exp((f_i + f_j - C_ij) / eps) into ``kernel``, block by block, and return f (n,)."""
    column = (f[:, None] / eps).float()
    left = torch.cat([-cost.left / eps, column, torch.ones_like(column)], dim=1)
    right = torch.cat([cost.right, torch.ones_like(column), column], dim=1)
    for rows in cost.blocks:
        torch.mm(left[rows], right.T, out=kernel[rows])
        kernel[rows].clamp_(FLOOR, TOP).exp_()
    return f
