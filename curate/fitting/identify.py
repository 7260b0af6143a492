"""What the runs can and cannot tell: the condition of a fit, the profile of every parameter, which runs to add."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.fitting.fit import Fit
from curate.fitting.solver import least_squares
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.multistart import MAD_TO_SIGMA, TUNED, chunk_size
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

WIDEST = 6.0  # half-width of a profile, in log units (a factor of 400) or natural units
OFFSETS = (*(-np.geomspace(WIDEST, 2e-3, 15)), 0.0, *np.geomspace(2e-3, WIDEST, 15))  # fine near the solution
POINTS = len(OFFSETS)
CHI2 = 2.706  # 90 % quantile of chi-square with one degree of freedom (Wilks 1938)
UNKNOWN = 3.0  # log units: a 90 % interval wider than this (a factor of 20) is "cannot tell"
HOLDING_PRECISION = 1e6  # holds the profiled coordinate where it is put
# Total variation from which two mixtures count as different runs: a fifth of the tokens come from other pools.
DIFFERENT_MIXTURE = 0.2
SMALLEST_NOISE = 1e-6  # of log loss: keeps the scale of the rise finite when a law fits exactly


@dataclass(frozen=True)
class Identified:
    """What the runs alone say of each parameter, without a prior.

    ``rows``: one row a parameter, with value, low and high (90 % profile likelihood), open (which end is at the edge
    of the profile), and verdict. ``condition``: the condition number of the Jacobian with unit columns. Over 1e4 some
    combination of parameters is free.
    """

    rows: pl.DataFrame
    condition: float

    def table(self) -> pl.DataFrame:
        """Return one row a parameter: param, value, low, high, open, verdict."""
        return self.rows

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of the parameters that the runs cannot tell."""
        return tuple(self.rows.filter(pl.col("verdict") != "known")["param"])


@dataclass(frozen=True)
class _Profile:
    """The profile of one coordinate: the rise of the objective, in squared residual scales, at each of OFFSETS."""

    coordinates: Coordinates
    best: Tensor
    position: int
    rise: Tensor

    def row(self, name: str) -> dict[str, object]:
        """Return the parameter's row of the table."""
        steps, middle = torch.tensor(OFFSETS, dtype=torch.float64), POINTS // 2
        low = -_end(-steps[: middle + 1].flip(0), self.rise[: middle + 1].flip(0))
        high = _end(steps[middle:], self.rise[middle:])
        open_ends = [end for end, reached in (("below", low <= -WIDEST), ("above", high >= WIDEST)) if reached]
        return {
            "param": name,
            "value": self.value(0.0),
            "low": self.value(low),
            "high": self.value(high),
            "open": " and ".join(open_ends),
            "verdict": "known" if high - low < UNKNOWN else "cannot tell",
        }

    def value(self, step: float) -> float:
        """Return the parameter ``step`` away from the solution, on its own scale."""
        moved = self.best.clone()
        moved[self.position] += step
        flat = torch.cat([values.reshape(-1) for values in self.coordinates.theta(moved).values()])
        return float(flat[self.position])


def identify(fit: Fit, recipes: Recipes, loss: np.ndarray, clusters: np.ndarray | None = None) -> Identified:
    """Profile every parameter of a fit on its own runs: (n,) recipes and losses.

    ``clusters`` (n,) are codes of trainings. If unfinished runs were fitted, the rows of a training count for one run
    together.

    A parameter is held at 31 values while the others are fitted again from the solution. Its interval holds the values
    at which the Huber objective, in squared residual scales, rises by less than 1.35 (half the 90 % quantile of
    chi-square). No prior is used: this is what the runs alone say.
    """
    law = fit.law
    coordinates = Coordinates(law.params(), len(fit.pools))
    k, n = coordinates.size, len(recipes)
    best = coordinates.point(fit.theta)
    target = torch.from_numpy(np.log(loss))

    def predict(u: Tensor, row: least_squares.Rows) -> Tensor:
        return law.loss(coordinates.theta(u), Recipes.single(row)).log()[0]

    slopes, predicted = least_squares.jacobian(predict, best[None], recipes.rows)
    residual = predicted[0] - target
    noise = float((MAD_TO_SIGMA * residual.abs().median()).clamp_min(SMALLEST_NOISE))
    unit = slopes[0] / slopes[0].norm(dim=0).clamp_min(1e-300)
    singular = torch.linalg.svdvals(unit)
    # One problem for every parameter and offset: the parameter is moved there and held by a stiff prior.
    count = k * POINTS
    weights = torch.ones(n, dtype=torch.float64)
    if fit.unfinished and clusters is not None:
        codes = np.unique(clusters, return_inverse=True)[1].reshape(-1)
        weights = torch.from_numpy(1 / np.bincount(codes)[codes])
    problem, profiled = torch.arange(count), torch.arange(k).repeat_interleave(POINTS)
    starts = best.repeat(count, 1)
    starts[problem, profiled] += torch.tensor(OFFSETS, dtype=torch.float64).repeat(k)
    precision = torch.zeros(count, k, dtype=torch.float64)
    precision[problem, profiled] = HOLDING_PRECISION
    problems = least_squares.LeastSquaresProblems(
        start=starts,
        target=target.expand(count, n),
        weights=weights.expand(count, n),
        delta=torch.full((count,), TUNED * noise, dtype=torch.float64),
        centre=starts.clone(),
        precision=precision,
    )
    chunk = chunk_size(n, k, len(fit.pools))
    solution = least_squares.least_squares(predict, recipes.rows, problems, steps=60, tol=1e-6, chunk=chunk)
    rise = (solution.objective - solution.objective.min()).reshape(k, POINTS) / noise**2
    names = coordinates.labels(fit.pools)
    rows = [_Profile(coordinates, best, i, rise[i]).row(name) for i, name in enumerate(names)]
    return Identified(pl.DataFrame(rows), float(singular[0] / singular[-1].clamp_min(1e-300)))


