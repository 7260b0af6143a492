"""Solve many small robust least-squares problems at once by damped Gauss-Newton (Levenberg-Marquardt)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from curate.progress import report

# The longest step in one coordinate. Most coordinates are logarithms, so this is a factor of 20: far enough to leave a
# bad start, short enough that one step cannot overflow the exponential of a law.
LONGEST_STEP = 3.0
# The damping starts here, shrinks fivefold after a step that helps and grows fourfold after one that does not.
FIRST_DAMPING = 1e-2
DAMPING_BOUNDS = (1e-10, 1e10)
# A problem whose damping has passed this moves by nothing that counts: no step that helps exists.
STUCK_DAMPING = 1e8

Rows = tuple[Tensor, ...]  # each (n, ...): what a prediction reads of every row
Predict = Callable[[Tensor, Rows], Tensor]  # (k,) parameters and one row -> its prediction, a scalar


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
    """Minimise sum_j weights_j huber(predict(u, rows_j) - target_j) + prior for every problem.

    Each step solves (J'WJ + damping diag) d = -J'Wr with Huber's weights W (iteratively reweighted least squares). It
    is kept only if the objective falls. A problem has converged when the last step that was kept changed its objective
    by less than the share ``tol``. ``chunk`` problems are solved at a time, which bounds the memory. ``what`` names the
    problems for progress.
    """
    threads = torch.get_num_threads()
    # One thread: sums then have a fixed order, so that a fit is the same on every machine, and such small matrices
    # gain nothing from more.
    torch.set_num_threads(1)
    try:
        parts = []
        for i in range(0, len(problems.start), chunk):
            solved = partial(_report_solved, what, i, len(problems.start))
            part = problems.part(slice(i, i + chunk))
            parts.append(_solve_chunk(predict, rows, part, steps=steps, tol=tol, solved=solved))
    finally:
        torch.set_num_threads(threads)
    fields = LeastSquaresSolution.__dataclass_fields__
    return LeastSquaresSolution(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def _report_solved(what: str, before: int, total: int, count: int) -> None:
    report(what, before + count, total)


def jacobian(predict: Predict, points: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the (b, n, k) derivatives and the (b, n) predictions at ``points`` (b, k)."""
    # A prediction depends on the parameters and its own row alone. So one reverse pass gives the whole (n, k)
    # Jacobian, for about the price of four predictions, whatever k is.
    per_row = vmap(grad_and_value(predict), in_dims=(None, 0))
    slopes, values = vmap(per_row, in_dims=(0, None))(points, rows)
    return slopes, values


def _solve_chunk(
    predict: Predict,
    rows: Rows,
    problems: LeastSquaresProblems,
    *,
    steps: int,
    tol: float,
    solved: Callable[[int], None],
) -> LeastSquaresSolution:
    """Solve the problems together. ``solved`` is called after each step with the number that have converged."""
    per_row = vmap(predict, in_dims=(None, 0))

    def values(points: Tensor) -> Tensor:
        return vmap(per_row, in_dims=(0, None))(points, rows)

    problems = problems.without_gaps()
    point, active = problems.start, torch.arange(len(problems.start))
    damping = torch.full((len(point),), FIRST_DAMPING, dtype=point.dtype)
    objective = problems.objective(point, values(point) - problems.target)
    converged = torch.zeros(len(point), dtype=torch.bool)
    solved(0)
    for _ in range(steps):
        part, current = problems.part(active), point[active]
        slopes, predicted = jacobian(predict, current, rows)
        trial = current + _step(slopes, predicted - part.target, current, part, damping[active])
        trial_objective = part.objective(trial, values(trial) - part.target)
        better = trial_objective < objective[active]
        gain = (objective[active] - trial_objective) / objective[active].clamp_min(1e-300)
        stuck = ~better & (damping[active] > STUCK_DAMPING)
        done = (better & (gain < tol)) | stuck | (objective[active] == 0)
        point[active] = torch.where(better[:, None], trial, current)
        objective[active] = torch.where(better, trial_objective, objective[active])
        damping[active] = torch.where(better, damping[active] / 5, damping[active] * 4).clamp(*DAMPING_BOUNDS)
        converged[active[done]] = True
        # Problems that are solved leave the batch: the slow ones then cost no more than themselves.
        active = active[~done]
        solved(len(point) - len(active))
        if len(active) == 0:
            break
    solved(len(point))
    return LeastSquaresSolution(point, objective, converged)


def _step(slopes: Tensor, residual: Tensor, current: Tensor, problems: LeastSquaresProblems, damping: Tensor) -> Tensor:
    """Return (b, k) damped Gauss-Newton steps, of at most LONGEST_STEP in any coordinate."""
    # Huber's loss equals least squares in which a large residual counts with weight delta / |r|.
    robust = torch.clamp(problems.delta[:, None] / residual.abs().clamp_min(1e-300), max=1.0)
    scaled = (problems.weights * robust)[..., None] * slopes
    gradient = torch.nan_to_num((scaled * residual[..., None]).sum(dim=1))
    gradient = gradient + problems.precision * (current - problems.centre)
    hessian = torch.nan_to_num(slopes.mT @ scaled) + torch.diag_embed(problems.precision)
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    # A parameter that changes no prediction has a zero on the diagonal; the floor keeps the matrix invertible.
    floor = 1e-9 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-12)
    damped = hessian + torch.diag_embed(damping[:, None] * diagonal.clamp_min(floor) + floor)
    factor, info = torch.linalg.cholesky_ex(damped)
    step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    # Where rounding makes the matrix indefinite (info != 0), a scaled gradient step is used instead.
    step = torch.nan_to_num(torch.where((info == 0)[:, None], step, -gradient / diagonal.clamp_min(floor)))
    return step * (LONGEST_STEP / step.abs().amax(dim=1, keepdim=True).clamp_min(LONGEST_STEP))
