"""The passes of a fit, each a batch of least-squares problems: many starts, shared exponents, bootstrap refits."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting.solver import least_squares
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.minima import Ends, Minima
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
# Most starts lead to the same minimum, or to a bad one. So all starts get a few steps, the better half gets more, and
# only KEPT_STARTS are followed to the end. On the shared tables this loses no minimum that all starts would find
# (tests/fitting/test_starts.py). When the starts were compared on a part of the rows, mixture_additive of five pools
# ended in a minimum that is 8 % worse.
RACE_STEPS = (10, 20)
KEPT_STARTS = 8
FIRST_ROWS = 10  # rows a parameter that the first starts read, which only serve to estimate the noise
RACE_TOL = 1e-4  # relative change of the objective at which a start rests during the race
ROUND_TOL = 1e-6  # relative change of the objective at which a fit stops while the noise is still being estimated
TOL, STEPS = 1e-9, 200  # relative change of the objective at which a fit stops, and its most steps
# A bootstrap refit of n rows stops where its objective changes by less than the share DRAW_TOL / n, or MOST_DRAW_TOL.
# The objective is about n / 2 variances of the noise, so that such a change is far below the spread of the draws.
DRAW_TOL, MOST_DRAW_TOL = 1e-2, 1e-4
DRAW_STEPS = 60  # a refit starts at the solution, so that few steps are enough
CHUNK_CELLS = 1_000_000  # problems x rows x (parameters or 8 x pools) at once: memory stays under about 200 MB


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

    def problems(self, start: Tensor, evals: Tensor, minima: Minima) -> least_squares.LeastSquaresProblems:
        """Return one problem for each row of ``start`` (s, k), for the evals at the positions ``evals`` (s,)."""
        precision = (minima.noise[:, None] / minima.width) ** 2 * self.options.prior
        return least_squares.LeastSquaresProblems(
            start=start,
            target=self.target[evals],
            weights=self.weights.expand(len(start), len(self.recipes)),
            delta=self.delta(minima.noise)[evals],
            centre=minima.centre[evals],
            precision=precision[evals],
        )

    def solve(
        self,
        problems: least_squares.LeastSquaresProblems,
        *,
        tol: float = TOL,
        steps: int = STEPS,
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
        m = len(self.target)
        centre, width = (x.expand(m, -1) for x in self.coordinates.prior())
        noise = torch.full((m,), self.options.delta or FIRST_NOISE, dtype=torch.float64)
        minima = Minima(centre, centre, noise, centre, width)
        ends = self.best_ends(minima, FIRST_ROWS * centre.shape[1])
        if not all(bool(torch.isfinite(ends.objective[ends.evals == i]).any()) for i in range(m)):
            raise FitError(
                f"{spec} gives no finite loss from any of {self.options.starts} starts. Are tokens and params in "
                "single units?"
            )
        if self.options.delta is None:
            minima = self._settled(minima.with_ends(ends), ends.distinct(), may_rise=True)
            # With less noise the prior pulls less, and minima appear that the first starts could not find.
            ends = self.ends(minima.ends(), minima, tol=ROUND_TOL).and_also(self.best_ends(minima))
            minima = self._settled(minima.with_ends(ends), ends.distinct(), may_rise=False)
        return minima.with_ends(self.ends(minima.ends(), minima))

    def best_ends(self, minima: Minima, rows: int | None = None) -> Ends:
        """Follow the starts of every eval for a few steps, and only the best to the end.

        With ``rows`` the first steps read only so many rows.
        """
        points = self.coordinates.starts(self.options.starts, self.options.seed)
        racing = Ends.of_starts(points.expand(len(self.target), -1, -1))
        passes, count = self if rows is None else self.on_few_rows(rows), self.options.starts
        for steps in RACE_STEPS:
            count = max(KEPT_STARTS, count // 2)
            if len(racing.evals) <= count * len(self.target):
                break
            racing = passes.ends(racing, minima, tol=RACE_TOL, steps=steps).distinct(count)
        return self.ends(racing, minima, tol=ROUND_TOL)

    def on_few_rows(self, count: int) -> "FitPasses":
        """Return the same passes over ``count`` random rows, or over all if that saves little."""
        complete = torch.nonzero(torch.isfinite(self.target).all(dim=0) & (self.weights > 0))[:, 0]
        if len(complete) < 2 * count:
            return self
        order = torch.from_numpy(np.random.default_rng(self.options.seed).permutation(len(complete))[:count])
        rows = complete[order.sort().values]
        parts = {name: getattr(self, name)[rows] for name in ("weights", "runs_per_row")}
        return replace(self, recipes=self.recipes.take(rows), target=self.target[:, rows], **parts)

    def ends(self, starts: Ends, minima: Minima, *, tol: float = TOL, steps: int = STEPS) -> Ends:
        """Return where the problems end that start at ``starts``."""
        solution = self.solve(self.problems(starts.point, starts.evals, minima), tol=tol, steps=steps)
        return Ends(starts.evals, solution.point, solution.objective)

    def _settled(self, minima: Minima, starts: Ends, *, may_rise: bool) -> Minima:
        """Estimate the noise from the residuals and fit with it, until it no longer falls.

        The noise decides how strongly the prior pulls. If the noise is too large, the prior pulls the fit away from the
        runs, and the residuals become too large as well. So one estimate of the noise is not enough. The first fit
        begins at ``starts``, and each later fit at the minima of the fit before it. With ``may_rise`` the first
        estimate may be larger than the noise of ``minima``.
        """
        for i in range(self.options.rounds):
            noise = robust_noise(self.residuals(minima.point), self.coordinates.size)
            change = noise / minima.noise - 1
            # If a later estimate rises, the pull of the prior is the cause, not noise, and the larger estimate would
            # make that pull stronger.
            moving = (change.abs() if may_rise and i == 0 else -change) > SETTLED
            if not bool(moving.any()):
                break
            # Only evals whose noise has not settled are fitted again.
            minima = replace(minima, noise=torch.where(moving, noise, minima.noise))
            minima = minima.with_ends(self.ends(starts.part(moving[starts.evals]), minima, tol=ROUND_TOL))
            starts = minima.ends()
        return minima

    def share(self, minima: Minima) -> Minima:
        """Pull shared parameters towards their median over the evals, and fit again."""
        shared = self.coordinates.shared
        centre = torch.where(shared, minima.point.median(dim=0).values, minima.centre)
        width = torch.where(shared, self.options.sharing * minima.width, minima.width)
        pulled = replace(minima, centre=centre, width=width)
        point = self.solve(self.problems(minima.point, torch.arange(len(minima.point)), pulled)).point
        return replace(
            pulled, point=point, other=point, noise=robust_noise(self.residuals(point), self.coordinates.size)
        )

    def bootstrap(self, minima: Minima, redraws: Redraws) -> Tensor:
        """Return (m, b, k) refits, each with its own rows, noise and prior centre."""
        m, b = len(self.target), len(redraws.counts)
        # A refit starts from both minima, since resampled rows may prefer the second one.
        starts = minima.ends()
        evals = starts.evals.repeat_interleave(b)
        # Prior centres are drawn from the prior: what the runs do not determine then varies as widely as the prior.
        rng = np.random.default_rng(self.options.seed)
        shifts = torch.from_numpy(rng.standard_normal((b, self.coordinates.size)))
        centre = minima.centre[:, None] + minima.width[:, None] * shifts  # (m, b, k)
        noise, free = self.noise_of_runs(minima)
        # If there are many rows, the draws use the robust noise of the fit.
        drawn_noise = (noise if redraws.few else minima.noise)[:, None] * redraws.scales(free)  # (m, b)
        precision = (drawn_noise[..., None] / minima.width[:, None]) ** 2 * self.options.prior
        target = self.target[:, None] + drawn_noise[..., None] * redraws.errors
        problems = replace(
            self.problems(starts.point.repeat_interleave(b, dim=0), evals, minima),
            target=target[starts.evals].flatten(0, 1),
            weights=redraws.counts.repeat(len(starts.evals), 1) * self.weights,
            delta=self.delta(drawn_noise)[starts.evals].flatten(),
            centre=centre[starts.evals].flatten(0, 1),
            precision=precision[starts.evals].flatten(0, 1),
        )
        rows = int(torch.isfinite(self.target).sum(dim=1).min())
        solution = self.solve(
            problems, tol=min(MOST_DRAW_TOL, DRAW_TOL / rows), steps=DRAW_STEPS, what="bootstrap draws fitted"
        )
        point, objective = solution.point.reshape(-1, b, solution.point.shape[1]), solution.objective.reshape(-1, b)
        best, lowest = point[:m].clone(), objective[:m]
        for i, place in enumerate(starts.evals[m:].tolist(), start=m):
            better = objective[i] < lowest[place]
            best[place] = torch.where(better[:, None], point[i], best[place])
        return best

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
