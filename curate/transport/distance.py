"""Measure the optimal-transport distance of mixtures to a target, and its gradient in the shares.

In: `TransportProblem` and mixtures. Out: `TransportSolution`, or distances that torch can differentiate.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from curate.errors import SchemaError
from curate.transport import sinkhorn
from curate.transport.ground_cost import TransportProblem
from curate.transport.sinkhorn import Potentials, Unconverged

EPS = 0.02  # regularisation, in units of the mean cost
TOL = 1e-3  # largest L1 error of a marginal
STEPS = 5000  # most iterations
NEGATIVE_ROUNDING = -1e-9  # a share this little below 0 is rounding of a solver


@dataclass(frozen=True, eq=False, repr=False)
class TransportSolution:
    """Distances of m mixtures to the target.

    Attributes:
        weights: (m, p) the mixtures, scaled to sum to 1.
        value: (m,) distances in units of the problem's scale.
        gradient: (m, p) gradient along the simplex: shares times it sum to 0.
        error: (m,) L1 error of the marginals.
        iterations: (m,) of the solver.
        converged: (m,) whether the error is within the tolerance.
        across, within: potentials to the target and, if debiased, of the mixture to itself. The next solve may start
            from them.
        reg: the regularisation, in units of the cost.
        own: the target's cost to itself at ``reg``, so that the next solve need not compute it again.
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

    def __repr__(self) -> str:
        """Return the number of mixtures and the range of distances in one line."""
        low, high = float(self.value.min()), float(self.value.max())
        done = int(self.converged.sum())
        return f"TransportSolution({len(self.value)} mixtures, {done} converged, distances {low:.4g} to {high:.4g})"

    def require(self) -> "TransportSolution":
        """Return the solution itself if every solve converged.

        Raises:
            Unconverged: otherwise, with the number of solves and the largest error.
        """
        if bool(self.converged.all()):
            return self
        worst, row = float(self.error.max()), int(self.error.argmax())
        raise Unconverged(
            f"{int((~self.converged).sum())} of {len(self.value)} transport solves did not converge: row {row} has "
            f"marginals off by {worst:.1e} after {int(self.iterations[row])} iterations. Raise steps or eps."
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
    """Return entropic distances of mixtures ``weights`` (m, p) to the target, with gradients.

    Gradients follow from the envelope theorem. Nothing is raised when a solve does not converge: see ``converged`` of
    the result, or call ``require``.

    Args:
        problem: sources and target.
        weights: (m, p) shares; rows are scaled to sum to 1.
        eps: regularisation in units of the mean cost.
        debiased: return the Sinkhorn divergence OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 (Feydy et al. 2019), else
            OT(a, b).
        start: an earlier solution of the same problem. A row starts from the row with the nearest shares, and cold
            where that leads nowhere; see `curate.transport.sinkhorn`.
        tol: largest L1 error of a marginal.
        steps: most iterations.

    Raises:
        SchemaError: for shares that are no mixtures of the sources.
    """
    w = _checked(problem, weights)
    # The mean cost makes eps mean the same for every data set and encoder.
    reg = eps * problem.across.mean
    nearest = None if start is None else torch.cdist(w, start.weights, p=1).argmin(dim=1)
    masses, q = problem.masses(w), problem.across.shape[1]
    b = masses.new_full((q,), 1 / q)

    def warm(potentials: Potentials | None) -> Tensor | None:
        return None if potentials is None or nearest is None else potentials.g[nearest]

    across_start = warm(start.across if start else None)
    across = sinkhorn.solve(problem.across, masses, b, eps=reg, tol=tol, steps=steps, start=across_start)
    value, f, error, iterations = across.value, across.f, across.error, across.iterations
    converged = across.converged
    within, own = None, None
    if debiased:
        within_start = warm(start.within if start else None)
        within = sinkhorn.solve(problem.within, masses, None, eps=reg, tol=tol, steps=steps, start=within_start)
        # The target's cost to itself does not depend on the mixture, so an earlier solution has it already.
        own = start.own if start is not None and start.reg == reg else None
        if own is None:
            alone = sinkhorn.solve(problem.inside, b[None], None, eps=reg, tol=tol, steps=steps)
            own, converged = float(alone.value), converged & alone.converged
        # The gradient of OT(a, a) / 2 in the masses is (f + g) / 2, and f = g in this symmetric problem.
        value, f = value - within.value / 2 - own / 2, f - within.f
        error, converged = error.maximum(within.error), converged & within.converged
        iterations = iterations.maximum(within.iterations)
    gradient = _along_simplex(problem, w, f)
    return TransportSolution(w, value, gradient, error, iterations, converged, across, within, reg, own)


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
    """Return distances (m,) of mixtures ``weights`` (m, p), which torch can differentiate once in the weights.

    Rows are scaled to sum to 1, so a distance depends on the direction of its row alone, and its gradient times the row
    is 0. The options are those of `solve`.

    Raises:
        Unconverged: if a solve does not converge.
        SchemaError: for shares that are no mixtures of the sources.
    """
    solution = solve(problem, weights.detach(), eps=eps, debiased=debiased, start=start, tol=tol, steps=steps)
    solution.require()
    return attach(weights, solution.value, solution.gradient)


def attach(weights: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Return ``value`` (m,) as a differentiable function of ``weights`` (m, p), with ``gradient`` (m, p)."""
    slope = gradient / weights.detach().sum(dim=1, keepdim=True)
    out: Tensor = _Envelope.apply(weights, value, slope)  # type: ignore[no-untyped-call]
    return out


class _Envelope(torch.autograd.Function):
    """A value whose gradient was computed elsewhere."""

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
    """Return the distances without regularisation, by the network simplex, one mixture after the other.

    Raises:
        Unconverged: if the solver stops early.
        SchemaError: for shares that are no mixtures of the sources.
    """
    # Importing POT takes 2.5 to 6 seconds, so it is imported only where it is used.
    import ot  # type: ignore[import-untyped]

    w = _checked(problem, weights)
    costs = problem.across.dense().double().cpu()
    values, source_potentials, target_potentials = [], [], []
    b = torch.full((costs.shape[1],), 1 / costs.shape[1], dtype=torch.float64)
    for mass in problem.masses(w).cpu():
        used = mass > 0
        value, log = ot.emd2(
            (mass[used] / mass[used].sum()).numpy(), b.numpy(), costs[used].numpy(), numItermax=steps, log=True
        )
        if log["warning"] is not None:
            raise Unconverged(
                f"exact transport of {int(used.sum())} x {len(b)} points: {log['warning']}. Raise steps from {steps:g}."
            )
        g = torch.from_numpy(log["v"])
        values.append(float(value))
        # The solver's dual prices of sources without a share are arbitrary. The c-transform sets all of them.
        source_potentials.append((costs - g).amin(dim=1))
        target_potentials.append(g)
    f, g = torch.stack(source_potentials), torch.stack(target_potentials)
    value = torch.tensor(values, dtype=torch.float64)
    zero, everywhere = torch.zeros_like(value), torch.ones(len(w), dtype=torch.bool)
    across = Potentials(f, g, value, zero, zero.long(), everywhere)
    return TransportSolution(w, value, _along_simplex(problem, w, f), zero, zero.long(), everywhere, across, None)


def values(problem: TransportProblem, solution: TransportSolution) -> Tensor:
    """Return the value (m, n) of every pool sample to each mixture: with more of a high one it is nearer to the target.

    It is minus the calibrated dual potential (LAVA; Just et al. 2023): the first-order fall of the distance, per unit
    of mass moved onto the sample from the mixture as a whole. ``problem.source`` and ``problem.rows`` say which sample
    a column is.
    """
    f = solution.across.f if solution.within is None else solution.across.f - solution.within.f
    return (f * problem.masses(solution.weights)).sum(dim=1, keepdim=True) - f


def _along_simplex(problem: TransportProblem, w: Tensor, f: Tensor) -> Tensor:
    """Return the (m, p) gradient by the shares, from potentials (m, n): means of sources less that of the mixture."""
    means = problem.means(f)
    return means - (means * w).sum(dim=1, keepdim=True)


def _checked(problem: TransportProblem, weights: Tensor) -> Tensor:
    w = weights.detach().double()
    if w.ndim != 2 or w.shape[1] != len(problem.names):
        raise SchemaError(f"weights have shape {tuple(w.shape)}: give (mixtures, {len(problem.names)} sources)")
    sums = w.sum(dim=1)
    bad = ~((w >= NEGATIVE_ROUNDING).all(dim=1) & torch.isfinite(sums) & (sums > 0))
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise SchemaError(f"weights of row {row} are {w[row].tolist()}: give shares of at least 0 that are not all 0")
    w = w.clamp_min(0)
    return w / w.sum(dim=1, keepdim=True)
