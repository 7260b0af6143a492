"""Solve many small robust least-squares problems at once by damped Gauss-Newton (Levenberg-Marquardt)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.fitting.solver.model_function import ModelFunction, Predict, RowByRow
from curate.fitting.solver.model_function import Rows as Rows  # part of this module's interface
from curate.progress import report

# The longest step in one coordinate. Most coordinates are logarithms, so this is a factor of 20: far enough to leave a
# bad start, short enough that one step cannot overflow the exponential of a law.
LONGEST_STEP = 3.0
# The damping starts here, shrinks fivefold after a step that helps and grows fourfold after one that does not.
FIRST_DAMPING = 1e-2
DAMPING_BOUNDS = (1e-10, 1e10)
# A problem whose damping has passed this moves by nothing that counts: no step that helps exists.
STUCK_DAMPING = 1e8
# Steps that are tried with one Jacobian: another try costs a sixth of a Jacobian. After so many, a new one is computed.
TRIES = 6


@dataclass(frozen=True)
class LeastSquaresProblems:
    """b least-squares problems that share a prediction function.

    ``start`` (b, k); ``target`` (b, n), NaN where not measured; ``weights`` (b, n) of rows; ``delta`` (b,) of Huber's
    loss. The prior adds sum_j precision_j (u_j - centre_j)^2 / 2, with ``centre`` and ``precision`` (b, k).
    """

    start: Tensor
    target: Tensor
    weights: Tensor
    delta: Tensor
    centre: Tensor
    precision: Tensor

    def part(self, positions: Tensor | slice) -> "LeastSquaresProblems":
        """Return the problems at these positions."""
        return LeastSquaresProblems(*(getattr(self, name)[positions] for name in self.__dataclass_fields__))

    def without_gaps(self) -> "LeastSquaresProblems":
        """Return the same problems with missing targets as zeros of weight 0, and a start that may be overwritten."""
        return LeastSquaresProblems(
            self.start.clone(),
            torch.nan_to_num(self.target),
            self.weights * torch.isfinite(self.target),
            self.delta,
            self.centre,
            self.precision,
        )

    def objective(self, point: Tensor, residual: Tensor) -> Tensor:
        """Return the (b,) objectives at ``point`` (b, k), where the residuals are ``residual`` (b, n)."""
        penalty = 0.5 * (self.precision * (point - self.centre) ** 2).sum(dim=1)
        fit = (self.weights * huber(residual, self.delta[:, None])).sum(dim=1)
        # A law that overflows gives NaN; infinity means that the step is never kept.
        return torch.nan_to_num(fit + penalty, nan=torch.inf)


@dataclass(frozen=True)
class LeastSquaresSolution:
    """The solutions of b problems: ``point`` (b, k), ``objective`` (b,), ``converged`` (b,) bool."""

    point: Tensor
    objective: Tensor
    converged: Tensor

    @property
    def best(self) -> Tensor:
        """The (k,) point with the lowest objective."""
        return self.point[self.objective.argmin()]


def huber(residual: Tensor, delta: Tensor | float) -> Tensor:
    """Return Huber's loss of each residual r: r^2 / 2 within +-delta, linear outside (Huber 1964)."""
    size = residual.abs()
    return torch.where(size <= delta, 0.5 * residual * residual, delta * (size - 0.5 * delta))


def least_squares(
    predict: Predict,
    rows: Rows,
    problems: LeastSquaresProblems,
    *,
    steps: int = 200,
    tol: float = 1e-9,
    chunk: int = 256,
    what: str = "starting points fitted",
) -> LeastSquaresSolution:
    """Minimise as ``solve`` does, where ``predict`` gives the prediction of one row."""
    return solve(RowByRow(predict, rows), problems, steps=steps, tol=tol, chunk=chunk, what=what)


def solve(
    function: ModelFunction,
    problems: LeastSquaresProblems,
    *,
    steps: int = 200,
    tol: float = 1e-9,
    chunk: int = 256,
    what: str = "starting points fitted",
) -> LeastSquaresSolution:
    """Minimise sum_j weights_j huber(prediction_j(u) - target_j) + prior for every problem.

    Each step solves (J'WJ + damping diag) d = -J'Wr with Huber's weights W (iteratively reweighted least squares). It
    is kept only if the objective falls; otherwise shorter steps are tried with the same J. A problem has converged when
    the last step that was kept changed its objective by less than the share ``tol``, or when no step helps. At most
    ``chunk`` problems are in work at a time, which bounds the memory. ``what`` names the problems for progress.
    """
    threads = torch.get_num_threads()
    # One thread: sums then have a fixed order, so that a fit is the same on every machine, and such small matrices
    # gain nothing from more.
    torch.set_num_threads(1)
    try:
        return _solve(function, problems.without_gaps(), steps=steps, tol=tol, chunk=chunk, what=what)
    finally:
        torch.set_num_threads(threads)