def _end(offsets: Tensor, rise: Tensor) -> float:
    """Return the offset, from 0 outwards, at which the rise first passes the limit; the last if it never does."""
    limit = CHI2 / 2
    outside = torch.nonzero(rise >= limit)
    if len(outside) == 0:
        return float(offsets[-1])
    i = int(outside[0])
    if i == 0:
        return 0.0
    share = (limit - rise[i - 1]) / (rise[i] - rise[i - 1])
    return float(offsets[i - 1] + share.clamp(0, 1) * (offsets[i] - offsets[i - 1]))


@dataclass(frozen=True)
class InformativeRun:
    """A candidate run that would tell much: its ``position``, and the share of the variance that it would settle.

    The variance is that of the predicted log losses of all candidates over the bootstrap draws. ``settled`` counts the
    runs that were chosen before, too.
    """

    position: int
    settled: float


def most_informative(fit: Predictor, candidates: Recipes, *, count: int = 3) -> list[InformativeRun]:
    """Return up to ``count`` candidate runs that would narrow the predictions of all candidates most.

    Greedy: each run is the one whose loss, once measured, would lower the variance over the bootstrap draws most, given
    the runs chosen before it. The noise of the run limits what it tells. A run must differ from those chosen before it
    (see ``distances``); there are fewer than ``count`` runs if none is left that does. This is I-optimality with the
    covariance of the draws in place of a linear model's (Cohn, Ghahramani and Jordan 1996, arXiv cs/9603104).
    """
    draws = fit.draw_losses(candidates).detach().log()
    centred = draws - draws.mean(dim=0)
    covariance = centred.T @ centred / len(draws)
    # Without any disagreement there is nothing to settle.
    total = float(covariance.trace().clamp_min(1e-300))
    apart = torch.full((len(candidates),), torch.inf, dtype=torch.float64)
    chosen: list[InformativeRun] = []
    while len(chosen) < count and bool((apart >= 1).any()):
        variance = covariance.diagonal().clamp_min(0.0) + max(fit.noise, SMALLEST_NOISE) ** 2
        settles = (covariance**2).sum(dim=0) / variance
        best = int(torch.where(apart >= 1, settles, -1.0).argmax())
        # The covariance of the predictions once the loss of this run is known (Gaussian conditioning).
        covariance = covariance - torch.outer(covariance[best], covariance[best]) / variance[best]
        chosen.append(InformativeRun(best, 1 - float(covariance.trace()) / total))
        apart = torch.minimum(apart, distances(candidates, best))
    return chosen


def distances(candidates: Recipes, chosen: int) -> Tensor:
    """Return how far each candidate (n,) is from a chosen one; two runs count as different from 1 on.

    The distance is that in total variation between the mixtures, in units of DIFFERENT_MIXTURE, plus the factors
    between params and between tokens, in powers of 2.
    """
    mixture = (candidates.weights - candidates.weights[chosen]).abs().sum(dim=1) / 2
    size = (candidates.params / candidates.params[chosen]).log2().abs()
    length = (candidates.tokens / candidates.tokens[chosen]).log2().abs()
    # Rounding must not make two runs the same that differ by exactly one step.
    return (mixture / DIFFERENT_MIXTURE + size + length) * (1 + 1e-9)
