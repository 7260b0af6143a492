"""The passes of a fit, each a batch of least-squares problems: many starts, shared exponents, bootstrap refits."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from curate.errors import FitError
from curate.fitting import least_squares
from curate.fitting.coordinates import Coordinates
from curate.laws import Law
from curate.runs.recipes import Recipes

DELTA = 1e-3  # smallest Huber delta on log loss; Hoffmann et al. 2022 (arXiv 2203.15556) use it for all fits
TUNED = 1.345  # Huber's delta in residual scales: 95 % efficient on Gaussian noise (Huber 1981)
MAD_TO_SIGMA = 1.4826  # the standard deviation of a Gaussian over its median absolute deviation
FIRST_NOISE = 0.01  # of log loss, before the residuals of a first pass say better; also that pass's delta
NOISE_FLOOR = 1e-5  # of log loss: a prior keeps some weight when a law fits exactly
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
    """

    starts: int = 32
    draws: int = 200
    delta: float | None = None
    prior: bool = True
    sharing: float = SHARING
    seed: int = 0


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


@dataclass(frozen=True)
class FitPasses:
    """One fit of a law to m evals of the same n runs, and the passes that it consists of.

    ``target`` (m, n): log losses, NaN where not measured; ``weights`` (n,) of rows.
    """

    law: Law
    coordinates: Coordinates
    recipes: Recipes
    target: Tensor
    weights: Tensor
    options: FitOptions

    def predict(self, u: Tensor, row: least_squares.Rows) -> Tensor:
        """Return the log loss of one recipe at coordinates ``u`` (k,)."""
        return self.law.loss(self.coordinates.theta(u), Recipes.single(row)).log()[0]

    def solve(
        self,
        start: Tensor,
        minima: Minima,
        *,
        weights: Tensor | None = None,
        centre: Tensor | None = None,
        tol: float = 1e-9,
        steps: int = 200,
    ) -> least_squares.LeastSquaresSolution:
        """Solve one problem for each row of ``start`` (m x s, k): s starts for every eval in turn."""
        n, k = len(self.recipes), self.coordinates.size
        each = len(start) // len(self.target)
        precision = (minima.noise[:, None] / minima.width) ** 2 * self.options.prior
        problems = least_squares.LeastSquaresProblems(
            start=start,
            target=self.target.repeat_interleave(each, 0),
            weights=self.weights.expand(len(start), n) if weights is None else weights * self.weights,
            delta=self.delta(minima.noise).repeat_interleave(each),
            centre=minima.centre.repeat_interleave(each, 0) if centre is None else centre,
            precision=precision.repeat_interleave(each, 0),
        )
        chunk = chunk_size(n, k, self.coordinates.pools)
        return least_squares.least_squares(self.predict, self.recipes.rows, problems, steps=steps, tol=tol, chunk=chunk)

    def delta(self, noise: Tensor) -> Tensor:
        """Return Huber's delta for (m,) noises."""
        if self.options.delta is not None:
            return torch.full_like(noise, self.options.delta)
        return (TUNED * noise).clamp_min(DELTA)

    def from_many_starts(self, spec: str) -> Minima:
        """Fit from many starts with a rough noise, then again with the noise that the residuals show.

        Raises:
            FitError: if no start gives a finite loss.
        """
        m, starts = len(self.target), self.options.starts
        centre, width = (x.expand(m, -1) for x in self.coordinates.prior())
        noise = torch.full((m,), self.options.delta or FIRST_NOISE, dtype=torch.float64)
        start = self.coordinates.starts(starts, self.options.seed).repeat(m, 1)
        solution = self.solve(start, Minima(centre, centre, noise, centre, width))
        if not bool(torch.isfinite(solution.objective.reshape(m, starts).amin(dim=1)).all()):
            raise FitError(
                f"{spec} gives no finite loss from any of {starts} starts. Are tokens and params in single units?"
            )
        if self.options.delta is None:
            noise = self._noise(_two_minima(solution, m)[0])
            solution = self.solve(solution.point, Minima(centre, centre, noise, centre, width))
        point, other = _two_minima(solution, m)
        return Minima(point, other, noise, centre, width)

    def share(self, minima: Minima) -> Minima:
        """Pull shared parameters towards their median over the evals, and fit again."""
        shared = self.coordinates.shared
        centre = torch.where(shared, minima.point.median(dim=0).values, minima.centre)
        width = torch.where(shared, self.options.sharing * minima.width, minima.width)
        pulled = Minima(minima.point, minima.other, minima.noise, centre, width)
        point = self.solve(minima.point, pulled).point
        return Minima(point, point, self._noise(point), centre, width)

    def bootstrap(self, minima: Minima, counts: Tensor) -> Tensor:
        """Return (m, b, k) refits, each with its own row counts (b, n) and its own prior centre."""
        m, b = len(self.target), len(counts)
        # A refit starts from both minima, since resampled rows may prefer the second one.
        two = bool((minima.other != minima.point).any())
        start = torch.stack([minima.point, minima.other] if two else [minima.point], dim=1)  # (m, 1 or 2, k)
        minima_each = start.shape[1]
        # Prior centres are drawn from the prior: what the runs do not determine then varies as widely as the prior.
        rng = np.random.default_rng(self.options.seed)
        noise = torch.from_numpy(rng.standard_normal((b, self.coordinates.size)))
        centre = (minima.centre[:, None] + minima.width[:, None] * noise).repeat(1, minima_each, 1).flatten(0, 1)
        solution = self.solve(
            start.repeat_interleave(b, dim=1).flatten(0, 1),
            minima,
            weights=counts.repeat(m * minima_each, 1),
            centre=centre,
            tol=DRAW_TOL,
            steps=DRAW_STEPS,
        )
        objective = solution.objective.reshape(m, minima_each, b)
        points = solution.point.reshape(m, minima_each, b, -1)
        return points.take_along_dim(objective.argmin(dim=1)[:, None, :, None], dim=1)[:, 0]

    def _noise(self, point: Tensor) -> Tensor:
        """Return the (m,) robust residual scale of log loss, corrected for the number of parameters."""
        theta = vmap(self.coordinates.theta)(point)
        residual = vmap(lambda values: self.law.loss(values, self.recipes).log())(theta) - self.target
        rows = torch.isfinite(residual).sum(dim=1)
        scale = MAD_TO_SIGMA * residual.abs().nanmedian(dim=1).values
        return (scale * (rows / (rows - self.coordinates.size).clamp_min(1)).sqrt()).clamp_min(NOISE_FLOOR)


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


def resample(clusters: np.ndarray, draws: int, seed: int) -> Tensor:
    """Return (draws, n) counts: how often the cluster of each row is drawn, with replacement.

    ``clusters`` (n,) are codes of trainings. Checkpoints of one training are drawn together, since their losses are
    not independent.
    """
    names, codes = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return torch.from_numpy(counts[:, codes].astype(np.float64))
