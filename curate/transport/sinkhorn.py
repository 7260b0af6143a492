"""Solve entropic optimal transport for many measures at once.

In: a `Cost` and marginals. Out: `Potentials`. Kernels are in the exponential domain and float32, potentials in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.transport import kernel_scaling
from curate.transport.cost import Cost

# Natural logarithm that a scaling may move before it is absorbed into the kernel. Cells of the kernel that were cut off
# at FLOOR then hold less than e^-20 of the mass.
REACH = 30.0
# Exponents of the kernel. Below FLOOR are denormal numbers, which cost 100 times more; above TOP the kernel overflows.
FLOOR, TOP = -80.0, 80.0
FEWEST_STEPS = 8  # iterations that the last regularisation always gets
ANNEAL = 4.0  # factor between two regularisations of a cold start
LOOSE = 0.1  # marginal error at which annealing goes on to the next regularisation
PATIENCE = 160  # iterations of a warm start before it is given up for a cold one


class Unconverged(CurateError):
    """A transport solve stopped before its marginals were met; the message says by how much."""


@dataclass(frozen=True, eq=False, repr=False)
class Potentials:
    """m solved problems.

    Attributes:
        f, g: (m, n) and (m, q) dual potentials, float64.
        value: (m,) dual value.
        error: (m,) L1 distance of the plan's first marginal from the one wanted.
        iterations: (m,) products with the kernel and its transpose.
        converged: (m,) whether the error is within the tolerance.
    """

    f: Tensor
    g: Tensor
    value: Tensor
    error: Tensor
    iterations: Tensor
    converged: Tensor

    def put(self, rows: Tensor, other: "Potentials") -> None:
        """Write the problems of ``other`` over those at positions ``rows``."""
        self.f[rows], self.g[rows], self.value[rows] = other.f, other.g, other.value
        self.error[rows], self.iterations[rows], self.converged[rows] = other.error, other.iterations, other.converged


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
    """Solve entropic transport for m first marginals ``a`` (m, n) at once.

    The problem of each row is min_P <P, C> + eps KL(P | a b'). One kernel serves all rows while their potentials stay
    within ``REACH`` of each other; rows that do not are solved in groups. Absorption into the kernel follows Schmitzer
    (2019). The potentials satisfy, also where a is zero,

        f_i = -eps log sum_j b_j exp((g_j - C_ij) / eps).

    Args:
        cost: of points to points.
        a: (m, n) first marginals.
        b: second marginal; None solves ``a`` with itself (``cost`` is square) by the averaged symmetric iteration.
        eps: regularisation, in units of the cost.
        start: potentials g (m, q) of a similar problem. Rows that they do not bring to ``tol`` in ``PATIENCE``
            iterations start cold: eps then falls to its value by factors of 4.
        tol: largest L1 error of the marginal.
        steps: most iterations.
    """
    if start is None:
        return _cold(cost, a, b, eps=eps, tol=tol, steps=steps)
    potentials = _level(cost, a, b, start, eps=eps, tol=tol, steps=min(steps, PATIENCE))
    unconverged = torch.nonzero(~potentials.converged).reshape(-1)
    if not len(unconverged) or steps <= PATIENCE:
        return potentials
    potentials.put(unconverged, _cold(cost, a[unconverged], b, eps=eps, tol=tol, steps=steps - PATIENCE))
    potentials.iterations[unconverged] += PATIENCE
    return potentials


def _cold(cost: Cost, a: Tensor, b: Tensor | None, *, eps: float, tol: float, steps: int) -> Potentials:
    """Solve without a start."""
    g = a.new_zeros(len(a), cost.shape[1])
    # The symmetric iteration halves its error at any regularisation and needs no annealing.
    count, level = 0, eps if b is None else max(cost.mean, eps)
    while level > eps * ANNEAL**0.5:
        rough = _level(cost, a, b, g, eps=level, tol=LOOSE, steps=steps)
        g, level = rough.g, level / ANNEAL
        count += int(rough.iterations.max())
    potentials = _level(cost, a, b, g, eps=eps, tol=tol, steps=max(steps - count, FEWEST_STEPS))
    potentials.iterations.add_(count)
    return potentials


def _level(cost: Cost, a: Tensor, b: Tensor | None, start: Tensor, *, eps: float, tol: float, steps: int) -> Potentials:
    """Solve at one regularisation: groups of rows near each other share a kernel, until all are done."""
    # Potentials of two marginals are free up to a constant; a mean of 0 keeps them near those of other rows.
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
        # One kernel absorbs the mean potential of a group, so its rows must not lie far from that mean.
        rows = pending[_near(g[pending], eps)]
        anchor = g[rows].mean(dim=0)
        kernel_f = _fill_square(kernel, cost, anchor, eps) if b is None else _fill(kernel, cost, b, anchor, eps)
        v = torch.exp((g[rows] - anchor) / eps).float()
        room = steps - int(iterations[rows].max())
        masses = a[rows].float()
        if b is None:
            state, count = kernel_scaling.itself(kernel, masses, v, tol=tol, steps=room, reach=REACH)
        else:
            state, count = kernel_scaling.alternate(kernel, masses, b.float(), v, tol=tol, steps=room, reach=REACH)
        f[rows] = kernel_f + eps * state.u.double().log()
        g[rows] = anchor + eps * state.v.double().log()
        error[rows] = state.error.double()
        iterations[rows] += count
    if b is None:
        _set_massless(f, cost, a, g, eps)
    second = a if b is None else b.expand(m, -1)
    value = (f * a).sum(dim=1) + (g * second).sum(dim=1)
    return Potentials(f, g, value, error, iterations, error <= tol)


def _set_massless(f: Tensor, cost: Cost, a: Tensor, g: Tensor, eps: float) -> None:
    """Set the potentials of points without mass, which scaling cannot reach in float32, by the soft c-transform."""
    for row in torch.nonzero((a == 0).any(dim=1)).reshape(-1).tolist():
        f[row] = torch.where(a[row] == 0, _soft_transform(cost, g[row], a[row], eps), f[row])


def _near(g: Tensor, eps: float) -> Tensor:
    """Return the positions of rows with potentials within half the reach of the row with most such neighbours."""
    close = torch.cdist(g, g, p=torch.inf) <= REACH / 2 * eps
    return torch.nonzero(close[close.sum(dim=1).argmax()]).reshape(-1)


def _fill(kernel: Tensor, cost: Cost, b: Tensor, g: Tensor, eps: float) -> Tensor:
    """Write exp((f_i + g_j - C_ij) / eps) into ``kernel``, block by block, and return f (n,), float64.

    f is the soft c-transform of ``g``, so that rows sum to 1 under ``b`` whatever g is, and nothing overflows.
    """
    right_factor = torch.cat([cost.right_factor, (g[:, None] / eps).float()], dim=1)
    left_factor = torch.cat([-cost.left_factor / eps, torch.ones_like(cost.left_factor[:, :1])], dim=1)
    shares, f = b.float(), g.new_empty(len(left_factor))
    for rows in cost.blocks:
        cells = kernel[rows]
        torch.mm(left_factor[rows], right_factor.T, out=cells)
        # The largest exponent of a row is taken out first, so that nothing overflows, and returned through f.
        top = cells.amax(dim=1, keepdim=True)
        cells.sub_(top).clamp_min_(FLOOR).exp_()
        sums = cells @ shares
        cells.div_(sums[:, None])
        f[rows] = -eps * (top[:, 0].double() + sums.double().log())
    return f


def _soft_transform(cost: Cost, g: Tensor, b: Tensor, eps: float) -> Tensor:
    """Return the (n,) soft c-transform of ``g`` (q,) under ``b`` (q,), of which some entries are 0."""
    used = b > 0
    right_factor = torch.cat([cost.right_factor[used], (g[used, None] / eps + b[used, None].log()).float()], dim=1)
    left_factor = torch.cat([-cost.left_factor / eps, torch.ones_like(cost.left_factor[:, :1])], dim=1)
    parts = [torch.logsumexp(left_factor[rows] @ right_factor.T, dim=1).double() for rows in cost.blocks]
    return -eps * torch.cat(parts)


def _fill_square(kernel: Tensor, cost: Cost, f: Tensor, eps: float) -> Tensor:
    """Write exp((f_i + f_j - C_ij) / eps) into ``kernel``, block by block, and return f (n,)."""
    column = (f[:, None] / eps).float()
    left_factor = torch.cat([-cost.left_factor / eps, column, torch.ones_like(column)], dim=1)
    right_factor = torch.cat([cost.right_factor, torch.ones_like(column), column], dim=1)
    for rows in cost.blocks:
        torch.mm(left_factor[rows], right_factor.T, out=kernel[rows])
        kernel[rows].clamp_(FLOOR, TOP).exp_()
    return f
