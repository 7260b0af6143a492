"""The passes of a fit, each a batch of least-squares problems: many starts, shared exponents, bootstrap refits."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting.solver import least_squares
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.model_function import ModelFunction, log_losses
from curate.fitting.solver.redraws import Redraws
from curate.fitting.solver.residual_noise import FIRST_NOISE, noise_of_residuals, robust_noise
from curate.fitting.solver.residual_noise import MAD_TO_SIGMA as MAD_TO_SIGMA  # for the checks of runs
from curate.laws import Law
from curate.runs.recipes import Recipes

DELTA = 1e-3  # smallest Huber delta on log loss; Hoffmann et al. 2022 (arXiv 2203.15556) use it for all fits
TUNED = 1.345  # Huber's delta in residual scales: 95 % efficient on Gaussian noise (Huber 1981)
SETTLED = 0.05  # relative change: if the noise changes by less, it is not estimated again
# The largest number of times that the noise is estimated. It falls from FIRST_NOISE to NOISE_FLOOR in ten halvings.
ROUNDS = 16
SHARING = 0.15  # of its prior width: how far a shared parameter of one eval may sit from the median over evals
DRAW_TOL = 1e-5  # relative change of the objective at which a bootstrap refit stops: far below its own spread
DRAW_STEPS = 60  # a refit starts at the solution, so that few steps are enough
CHUNK_CELLS = 1_000_000  # problems x rows x (parameters or 8 x pools) at once: memory stays under about 200 MB
FAR = 0.1  # two solutions further apart than this in any coordinate are two minima
NEARLY_AS_GOOD = 1.1  # a second minimum counts if its objective is at most this many times the best one


@dataclass(frozen=True)
class FitOptions:
    """How to fit a law.

    ``starts``: starting points of a Sobol sequence. ``draws``: bootstrap refits. ``delta``: of Huber's loss on log
    loss; None means 1.345 residual scales of a first pass, at least 1e-3. ``prior``: whether the law's weak priors
    count. ``sharing``: how far shared parameters of one eval may sit from the median over evals, in prior widths.
    ``rounds``: the largest number of times that the noise is estimated from the residuals. It usually settles earlier.
    ``unfinished``: whether rows of unfinished runs are fitted by a term of their own (`laws._unfinished`).
    """

    starts: int = 32
    draws: int = 200
    delta: float | None = None
    prior: bool = True
    sharing: float = SHARING
    rounds: int = ROUNDS
    seed: int = 0
    unfinished: bool = False


DEFAULTS = FitOptions()


@dataclass(frozen=True)
class Minima:
    """The solutions of m evals, and the noise and priors with which they were found.

    ``point`` (m, k); ``other`` (m, k), a second minimum that is nearly as good, or the same point; ``noise`` (m,) of
    log loss; ``centre`` and ``width`` (m, k) of the priors.
    """

    point: Tensor
    other: Tensor
    noise: Tensor
    centre: Tensor
    width: Tensor

    def part(self, evals: Tensor) -> "Minima":
        """Return the minima of some evals, by their positions."""
        return Minima(*(getattr(self, name)[evals] for name in self.__dataclass_fields__))

    def with_part(self, evals: Tensor, part: "Minima") -> "Minima":
        """Return the minima with those of some evals replaced."""
        fields = self.__dataclass_fields__
        return Minima(*(getattr(self, name).index_copy(0, evals, getattr(part, name)) for name in fields))


@dataclass(frozen=True)
class FitPasses:
    """One fit of a law to m evals of the same n runs, and the passes that it consists of.

    ``target`` (m, n): log losses, NaN where not measured; ``weights`` (n,) of rows; ``runs_per_row`` (n,): how many
    independent runs a row counts for where the noise is estimated.
    """

    law: Law
    coordinates: Coordinates
    recipes: Recipes
    target: Tensor
    weights: Tensor
    runs_per_row: Tensor
    options: FitOptions

    @property
    def function(self) -> ModelFunction:
        """The log losses of the recipes as a function of the coordinates."""
        return log_losses(self.law, self.coordinates, self.recipes)

    def problems(self, start: Tensor, minima: Minima) -> least_squares.LeastSquaresProblems:
        """Return one problem for each row of ``start`` (m x s, k): s starts for every eval in turn."""
        each = len(start) // len(self.target)
        precision = (minima.noise[:, None] / minima.width) ** 2 * self.options.prior
        return least_squares.LeastSquaresProblems(
            start=start,
            target=self.target.repeat_interleave(each, 0),
            weights=self.weights.expand(len(start), len(self.recipes)),
            delta=self.delta(minima.noise).repeat_interleave(each),
            centre=minima.centre.repeat_interleave(each, 0),
            precision=precision.repeat_interleave(each, 0),
        )

    def solve(
        self,
        problems: least_squares.LeastSquaresProblems,
        *,
        tol: float = 1e-9,
        steps: int = 200,
        what: str = "starting points fitted",
    ) -> least_squares.LeastSquaresSolution:
        """Solve problems over these runs, as many at a time as memory allows."""
        chunk = chunk_size(len(self.recipes), self.coordinates.size, self.coordinates.pools)
        return least_squares.solve(self.function, problems, steps=steps, tol=tol, chunk=chunk, what=what)

    def delta(self, noise: Tensor) -> Tensor:
        """Return Huber's delta for (m,) noises."""
        if self.options.delta is not None:
            return torch.full_like(noise, self.options.delta)
        return (TUNED * noise).clamp_min(DELTA)

    def from_many_starts(self, spec: str) -> Minima:
        """Fit from many starts with an assumed noise, then fit again with the noise of the residuals until it settles.

        Raises:
            FitError: if no start gives a finite loss.
        """
        m, starts = len(self.target), self.options.starts
        centre, width = (x.expand(m, -1) for x in self.coordinates.prior())
        noise = torch.full((m,), self.options.delta or FIRST_NOISE, dtype=torch.float64)
        minima = Minima(centre, centre, noise, centre, width)
        start = self.coordinates.starts(starts, self.options.seed).repeat(m, 1)
        solution = self.solve(self.problems(start, minima))
        if not bool(torch.isfinite(solution.objective.reshape(m, starts).amin(dim=1)).all()):
            raise FitError(
                f"{spec} gives no finite loss from any of {starts} starts. Are tokens and params in single units?"
            )
        point, other = _two_minima(solution, m)
        minima = replace(minima, point=point, other=other)
        return minima if self.options.delta is not None else self._settled(minima, solution.point)

    def _settled(self, minima: Minima, start: Tensor) -> Minima:
        """Estimate the noise from the residuals and fit with it, until it no longer falls.

        The noise decides how strongly the prior pulls. If the noise is too large, the prior pulls the fit away from the
        runs, and the residuals become too large as well. So one estimate of the noise is not enough. The first fit
        starts from ``start`` (m x s, k), and each later fit from the minima of the fit before it.
        """
        for i in range(self.options.rounds):
            noise = robust_noise(self.residuals(minima.point), self.coordinates.size)
            change = noise / minima.noise - 1
            # The first estimate may be larger than FIRST_NOISE. If a later estimate rises, the pull of the prior is the
            # cause, not noise, and the larger estimate would make that pull stronger.
            moving = torch.nonzero((change.abs() if i == 0 else -change) > SETTLED)[:, 0]
            if not len(moving):
                break
            # Only evals whose noise has not settled are fitted again.
            part = replace(minima.part(moving), noise=noise[moving])
            passes, m = replace(self, target=self.target[moving]), len(moving)
            start = start.reshape(len(self.target), -1, start.shape[1])[moving].flatten(0, 1)
            point, other = _two_minima(passes.solve(passes.problems(start, part)), m)
            minima = minima.with_part(moving, replace(part, point=point, other=other))
            start = torch.stack([minima.point, minima.other], dim=1).flatten(0, 1)
        return minima

    def share(self, minima: Minima) -> Minima:
        """Pull shared parameters towards their median over the evals, and fit again."""
        shared = self.coordinates.shared
        centre = torch.where(shared, minima.point.median(dim=0).values, minima.centre)
        width = torch.where(shared, self.options.sharing * minima.width, minima.width)
        pulled = replace(minima, centre=centre, width=width)
        point = self.solve(self.problems(minima.point, pulled)).point
        return replace(
            pulled, point=point, other=point, noise=robust_noise(self.residuals(point), self.coordinates.size)
        )

    def bootstrap(self, minima: Minima, redraws: Redraws) -> Tensor:
        """Return (m, b, k) refits, each with its own rows, noise and prior centre."""
        m, b = len(self.target), len(redraws.counts)
        # A refit starts from both minima, since resampled rows may prefer the second one.
        two = bool((minima.other != minima.point).any())
        start = torch.stack([minima.point, minima.other] if two else [minima.point], dim=1)  # (m, 1 or 2, k)
        each = start.shape[1]
        # Prior centres are drawn from the prior: what the runs do not determine then varies as widely as the prior.
        rng = np.random.default_rng(self.options.seed)
        shifts = torch.from_numpy(rng.standard_normal((b, self.coordinates.size)))
        centre = minima.centre[:, None] + minima.width[:, None] * shifts  # (m, b, k)
        noise, free = self.noise_of_runs(minima)
        # If there are many rows, the draws use the robust noise of the fit.
        drawn_noise = (noise if redraws.few else minima.noise)[:, None] * redraws.scales(free)  # (m, b)
        target = self.target[:, None] + drawn_noise[..., None] * redraws.errors
        problems = self.problems(start.repeat_interleave(b, dim=1).flatten(0, 1), minima)

        def repeated(values: Tensor) -> Tensor:
            """Repeat (m, b, ...) values for each minimum from which the refits start."""
            return values[:, None].expand(m, each, *values.shape[1:]).flatten(0, 2)

        problems = replace(
            problems,
            target=repeated(target),
            weights=redraws.counts.repeat(m * each, 1) * self.weights,
            delta=repeated(self.delta(drawn_noise)),
            centre=repeated(centre),
            precision=repeated((drawn_noise[..., None] / minima.width[:, None]) ** 2 * self.options.prior),
        )
        solution = self.solve(problems, tol=DRAW_TOL, steps=DRAW_STEPS, what="bootstrap draws fitted")
        objective = solution.objective.reshape(m, each, b)
        points = solution.point.reshape(m, each, b, -1)
        return points.take_along_dim(objective.argmin(dim=1)[:, None, :, None], dim=1)[:, 0]

    def residuals(self, point: Tensor) -> Tensor:
        """Return the (m, n) predicted minus measured log losses at ``point`` (m, k), NaN where not measured."""
        return self.function.values(point) - self.target

    def noise_of_runs(self, minima: Minima) -> tuple[Tensor, Tensor]:
        """Return the (m,) standard deviations of the log loss of a run, and their (m,) degrees of freedom."""
        slopes, _ = self.function.slopes(minima.point)  # (m, n, k)
        measured = torch.isfinite(self.target) * self.weights
        data = slopes.mT @ (measured[..., None] * slopes)
        prior = torch.diag_embed((minima.noise[:, None] / minima.width) ** 2 * self.options.prior)
        # A parameter that the prior determines uses no degree of freedom. The number of parameters that the runs
        # determine is the trace of (J'J + prior)^-1 J'J, where J are the slopes of the log losses.
        determined = torch.linalg.pinv(data + prior) @ data
        parameters = determined.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(0, self.coordinates.size)
        return noise_of_residuals(self.residuals(minima.point), parameters, self.runs_per_row)


def chunk_size(rows: int, parameters: int, pools: int) -> int:
    """Return how many problems are solved at a time, so that memory stays bounded."""
    return max(1, CHUNK_CELLS // (rows * max(parameters, 8 * pools)))


def _two_minima(solution: least_squares.LeastSquaresSolution, m: int) -> tuple[Tensor, Tensor]:
    """Return the (m, k) best points, and a second minimum that is nearly as good (or the best point again)."""
    points = solution.point.reshape(m, -1, solution.point.shape[1])
    values = solution.objective.reshape(m, -1)
    evals = torch.arange(m)
    first = values.argmin(dim=1)
    best, lowest = points[evals, first], values[evals, first]
    far = (points - best[:, None]).abs().amax(dim=2) > FAR
    rivals = torch.where(far & (values < NEARLY_AS_GOOD * lowest[:, None]), values, torch.inf)
    second = rivals.argmin(dim=1)
    exists = torch.isfinite(rivals[evals, second])
    return best, torch.where(exists[:, None], points[evals, second], best)
