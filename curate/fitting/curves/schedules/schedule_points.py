"""Solve for the parameters of a law of schedules: by Huber's loss on the log losses of all curves together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.fitting.curves.schedules.rate_schedule import Curve
from curate.fitting.curves.schedules.schedule_laws import LAWS, SMALLEST_LOSS, ScheduleLaw
from curate.fitting.solver import least_squares

DELTA = 1e-3  # of Huber's loss on log loss, as in both papers
BLOCKS = 8  # of consecutive rows in which the residuals of a curve are moved by the bootstrap
CHUNK = 16  # draws that are fitted at a time; this bounds the memory
# Precision of a prior around the start for parameters without a prior. It decides only what the curves do not.
WEAK_PRECISION = 1e-8
SMALLEST_NOISE = 1e-5  # of log loss: keeps the prior above 0 where a law fits exactly
# Steps of the solver in a fit, and in a bootstrap refit, which starts at the solution.
FIT_STEPS, DRAW_STEPS = 200, 20
# Relative change of the objective at which a fit, and a refit, has converged. Draws differ by far more than this.
FIT_TOLERANCE, DRAW_TOLERANCE = 1e-9, 1e-5


@dataclass(frozen=True)
class SchedulePoints:
    """The rows of all curves together: what the law reads of them, their log losses (n,), and their curves (n,)."""

    law: ScheduleLaw
    features: tuple[Tensor, ...]
    target: Tensor
    codes: np.ndarray
    starts: Tensor
    precision: Tensor

    @classmethod
    def of(cls, name: str, curves: Sequence[Curve]) -> "SchedulePoints":
        """Return the points of curves, with the starts of a fit."""
        law = LAWS[name]
        parts = [law.features(c.schedule.rates, c.schedule.warmup, c.schedule.steps) for c in curves]
        features = tuple(torch.cat(columns) for columns in zip(*parts, strict=True))
        loss = np.concatenate([curve.loss for curve in curves])
        peak = max(float(curve.schedule.rates.max()) for curve in curves)
        rows = law.starts(float(features[0][0]), float(loss[0]), float(loss.min()), peak)
        return cls(
            law,
            features,
            torch.from_numpy(loss).log(),
            np.repeat(np.arange(len(curves)), [len(curve.loss) for curve in curves]),
            torch.tensor(rows, dtype=torch.float64).log(),
            torch.tensor([law.prior.get(p, np.inf) for p in law.parameters], dtype=torch.float64) ** -2.0,
        )

    def predict(self, u: Tensor, row: least_squares.Rows) -> Tensor:
        """Return the log losses of rows from (k,) logarithms of the parameters."""
        theta = dict(zip(self.law.parameters, u.exp(), strict=True))
        return self.law.curve(theta, *row).clamp_min(SMALLEST_LOSS).log()

    def residuals(self, u: Tensor) -> np.ndarray:
        """Return the (n,) residuals of log loss."""
        return np.asarray(self.target - self.predict(u, self.features))

    def solve(self) -> Tensor:
        """Return the (k,) logarithms of the parameters that fit best, with the prior in proportion to the noise."""
        free = self._solve(self.starts, self.target.expand(len(self.starts), -1), self.starts, 0.0)
        best = free.best
        noise = max(float(np.sqrt((self.residuals(best) ** 2).mean())), SMALLEST_NOISE)
        centre = self.starts[int(free.objective.argmin())]
        return self.solve_from(best, centre, noise)

    def solve_from(self, point: Tensor, centre: Tensor, noise: float) -> Tensor:
        """Return the (k,) solution from a point (k,) and from all starts, with the prior around ``centre`` (k,)."""
        # The prior may move the optimum to another basin than that of the point.
        starts = torch.cat([point[None], self.starts])
        return self._solve(starts, self.target.expand(len(starts), -1), centre.expand(len(starts), -1), noise).best

    def redraw(self, u: Tensor, residuals: np.ndarray, draws: int, seed: int) -> Tensor:
        """Return the (b, k) solutions for curves whose residuals were moved in blocks between places and curves."""
        rng = np.random.default_rng(seed)
        fitted = self.predict(u, self.features)
        noise = max(float(np.sqrt((residuals**2).mean())), SMALLEST_NOISE)
        moved = torch.from_numpy(_moved_blocks(residuals, self.codes, draws, rng))
        # Each draw has its own centre from the prior, so that what the curves do not tell stays uncertain.
        spread = torch.where(self.precision > 0, self.precision.clamp_min(1e-12) ** -0.5, 0.0)
        centres = u + spread * torch.from_numpy(rng.standard_normal((draws, len(u))))
        return self._solve(u.expand(draws, -1), fitted + moved, centres, noise, drawn=True).point

    def _solve(
        self, start: Tensor, target: Tensor, centre: Tensor, noise: float, *, drawn: bool = False
    ) -> least_squares.LeastSquaresSolution:
        problems = least_squares.LeastSquaresProblems(
            start=start,
            target=target,
            weights=torch.ones_like(target),
            delta=torch.full((len(start),), DELTA, dtype=torch.float64),
            centre=centre,
            precision=(self.precision * noise**2 + WEAK_PRECISION).expand_as(start),
        )
        steps, tol = (DRAW_STEPS, DRAW_TOLERANCE) if drawn else (FIT_STEPS, FIT_TOLERANCE)
        what = "bootstrap refits" if drawn else "starting points fitted"
        return least_squares.least_squares(
            self.predict, self.features, problems, steps=steps, tol=tol, chunk=CHUNK, what=what
        )


def _moved_blocks(residuals: np.ndarray, codes: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return (b, n) residuals: each curve is filled with blocks of consecutive residuals of randomly chosen curves."""
    counts = np.bincount(codes)
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    result = np.empty((draws, len(residuals)))
    for draw in range(draws):
        filled = []
        for count in counts:
            length = max(1, -(-int(count) // BLOCKS))
            values: list[np.ndarray] = []
            while sum(map(len, values)) < count:
                curve = int(rng.integers(len(counts)))
                start = int(rng.integers(max(1, counts[curve] - length + 1)))
                values.append(residuals[first[curve] + start : first[curve] + min(start + length, counts[curve])])
            filled.append(np.concatenate(values)[:count])
        result[draw] = np.concatenate(filled)
    return result
