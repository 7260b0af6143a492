"""Optimal-transport distance of a mixture of sources to a target: value, gradient in the shares, value of samples."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from curate.errors import SchemaError
from curate.transport import sinkhorn
from curate.transport.ground_cost import TransportProblem
from curate.transport.sinkhorn import Potentials, Unconverged

EPS = 0.02  # regularisation in units of the mean cost
TOL = 1e-3  # L1 error of the marginal
STEPS = 5000


@dataclass(frozen=True, eq=False)
class TransportSolution:
    """Distances of m mixtures: ``value`` (m,) in units of the problem's scale, ``gradient`` (m, p) along the simplex
    (shares times it sum to 0), ``error`` (m,), ``iterations`` (m,), ``converged`` (m,).

    ``across`` and, when debiased, ``within`` hold the potentials: start the next solve from this one. ``own``: what
    the target costs to itself at regularisation ``reg``, so that the next solve need not find it again.
    """

    weights: Tensor
    value: Tensor
    gradient: Tensor
    error: Tensor
    iterations: Tensor
    converged: Tensor
    across: Potentials
    within: Potentials | None
    reg: float = 0.0
    own: float | None = None

    def require(self) -> "TransportSolution":
        """Return itself; raises Unconverged with the numbers where a solve is not."""
        if bool(self.converged.all()):
            return self
        worst, at = float(self.error.max()), int(self.error.argmax())
        raise Unconverged(
            f"{int((~self.converged).sum())} of {len(self.value)} transport solves did not converge: row {at} has "
            f"marginals off by {worst:.1e} after {int(self.iterations[at])} iterations. Raise steps or eps."
        )


def solve(
    problem: TransportProblem,
    weights: Tensor,
    *,
    eps: float = EPS,
    debiased: bool = True,
    start: TransportSolution | None = None,
    tol: float = TOL,
    steps: int = STEPS,
) -> TransportSolution:
    """Entropic distance of mixtures ``weights`` (m, p) to the target, with its gradient by the envelope theorem.

    ``debiased``: the Sinkhorn divergence OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 (Feydy et al. 2019), else OT(a, b).
    ``eps`` is in units of the mean cost. ``start``: an earlier solution of the same problem; a row starts from the row
    with nearest shares, and cold where that leads nowhere (`curate.transport.sinkhorn`). Rows are scaled to sum 1.
    Nothing is raised when a solve does not converge: ``converged`` says it.
    """
    w = _checked(problem, weights)
    reg = eps * problem.across.mean
    near = None if start is None else torch.cdist(w, start.weights, p=1).argmin(dim=1)
    masses, q = problem.masses(w), problem.across.shape[1]
    b = masses.new_full((q,), 1 / q)

    def warm(found: Potentials | None) -> Tensor | None:
        return None if found is None or near is None else found.g[near]

    across = sinkhorn.solve(
        problem.across, masses, b, eps=reg, tol=tol, steps=steps, start=warm(start.across if start else None)
    )
    value, f, error, iterations, converged = (
        across.value, across.f, across.error, across.iterations, across.converged,
    )  # fmt: skip
    within, own = None, None
    if debiased:
        within = sinkhorn.solve(
            problem.within, masses, None, eps=reg, tol=tol, steps=steps, start=warm(start.within if start else None)
        )
        own = start.own if start is not None and start.reg == reg else None
        if own is None:
            alone = sinkhorn.solve(problem.inside, b[None], None, eps=reg, tol=tol, steps=steps)
            own, converged = float(alone.value), converged & alone.converged
        value, f = value - within.value / 2 - own / 2, f - within.f
        error, converged = error.maximum(within.error), converged & within.converged
        iterations = iterations.maximum(within.iterations)
    return TransportSolution(w, value, _along(problem, w, f), error, iterations, converged, across, within, reg, own)


def distance(
    problem: TransportProblem,
    weights: Tensor,
    *,
    eps: float = EPS,
    debiased: bool = True,
    start: TransportSolution | None = None,
    tol: float = TOL,
    steps: int = STEPS,
) -> Tensor:
    """(m,) distances of mixtures ``weights`` (m, p), differentiable once in them. Raises Unconverged.

    A function of the direction of each row: rows are scaled to sum 1, so that its gradient times its row is 0.
    """
    found = solve(problem, weights.detach(), eps=eps, debiased=debiased, start=start, tol=tol, steps=steps).require()
    return attach(weights, found.value, found.gradient)


def attach(weights: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Return ``value`` (m,) as a differentiable function of ``weights`` (m, p) with a known ``gradient`` (m, p)."""
    slope = gradient / weights.detach().sum(dim=1, keepdim=True)
    out: Tensor = _Envelope.apply(weights, value, slope)  # type: ignore[no-untyped-call]
    return out


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weights: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: FunctionCtx, out: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return out[:, None] * gradient, None, None


