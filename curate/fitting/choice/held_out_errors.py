"""Take apart how predictions miss held-out runs: a shift that is common to a size, and scatter within a size.

In: predicted and measured log losses of the held-out runs. Out: the scatter and shift, and the error to expect next.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import pi

import numpy as np
import torch

from curate.fitting.solver.residual_noise import as_normal
from curate.runs.discrepancy import NEXT_SIZE, SHIFT

RESAMPLES = 1000  # of the held-out trainings, for the interval of the error
FEWEST = 3  # trainings from which a scatter is computed
MEAN_SIZE = (2 / pi) ** 0.5  # the mean absolute value of a standard normal number
# A shift of up to so many of its usual standard deviations says nothing against a law, since it does not carry over to
# the next size. What exceeds it counts like scatter, so that a law that is far off is not trusted.
USUAL = 3.0


@dataclass(frozen=True)
class HeldOutPart:
    """Runs that are held out together, such as those of one size: m trainings with e evals.

    ``truth`` (e, m) are the measured log losses, NaN where not measured. ``trainings`` (m,) are codes. ``levels`` is
    the number of distinct sizes (or lengths) that were fitted, and ``distance`` how far the held-out ones are beyond
    the largest of these, in natural logarithms. Both are 0 if sizes and lengths were not held out. ``shift_at_e`` is
    the usual standard deviation of the shift at e times the largest fitted size.
    """

    truth: np.ndarray
    trainings: np.ndarray
    levels: int = 0
    distance: float = 0.0
    shift_at_e: float = SHIFT

    @property
    def usual_shift(self) -> float:
        """The usual standard deviation of the shift of these runs; at least that of the distance NEXT_SIZE."""
        return self.shift_at_e * float(np.sqrt(max(self.distance, NEXT_SIZE)))


@dataclass(frozen=True)
class HeldOutErrors:
    """How one law, or a sum of laws, misses held-out runs.

    ``residuals`` holds the (e, m) predicted minus measured log losses of each part. ``noise`` is the standard deviation
    of log loss of a new run around the fit of all runs, with that of its parameters, if there is such a fit. It stands
    for the scatter where no part has enough runs.
    """

    parts: tuple[HeldOutPart, ...]
    residuals: tuple[np.ndarray, ...]
    noise: float | None = None

    @property
    def rolling(self) -> bool:
        """Whether sizes or lengths were held out one after the other, so that shift and scatter are told apart."""
        return self.parts[0].levels > 0

    @cached_property
    def scatters(self) -> np.ndarray:
        """(parts, e) standard deviations of the residuals within a part; NaN where there are fewer than FEWEST."""
        return np.stack([_scatter(residual) for residual in self.residuals])

    @cached_property
    def shifts(self) -> np.ndarray:
        """(parts, e) mean residuals; NaN where nothing was measured."""
        return np.stack([_mean(residual) for residual in self.residuals])

    @property
    def _judged(self) -> list[int]:
        """The parts that tell most: those with two or more fitted sizes, if there are any in which scatter shows."""
        shown = [i for i, row in enumerate(self.scatters) if np.isfinite(row).any()]
        return [i for i in shown if self.parts[i].levels > 1] or shown

    @property
    def distance(self) -> float:
        """How far the next size is beyond the fitted ones, judged by the last part. At least NEXT_SIZE."""
        return max(self.parts[-1].distance, NEXT_SIZE)

    def scatter(self) -> float | None:
        """Return the scatter over all evals, with what a shift exceeds the usual; None if no part shows scatter."""
        if not self._judged:
            return None
        return float(np.hypot(_root_mean_square(self.scatters[self._judged]), self.excess()))

    def excess(self) -> float:
        """Return by how much the shifts exceed USUAL times their usual standard deviation, over all evals."""
        parts = [i for i in self._judged if self.parts[i].levels > 1]
        return _root_mean_square(np.stack([self._excess_of(i) for i in parts])) if parts else 0.0

    def _excess_of(self, part: int) -> np.ndarray:
        """Return by how much the (e,) shifts of a part exceed USUAL times their standard deviation."""
        return np.asarray(np.maximum(np.abs(self.shifts[part]) - USUAL * self.parts[part].usual_shift, 0.0))

    def excess_shift(self) -> np.ndarray:
        """Return (e,) shifts beyond the usual, as standard deviations at e times the largest fitted size (or length).

        They are those of parts with two or more fitted sizes, and 0 where there are none.
        """
        parts = [i for i, part in enumerate(self.parts) if part.levels > 1]
        if not parts:
            return np.zeros(len(self.residuals[0]))
        per_root = [self._excess_of(i) / max(self.parts[i].distance, NEXT_SIZE) ** 0.5 for i in parts]
        return np.asarray(np.sqrt(np.nan_to_num(_mean(np.stack(per_root, axis=1) ** 2))))

    def scatter_of_evals(self) -> np.ndarray:
        """Return (e,) scatters of new runs, from the parts with two or more fitted sizes; NaN where there are none.

        If nothing but mixtures or trainings was held out, the whole error is scatter. A scatter of few runs is widened
        as Student's t demands.
        """
        if not self.rolling:
            pooled = np.concatenate(self.residuals, axis=1)
            return _widened(np.sqrt(_mean(pooled**2)), np.isfinite(pooled).sum(axis=1))
        parts = [i for i, part in enumerate(self.parts) if part.levels > 1]
        if not parts:
            return np.full(len(self.residuals[0]), np.nan)
        free = sum(np.maximum(np.isfinite(self.residuals[i]).sum(axis=1) - 1, 0) for i in parts)
        return _widened(np.sqrt(_mean(self.scatters[parts].T ** 2)), np.asarray(free))

    def scatter_of_one_size(self) -> np.ndarray:
        """Return (e,) scatters of the runs that were predicted from one size alone, as ``scatter_of_evals`` does.

        NaN where there are none. Such runs say nothing of the level, and differences between mixtures do not need it.
        """
        parts = [i for i, part in enumerate(self.parts) if part.levels == 1]
        if not parts:
            return np.full(len(self.residuals[0]), np.nan)
        last = parts[-1]
        free = np.maximum(np.isfinite(self.residuals[last]).sum(axis=1) - 1, 0)
        return _widened(self.scatters[last], free)

    def expected(self) -> float | None:
        """Return the mean absolute relative error to expect of the next runs; None if nothing shows it.

        Where sizes were held out, these are runs of the next size. Their error has the scatter of the held-out runs and
        the usual shift of a new size. The shift of the held-out sizes is not used, because it does not carry over. If
        no part has enough runs to show the scatter, it takes the noise of a fit to all runs.
        """
        if not self.rolling:
            return self.measured()
        scatter = self.noise if (shown := self.scatter()) is None else shown
        return None if scatter is None else float(MEAN_SIZE * np.hypot(scatter, self.parts[-1].usual_shift))

    def measured(self) -> float:
        """Return the mean absolute relative error of the held-out runs.

        Runs that were predicted from one size alone count only if there are no others: one size does not show how the
        loss falls with size.
        """
        return float(np.abs(np.expm1(self._pooled)).mean())

    @property
    def _pooled(self) -> np.ndarray:
        several = [residual for part, residual in zip(self.parts, self.residuals, strict=True) if part.levels > 1]
        pooled = np.concatenate([residual.ravel() for residual in several or self.residuals])
        return np.asarray(pooled[np.isfinite(pooled)])

    def record(self, seed: int) -> dict[str, float | int | None]:
        """Return the errors by name; the columns are explained in ``Comparison.table``."""
        resampled = [error for errors in self._resampled(seed) if (error := errors.expected()) is not None]
        low, high = np.quantile(resampled, [0.05, 0.95]).tolist() if resampled else (None, None)
        parts = self._judged or list(range(len(self.parts)))
        apart = self.rolling and bool(self._judged)
        return {
            "heldout": self.expected(),
            "low": low,
            "high": high,
            "measured": self.measured(),
            "bias": float(np.expm1(self._pooled).mean()),
            "rms": _root_mean_square(self._pooled),
            "shift": _root_mean_square(self.shifts[parts]) if apart else None,
            "scatter": _root_mean_square(self.scatters[parts]) if apart else None,
            "excess": self.excess() if apart else None,
            "distance": self.distance if self.rolling else None,
            "levels": max(part.levels for part in self.parts) if self.rolling else None,
            "rows": len(self._pooled),
        }

    def _resampled(self, seed: int) -> list["HeldOutErrors"]:
        """Return the errors on resampled trainings of each part, since the runs of one training err together."""
        rng, resamples = np.random.default_rng(seed), []
        groups = [np.unique(part.trainings, return_inverse=True)[1].reshape(-1) for part in self.parts]
        members = [[np.flatnonzero(codes == code) for code in range(codes.max() + 1)] for codes in groups]
        # The scatter is averaged over evals, which err together, so a few hundred resamples of all of them are enough.
        for _ in range(max(RESAMPLES // len(self.residuals[0]), 100)):
            drawn = [np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))]) for rows in members]
            parts = tuple(
                replace(part, truth=part.truth[:, rows], trainings=part.trainings[rows])
                for part, rows in zip(self.parts, drawn, strict=True)
            )
            residuals = tuple(residual[:, rows] for residual, rows in zip(self.residuals, drawn, strict=True))
            resamples.append(HeldOutErrors(parts, residuals, self.noise))
        return resamples


def of_sum(
    parts: tuple[HeldOutPart, ...], predicted: list[tuple[np.ndarray, ...]], weights: np.ndarray
) -> HeldOutErrors:
    """Return the errors of a weighted sum of laws.

    ``predicted`` holds, for each of l laws, the (e, m) predicted log losses of each part; ``weights`` are (l,).
    """
    residuals = []
    for i, part in enumerate(parts):
        losses = np.stack([np.exp(log_losses[i]) for log_losses in predicted])
        residuals.append(np.log(np.tensordot(weights, losses, axes=1)) - part.truth)
    return HeldOutErrors(parts, tuple(residuals))


def _mean(values: np.ndarray) -> np.ndarray:
    """Return (e,) means of (e, m) values without those that are NaN; NaN where all are."""
    present = np.isfinite(values)
    return np.asarray(
        np.where(present, values, 0.0).sum(axis=1) / np.where(present.any(axis=1), present.sum(axis=1), np.nan)
    )


def _scatter(residual: np.ndarray) -> np.ndarray:
    """Return (e,) standard deviations of (e, m) residuals around their mean."""
    counts = np.isfinite(residual).sum(axis=1)
    squares = np.nansum((residual - _mean(residual)[:, None]) ** 2, axis=1)
    return np.asarray(np.where(counts >= FEWEST, np.sqrt(squares / np.maximum(counts - 1, 1)), np.nan))


def _root_mean_square(values: np.ndarray) -> float:
    """Return the root mean square of the values that are not NaN; 0 if all are."""
    finite = values[np.isfinite(values)]
    return float(np.sqrt((finite**2).mean())) if len(finite) else 0.0


def _widened(scatter: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return (e,) scatters whose normal 90 % intervals are those of Student's t with (e,) degrees of freedom."""
    freedom = torch.from_numpy(np.maximum(free, 1).astype(np.float64))
    return np.asarray(as_normal(torch.from_numpy(scatter), freedom))