def jacobian(predict: Predict, points: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the (b, n, k) derivatives and the (b, n) predictions at ``points`` (b, k)."""
    return RowByRow(predict, rows).slopes(points)


def _solve(
    function: ModelFunction, problems: LeastSquaresProblems, *, steps: int, tol: float, chunk: int, what: str
) -> LeastSquaresSolution:
    """Solve the problems, at most ``chunk`` at a time. ``problems.start`` is overwritten."""
    b, point = len(problems.start), problems.start
    objective, damping = torch.full((b,), torch.inf, dtype=point.dtype), torch.full((b,), FIRST_DAMPING).to(point.dtype)
    taken, converged = torch.zeros(b, dtype=torch.long), torch.zeros(b, dtype=torch.bool)
    active, waiting = torch.arange(min(chunk, b)), min(chunk, b)
    while len(active):
        report(what, waiting - len(active), b)
        part, current = problems.part(active), point[active]
        equations, before = _normal_equations(function, current, part)
        step = _better_step(function, part, current, before, equations, damping[active])
        point[active], objective[active], damping[active] = step.point, step.objective, step.damping
        taken[active] += 1
        better = step.objective < before
        gain = (before - step.objective) / before.clamp_min(1e-300)
        done = (better & (gain < tol)) | (~better & (step.damping > STUCK_DAMPING)) | (before == 0)
        converged[active[done]] = True
        # A problem that is done makes room for the next one, so that the batch stays full until few are left.
        active = active[~done & (taken[active] < steps)]
        fresh = torch.arange(waiting, min(b, waiting + chunk - len(active)))
        active, waiting = torch.cat([active, fresh]), waiting + len(fresh)
    report(what, b, b)
    return LeastSquaresSolution(point, objective, converged)


@dataclass(frozen=True)
class _NormalEquations:
    """The quadratic models of b problems at their points: ``gradient`` (b, k) and ``hessian`` (b, k, k)."""

    gradient: Tensor
    hessian: Tensor

    def part(self, rows: Tensor) -> "_NormalEquations":
        return _NormalEquations(self.gradient[rows], self.hessian[rows])

    def step(self, damping: Tensor) -> Tensor:
        """Return (b, k) damped Gauss-Newton steps, of at most LONGEST_STEP in any coordinate."""
        diagonal = self.hessian.diagonal(dim1=1, dim2=2)
        # A parameter that changes no prediction has a zero on the diagonal; the floor keeps the matrix invertible.
        floor = 1e-9 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-12)
        damped = self.hessian + torch.diag_embed(damping[:, None] * diagonal.clamp_min(floor) + floor)
        factor, info = torch.linalg.cholesky_ex(damped)
        step = -torch.cholesky_solve(self.gradient[..., None], factor)[..., 0]
        # Where rounding makes the matrix indefinite (info != 0), a scaled gradient step is used instead.
        step = torch.nan_to_num(torch.where((info == 0)[:, None], step, -self.gradient / diagonal.clamp_min(floor)))
        return step * (LONGEST_STEP / step.abs().amax(dim=1, keepdim=True).clamp_min(LONGEST_STEP))


def _normal_equations(
    function: ModelFunction, current: Tensor, problems: LeastSquaresProblems
) -> tuple[_NormalEquations, Tensor]:
    """Return the quadratic models at ``current`` (b, k), and the (b,) objectives there."""
    slopes, predicted = function.slopes(current)
    residual = predicted - problems.target
    # Huber's loss equals least squares in which a large residual counts with weight delta / |r|.
    robust = torch.clamp(problems.delta[:, None] / residual.abs().clamp_min(1e-300), max=1.0)
    root = (problems.weights * robust).sqrt()
    scaled = root[..., None] * slopes
    gradient = torch.nan_to_num((scaled.mT @ (root * residual)[..., None])[..., 0])
    hessian = torch.nan_to_num(scaled.mT @ scaled)
    return _NormalEquations(
        gradient + problems.precision * (current - problems.centre), hessian + torch.diag_embed(problems.precision)
    ), problems.objective(current, residual)


@dataclass(frozen=True)
class _Step:
    """Where b problems are after a step: ``point`` (b, k), ``objective`` (b,) and the next ``damping`` (b,)."""

    point: Tensor
    objective: Tensor
    damping: Tensor


def _better_step(
    function: ModelFunction,
    problems: LeastSquaresProblems,
    current: Tensor,
    before: Tensor,
    equations: _NormalEquations,
    damping: Tensor,
) -> _Step:
    """Try shorter and shorter steps from ``current`` (b, k) until the objectives are lower than ``before`` (b,).

    A problem for which no try helps stays where it is.
    """
    point, objective, damping = current.clone(), before.clone(), damping.clone()
    trying = torch.arange(len(current))
    for _ in range(TRIES):
        part = problems.part(trying)
        trial = current[trying] + equations.part(trying).step(damping[trying])
        value = part.objective(trial, function.values(trial) - part.target)
        better = value < before[trying]
        point[trying[better]], objective[trying[better]] = trial[better], value[better]
        damping[trying] = torch.where(better, damping[trying] / 5, damping[trying] * 4).clamp(*DAMPING_BOUNDS)
        trying = trying[~better]
        if not len(trying):
            break
    return _Step(point, objective, damping)