def exact(problem: TransportProblem, weights: Tensor, *, steps: int = 10**7) -> TransportSolution:
    """Return the unregularised distances by the network simplex, one by one, as ``solve`` does; raises Unconverged.

    Dual prices of sources with no share are set by the c-transform: what the solver returns there is arbitrary.
    """
    import ot  # type: ignore[import-untyped]  # 2.5 to 6 s: only where it is used

    w = _checked(problem, weights)
    costs = problem.across.dense().double().cpu()
    values, prices, others = [], [], []
    b = torch.full((costs.shape[1],), 1 / costs.shape[1], dtype=torch.float64)
    for mass in problem.masses(w).cpu():
        some = mass > 0
        value, log = ot.emd2(
            (mass[some] / mass[some].sum()).numpy(), b.numpy(), costs[some].numpy(), numItermax=steps, log=True
        )
        if log["warning"] is not None:
            raise Unconverged(
                f"exact transport of {int(some.sum())} x {len(b)} points: {log['warning']}. Raise steps from {steps:g}."
            )
        g = torch.from_numpy(log["v"])
        f = (costs - g).amin(dim=1)
        values.append(float(value))
        prices.append(f)
        others.append(g)
    f, g, value = torch.stack(prices), torch.stack(others), torch.tensor(values, dtype=torch.float64)
    nothing, whole = torch.zeros_like(value), torch.ones(len(w), dtype=torch.bool)
    across = Potentials(f, g, value, nothing, nothing.long(), whole)
    return TransportSolution(w, value, _along(problem, w, f), nothing, nothing.long(), whole, across, None)


def values(problem: TransportProblem, solution: TransportSolution) -> Tensor:
    """(m, n) value of every pool sample to each mixture: high = more of it brings the mixture nearer to the target.

    Minus the calibrated dual potential (LAVA; Just et al. 2023): the first-order fall of the distance, per unit of
    mass moved onto the sample from the mixture as a whole. ``problem.source`` and ``problem.rows`` say which it is.
    """
    f = solution.across.f if solution.within is None else solution.across.f - solution.within.f
    return (f * problem.masses(solution.weights)).sum(dim=1, keepdim=True) - f


def _along(problem: TransportProblem, w: Tensor, f: Tensor) -> Tensor:
    means = problem.means(f)
    return means - (means * w).sum(dim=1, keepdim=True)


def _checked(problem: TransportProblem, weights: Tensor) -> Tensor:
    w = weights.detach().double()
    if w.ndim != 2 or w.shape[1] != len(problem.names):
        raise SchemaError(f"weights have shape {tuple(w.shape)}: give (mixtures, {len(problem.names)} sources)")
    sums = w.sum(dim=1)
    bad = ~((w >= -1e-9).all(dim=1) & torch.isfinite(sums) & (sums > 0))
    if bool(bad.any()):
        at = int(bad.int().argmax())
        raise SchemaError(f"weights of row {at} are {w[at].tolist()}: give shares of at least 0 that are not all 0")
    w = w.clamp_min(0)
    return w / w.sum(dim=1, keepdim=True)
