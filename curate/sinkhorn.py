"""Entropic optimal transport of many measures at once: exp domain in float32, potentials in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.ground import Cost

REACH = 40.0  # natural log that a scaling may move before it is absorbed: float32 holds e^88, kernel times scaling e^80
FLOOR, TOP = -80.0, 80.0  # exponents of the kernel: below are denormals, which cost 100 times more, above overflows
CHECK = 8  # iterations between checks of convergence
ANNEAL = 4.0  # factor between two regularisations of a cold start
LOOSE = 0.1  # marginal error at which annealing goes on


class Unconverged(CurateError):
    """A transport solve stopped before its marginals were met; the message says by how much."""


@dataclass(frozen=True, eq=False)
class Potentials:
    """m solved problems: ``f`` (m, n), ``g`` (m, q) float64; dual ``value`` (m,); ``error`` (m,): L1 distance of the
    plan's first marginal from the one asked for; ``iterations`` (m,) and ``converged`` (m,)."""

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
    start: tuple[Tensor, Tensor] | None = None,
    tol: float = 1e-3,
    steps: int = 2000,
) -> Potentials:
    """Solve min_P <P, C> + eps KL(P | a b') with marginals ``a`` (m, n) and ``b`` (q,) for m rows of ``a`` at once.

    ``b`` None: ``a`` with itself (``cost`` square), by the averaged symmetric iteration. f = -eps log sum_j b_j
    exp((g_j - C_ij) / eps) also where a is zero. ``start``: potentials f (m, n), g (m, q) of something near; without,
    eps falls to its value by factors of 4. One kernel serves all rows while their potentials stay within ``REACH``
    of each other; rows that do not are solved in groups. Log-domain absorption follows Schmitzer (2019).
    """
    m, (n, q) = len(a), cost.shape
    if start is None:
        f, g = a.new_zeros(m, n), a.new_zeros(m, q)
        count, level = 0, max(cost.mean, eps)
        while level > eps * ANNEAL**0.5:
            state = _level(cost, a, b, (f, g), eps=level, tol=LOOSE, steps=steps)
            f, g, level = state.f, state.g, level / ANNEAL
            count += int(state.iterations.max())
    else:
        (f, g), count = start, 0
    found = _level(cost, a, b, (f, g), eps=eps, tol=tol, steps=max(steps - count, CHECK))
    return Potentials(found.f, found.g, found.value, found.error, found.iterations + count, found.converged)


def _level(
    cost: Cost, a: Tensor, b: Tensor | None, start: tuple[Tensor, Tensor], *, eps: float, tol: float, steps: int
) -> Potentials:
    """Solve at one regularisation: groups of rows near each other share a kernel, until all are done."""
    f, g = start[0].clone(), start[1].clone()
    m = len(a)
    kernel = torch.empty(cost.shape, dtype=torch.float32, device=a.device)
    error = torch.full((m,), torch.inf, dtype=torch.float64, device=a.device)
    iterations = torch.zeros(m, dtype=torch.int64, device=a.device)
    while True:
        pending = torch.nonzero((error > tol) & (iterations < steps)).reshape(-1)
        if not len(pending):
            break
        rows = pending[_near(f[pending], g[pending], eps)]
        anchor = f[rows].mean(dim=0), g[rows].mean(dim=0)
        _fill(kernel, cost, anchor, eps)
        scaling = torch.exp((f[rows] - anchor[0]) / eps).float().T, torch.exp((g[rows] - anchor[1]) / eps).float().T
        room = steps - int(iterations[rows].max())
        (u, v), error[rows], count = _iterate(
            kernel, a[rows].float().T, None if b is None else b.float(), scaling, tol=tol, steps=room
        )
        f[rows] = anchor[0] + eps * u.T.double().log()
        g[rows] = anchor[1] + eps * v.T.double().log()
        iterations[rows] += count
    second = a if b is None else b.expand(m, -1)
    value = (f * a).sum(dim=1) + (g * second).sum(dim=1)
    return Potentials(f, g, value, error, iterations, error <= tol)


def _near(f: Tensor, g: Tensor, eps: float) -> Tensor:
    """Positions of the first row and of all rows whose potentials lie within half the reach of it."""
    gap = torch.maximum((f - f[0]).abs().amax(dim=1), (g - g[0]).abs().amax(dim=1))
    return torch.nonzero(gap <= REACH / 2 * eps).reshape(-1)


def _fill(kernel: Tensor, cost: Cost, anchor: tuple[Tensor, Tensor], eps: float) -> None:
    """Write exp((f_i + g_j - C_ij) / eps) into ``kernel``, block by block: one matrix product and one exponential."""
    f, g = (part[:, None] / eps for part in anchor)
    left = torch.cat([-cost.left / eps, f.float(), torch.ones_like(f, dtype=torch.float32)], dim=1)
    right = torch.cat([cost.right, torch.ones_like(g, dtype=torch.float32), g.float()], dim=1)
    for rows in cost.blocks:
        torch.mm(left[rows], right.T, out=kernel[rows])
        kernel[rows].clamp_(FLOOR, TOP).exp_()


def _iterate(
    kernel: Tensor, a: Tensor, b: Tensor | None, scaling: tuple[Tensor, Tensor], *, tol: float, steps: int
) -> tuple[tuple[Tensor, Tensor], Tensor, int]:
    """Scale rows and columns in turn: u (n, m) and v (q, m), errors (m,), iterations.

    Stops when all m errors are below ``tol``, after ``steps``, or when a scaling leaves ``REACH``.
    """
    u, v = scaling
    second = a if b is None else b[:, None]
    for count in range(1, steps + 1):
        rows = _product(kernel, second * v).reciprocal()
        if count % CHECK == 0 or count == steps:
            error = (a * (u / rows - 1).abs()).sum(dim=0).double()
            far = max(float(s.log().abs().amax()) for s in (rows, v)) > REACH
            if far or bool((error <= tol).all()) or count == steps:
                return (rows, rows if b is None else v), error, count
        if b is None:
            u = v = (v * rows).sqrt()
        else:
            u = rows
            v = _product(kernel.T, a * u).reciprocal()
    raise AssertionError("steps is at least 1")


def _product(kernel: Tensor, x: Tensor) -> Tensor:
    return torch.mv(kernel, x[:, 0])[:, None] if x.shape[1] == 1 else kernel @ x
