"""Solve many small robust least-squares problems at once by damped Gauss-Newton (Levenberg-Marquardt)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate import numerical_threads
from curate.fitting.solver.model_function import ModelFunction, Predict, RowByRow
from curate.fitting.solver.model_function import Rows as Rows  # part of this module's interface
from curate.progress import report

# The longest step in one coordinate. Most coordinates are logarithms, so this is a factor of 20: far enough to leave a
# bad start, short enough that one step cannot overflow the exponential of a law.
LONGEST_STEP = 3.0
# The damping starts here. After a step that helps it is multiplied by 1 - (2 q - 1)^3, within these bounds, where q is
# the achieved fall of the objective over the predicted one. After the first, second ... step that does not help, it is
# multiplied by 2, 4, ... (Nielsen 1999, Damping parameter in Marquardt's method).
FIRST_DAMPING = 1e-2
DAMPING_CHANGES = (0.1, 4.0)
DAMPING_BOUNDS = (1e-10, 1e10)
# A problem whose damping has passed this moves by nothing that counts: no step that helps exists.
STUCK_DAMPING = 1e8
# Steps that are tried with one Jacobian. The damping grows by 2 million over so many.
TRIES = 6
# The share of a step at which predictions are computed to measure how they bend along it (Transtrum and Sethna 2012,
# arXiv 1201.5885, who use 0.1).
PROBE = 0.1


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

    Each step solves (J'WJ + damping diag) d = -J'Wr with Huber's weights W (iteratively reweighted least squares). A
    second-order correction follows the curve of the predictions along d: where parameters can replace each other, steps
    are then several times as long (geodesic acceleration, Transtrum and Sethna 2012, arXiv 1201.5885). A step is kept
    only if the objective falls; otherwise shorter steps are tried with the same J. A problem has converged when the
    last step that was kept changed its objective by less than the share ``tol``, or when no step helps. At most
    ``chunk`` problems are in work at a time, which bounds the memory. ``what`` names the problems for progress.
    """
    # Sums have a fixed order on one thread, so that a fit is the same on every machine.
    with numerical_threads.single():
        return _solve(function, problems.without_gaps(), steps=steps, tol=tol, chunk=chunk, what=what)


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
        local = _LocalModel.around(point[active], function, problems.part(active))
        before = local.objective
        step = _better_step(function, local, damping[active])
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
class _LocalModel:
    """b problems at their points (b, k): what is needed to predict the effect of a step.

    ``objective`` (b,); ``residual`` and ``root``, the square roots of the rows' weights, (b, n); ``slopes`` (b, n, k),
    times ``root``; ``gradient`` (b, k) and ``hessian`` (b, k, k) of the quadratic approximation.
    """

    problems: LeastSquaresProblems
    point: Tensor
    objective: Tensor
    residual: Tensor
    root: Tensor
    slopes: Tensor
    gradient: Tensor
    hessian: Tensor

    @staticmethod
    def around(point: Tensor, function: ModelFunction, problems: LeastSquaresProblems) -> "_LocalModel":
        """Return the local models at ``point`` (b, k)."""
        slopes, predicted = function.slopes(point)
        residual = predicted - problems.target
        # Huber's loss equals least squares in which a large residual counts with weight delta / |r|.
        robust = torch.clamp(problems.delta[:, None] / residual.abs().clamp_min(1e-300), max=1.0)
        root = (problems.weights * robust).sqrt()
        slopes = slopes.mul_(root[..., None])
        gradient = _times(slopes, root * residual) + problems.precision * (point - problems.centre)
        hessian = torch.nan_to_num(slopes.mT @ slopes) + torch.diag_embed(problems.precision)
        objective = problems.objective(point, residual)
        return _LocalModel(problems, point, objective, residual, root, slopes, gradient, hessian)

    def part(self, rows: Tensor) -> "_LocalModel":
        """Return the models of some problems."""
        others = [getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "problems"]
        return _LocalModel(self.problems.part(rows), *others)

    def damped(self, gradient: Tensor, damping: Tensor) -> Tensor:
        """Return (b, k) minimisers of gradient . d + d . hessian d / 2 with ``damping`` (b,)."""
        diagonal = self.hessian.diagonal(dim1=1, dim2=2)
        # A parameter that changes no prediction has a zero on the diagonal; the floor keeps the matrix invertible.
        floor = 1e-9 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-12)
        matrix = self.hessian + torch.diag_embed(damping[:, None] * diagonal.clamp_min(floor) + floor)
        factor, info = torch.linalg.cholesky_ex(matrix)
        step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        # Where rounding makes the matrix indefinite (info != 0), a scaled gradient step is used instead.
        return torch.nan_to_num(torch.where((info == 0)[:, None], step, -gradient / diagonal.clamp_min(floor)))

    def correction(self, function: ModelFunction, step: Tensor, damping: Tensor) -> Tensor:
        """Return the (b, k) second-order corrections of ``step`` (b, k), no longer than the step."""
        probe = function.values(self.point + PROBE * step) - self.problems.target
        linear = (self.slopes @ step[..., None])[..., 0]
        bend = (self.root * (probe - self.residual) / PROBE - linear) * 2 / PROBE  # second derivative along the step
        correction = 0.5 * self.damped(_times(self.slopes, bend), damping)
        longer = correction.norm(dim=1) > step.norm(dim=1)
        return torch.where(longer[:, None], 0.0, correction)

    def predicted_fall(self, step: Tensor) -> Tensor:
        """Return how much the quadratic approximation falls (b,) over ``step`` (b, k)."""
        return -(self.gradient * step).sum(dim=1) - 0.5 * ((self.hessian @ step[..., None])[..., 0] * step).sum(dim=1)


def _times(slopes: Tensor, residual: Tensor) -> Tensor:
    """Return the (b, k) products of slopes (b, n, k) and (b, n) residuals, with 0 in place of NaN."""
    return torch.nan_to_num((slopes.mT @ residual[..., None])[..., 0])


def _limited(step: Tensor) -> Tensor:
    """Return steps (b, k) of at most LONGEST_STEP in any coordinate."""
    return step * (LONGEST_STEP / step.abs().amax(dim=1, keepdim=True).clamp_min(LONGEST_STEP))


@dataclass(frozen=True)
class _Step:
    """Where b problems are after a step: ``point`` (b, k), ``objective`` (b,) and the next ``damping`` (b,)."""

    point: Tensor
    objective: Tensor
    damping: Tensor


def _better_step(function: ModelFunction, local: _LocalModel, damping: Tensor) -> _Step:
    """Try shorter and shorter steps until the objectives fall. A problem for which no try helps stays where it is."""
    point, objective, damping = local.point.clone(), local.objective.clone(), damping.clone()
    trying = torch.arange(len(point))
    for i in range(TRIES):
        step = _limited(local.damped(local.gradient, damping[trying]))
        trial = local.point + _limited(step + local.correction(function, step, damping[trying]))
        value = local.problems.objective(trial, function.values(trial) - local.problems.target)
        better = value < local.objective
        point[trying[better]], objective[trying[better]] = trial[better], value[better]
        quality = (local.objective - value) / local.predicted_fall(step)
        change = torch.where(better, (1 - (2 * quality - 1) ** 3).clamp(*DAMPING_CHANGES), 2.0 ** (i + 1))
        damping[trying] = (damping[trying] * torch.nan_to_num(change, nan=1.0)).clamp(*DAMPING_BOUNDS)
        if bool(better.all()):
            break
        trying, local = trying[~better], local.part(~better)
    return _Step(point, objective, damping)
