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

DELTA = 1e-3  # smallest Huber delta on log loss (Hoffmann et al. 2022 use it for all fits)
TUNED = 1.345  # Huber's delta in residual scales: 95 % efficient on Gaussian noise
FIRST_NOISE = 0.01  # of log loss, before the residuals of a first pass say better; also that pass's delta
NOISE_FLOOR = 1e-5  # of log loss: a prior keeps some weight when a law fits exactly
SHARING = 0.15  # of its prior width: how far a shared parameter of one eval may sit from the median over evals
DRAW_TOL = 1e-5  # relative change of the objective at which a bootstrap refit stops: far below its own spread
CHUNK_CELLS = 1_000_000  # problems x rows x (parameters or 8 x pools) at once: memory stays under about 200 MB


@dataclass(frozen=True)
class Options:
    """How to fit. ``starts`` Sobol starts; ``draws`` bootstrap refits; ``delta`` of Huber on log loss, None: 1.345
    residual scales of a first pass, at least 1e-3; ``prior``: use the law's weak priors; ``sharing``: how far shared
    parameters of one eval may sit from the median over evals, in prior widths."""

    starts: int = 32
    draws: int = 200
    delta: float | None = None
    prior: bool = True
    sharing: float = SHARING
    seed: int = 0


@dataclass(frozen=True)
class Best:
    """m evals: ``point`` (m, k), ``other`` (m, k) a second minimum nearly as good (or the same), ``noise`` (m,),
    ``centre`` and ``width`` (m, k) of the priors used."""

    point: Tensor
    other: Tensor
    noise: Tensor
    centre: Tensor
    width: Tensor


@dataclass(frozen=True)
class Work:
    """The passes of one fit over m evals."""

    law: Law
    coordinates: Coordinates
    recipes: Recipes
    target: Tensor
    weights: Tensor
    options: Options

    def predict(self, u: Tensor, row: least_squares.Rows) -> Tensor:
        """(k,) and one recipe to its log loss."""
        return self.law.loss(self.coordinates.theta(u), Recipes.single(row)).log()[0]

    def solve(
        self, start: Tensor, best: Best, each: int, *, weights: Tensor | None = None, centre: Tensor | None = None,
        tol: float = 1e-9, steps: int = 200,
    ) -> least_squares.Solution:  # fmt: skip
        """Solve (m * each) problems, ``each`` starts an eval."""
        n, k = len(self.recipes), self.coordinates.size
        delta = self.delta(best.noise)
        problems = least_squares.Problems(
            start=start,
            target=self.target.repeat_interleave(each, 0),
            weights=self.weights.expand(len(start), n) if weights is None else weights * self.weights,
            delta=delta.repeat_interleave(each),
            centre=best.centre.repeat_interleave(each, 0) if centre is None else centre,
            precision=((best.noise[:, None] / best.width) ** 2 * self.options.prior).repeat_interleave(each, 0),
        )
        chunk = max(1, CHUNK_CELLS // (n * max(k, 8 * self.coordinates.pools)))
        return least_squares.least_squares(self.predict, self.recipes.rows, problems, steps=steps, tol=tol, chunk=chunk)

    def delta(self, noise: Tensor) -> Tensor:
        """(m,) Huber's delta."""
        if self.options.delta is not None:
            return torch.full_like(noise, self.options.delta)
        return (TUNED * noise).clamp_min(DELTA)

    def first(self, spec: str) -> Best:
        """Many starts with a rough noise, then again with the noise that the residuals show."""
        m, s = len(self.target), self.options.starts
        centre, width = (x.expand(m, -1) for x in self.coordinates.prior())
        rough = torch.full((m,), self.options.delta or FIRST_NOISE, dtype=torch.float64)
        blank = Best(centre, centre, rough, centre, width)
        start = self.coordinates.starts(s, self.options.seed).repeat(m, 1)
        found = self.solve(start, blank, s)
        if not bool(torch.isfinite(found.objective.reshape(m, s).amin(dim=1)).all()):
            raise FitError(f"{spec} gives no finite loss for any of {s} starts: are tokens and params in single units?")
        if self.options.delta is None:
            blank = Best(centre, centre, self._noise(_pick(found, m)[0]), centre, width)
            found = self.solve(found.point, blank, s)
        point, other = _pick(found, m)
        return Best(point, other, blank.noise, centre, width)

    def share(self, best: Best) -> Best:
        """Draw shared parameters towards their median over evals, refit."""
        shared = self.coordinates.shared
        centre = torch.where(shared, best.point.median(dim=0).values, best.centre)
        width = torch.where(shared, self.options.sharing * best.width, best.width)
        pulled = Best(best.point, best.other, best.noise, centre, width)
        point = self.solve(best.point, pulled, 1).point
        return Best(point, point, self._noise(point), centre, width)

    def bootstrap(self, best: Best, counts: Tensor) -> Tensor:
        """(m, b, k) refits on resampled rows with shaken priors."""
        m, b = len(self.target), len(counts)
        two = bool((best.other != best.point).any())
        start = torch.stack([best.point, best.other] if two else [best.point], dim=1)  # (m, 1 or 2, k)
        each = start.shape[1] * b
        rng = np.random.default_rng(self.options.seed)
        noise = torch.from_numpy(rng.standard_normal((b, self.coordinates.size)))
        centre = (best.centre[:, None] + best.width[:, None] * noise).repeat(1, start.shape[1], 1).flatten(0, 1)
        found = self.solve(
            start.repeat_interleave(b, dim=1).flatten(0, 1), best, each,
            weights=counts.repeat(m * start.shape[1], 1), centre=centre, tol=DRAW_TOL, steps=60,
        )  # fmt: skip
        objective = found.objective.reshape(m, start.shape[1], b)
        points = found.point.reshape(m, start.shape[1], b, -1)
        return points.take_along_dim(objective.argmin(dim=1)[:, None, :, None], dim=1)[:, 0]

    def _noise(self, point: Tensor) -> Tensor:
        """(m,) robust residual scale of log loss, corrected for the parameters fitted."""
        theta = vmap(self.coordinates.theta)(point)
        left = vmap(lambda t: self.law.loss(t, self.recipes).log())(theta) - self.target
        rows = torch.isfinite(left).sum(dim=1)
        scale = 1.4826 * left.abs().nanmedian(dim=1).values
        return (scale * (rows / (rows - self.coordinates.size).clamp_min(1)).sqrt()).clamp_min(NOISE_FLOOR)


def _pick(found: least_squares.Solution, m: int) -> tuple[Tensor, Tensor]:
    """(m, k) best solutions, and another minimum with a similar objective where there is one (else the best again)."""
    points, values = found.point.reshape(m, -1, found.point.shape[1]), found.objective.reshape(m, -1)
    first = values.argmin(dim=1)
    best, lowest = points[torch.arange(m), first], values[torch.arange(m), first]
    far = (points - best[:, None]).abs().amax(dim=2) > 0.1
    ranked = torch.where(far & (values < 1.1 * lowest[:, None]), values, torch.inf)
    second = ranked.argmin(dim=1)
    use = torch.isfinite(ranked[torch.arange(m), second])
    return best, torch.where(use[:, None], points[torch.arange(m), second], best)


def resample(clusters: np.ndarray, draws: int, seed: int) -> Tensor:
    """(draws, n) counts: how often each row's cluster is drawn, with replacement."""
    names, codes = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return torch.from_numpy(counts[:, codes].astype(np.float64))
