"""Fit one law to runs: many starts, robust, with a bootstrap over trainings.

Several evals of the same runs are fitted together, and then share their exponents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate import open_sets
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.multistart import DEFAULTS, FitPasses
from curate.fitting.solver.multistart import FitOptions as FitOptions  # part of this module's interface
from curate.fitting.solver.redraws import Redraws, redraw
from curate.fitting.solver.residual_noise import as_normal
from curate.laws import Law, _batches
from curate.laws._unfinished import TERM, Unfinished
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors import intervals
from curate.runs.recipes import Recipes

Theta = Mapping[str, Tensor]  # a law's parameters by name: scalars, or (p,); with draws a leading axis b


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted law: its parameters ``theta``, and ``draws`` bootstrap copies of them (leading axis b).

    ``rmse`` is of log loss on the fitted rows. ``noise`` is the standard deviation of log loss of a new run, from the
    residuals of the fitted rows. ``ranges`` holds the smallest and largest fitted tokens, params, epochs and ``share of
    <pool>``. ``heldout`` is the error on runs that were held out, and ``discrepancy`` what follows from it for
    intervals; both are None for a fit that was not compared. ``rows`` were fitted, of so
    many ``trainings``. If rows of unfinished runs were fitted, ``theta`` holds the term for them too
    (`laws._unfinished`).
    """

    spec: str
    pools: tuple[str, ...]
    eval: str
    theta: Theta
    draws: Theta
    rmse: float
    noise: float
    rows: int
    ranges: Mapping[str, tuple[float, float]]
    heldout: Mapping[str, float | int | None] | None = None
    discrepancy: Discrepancy | None = None
    trainings: int = 0

    differentiable = True  # a plan may follow the gradient in the weights

    def __repr__(self) -> str:
        """Return the law, what it predicts, and how well, on one line."""
        return (
            f"Fit({self.spec} of loss.{self.eval}, {len(self.pools)} pools, {self.rows} runs, "
            f"rmse {self.rmse:.2%}, {self.draw_count} draws)"
        )

    def _repr_html_(self) -> str:
        """Return the table of parameters, for notebooks."""
        return self.table()._repr_html_()

    @property
    def draw_count(self) -> int:
        """The number b of bootstrap draws."""
        return len(next(iter(self.draws.values())))

    @cached_property
    def law(self) -> Law:
        """The law itself."""
        return law_of(self.spec, unfinished=self.unfinished)

    @property
    def unfinished(self) -> bool:
        """Whether the fit has a term for unfinished runs."""
        return TERM[0].name in self.theta

    def loss(self, recipes: Recipes) -> Tensor:
        """Return the (n,) predicted losses in nats per token; differentiable in the recipes."""
        return self.law.loss(self.theta, recipes)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses, one row for each bootstrap draw."""
        return _batches.all_pairs(self.law, self.draws, recipes)

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses, each recipe by its own bootstrap draw: (n,) indices, wrapped around."""
        # Each recipe meets one draw: n evaluations of the law instead of b x n.
        theta = {name: values[draws % len(values)] for name, values in self.draws.items()}
        return _batches.paired(self.law, theta, recipes)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the (n,) low and high ends of the loss that a new run would show.

        The interval covers the uncertainty of the parameters, the noise of a run, and the discrepancy of the law.
        """
        return intervals.of_new_runs(self, recipes, level)

    def table(self) -> pl.DataFrame:
        """Return one row for each parameter (and pool): its value, and 5 % and 95 % of the draws."""
        rows = []
        for name, value in self.theta.items():
            draws = self.draws[name].reshape(len(self.draws[name]), -1)
            low, high = torch.quantile(draws, torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
            for i, x in enumerate(value.reshape(-1).tolist()):
                pool = self.pools[i] if value.ndim else None
                rows.append({"param": name, "pool": pool, "value": x, "low": float(low[i]), "high": float(high[i])})
        return pl.DataFrame(rows, schema={"param": str, "pool": str, "value": float, "low": float, "high": float})


def law_of(spec: str, *, unfinished: bool = False) -> Law:
    """Return the law ``spec``; with ``unfinished`` it has a term for unfinished runs."""
    law = cast(Law, open_sets.build("laws", spec))
    return Unfinished(law) if unfinished else law


@dataclass(frozen=True)
class _Minimised:
    """What the fits of several evals have in common: ``codes`` (n,) are those of the trainings of the rows."""

    spec: str
    pools: tuple[str, ...]
    coordinates: Coordinates
    codes: np.ndarray
    ranges: Mapping[str, tuple[float, float]]

    def fit(self, name: str, point: Tensor, draws: Tensor, noise: float, residuals: Tensor) -> Fit:
        """Return the fit of one eval at ``point`` (k,), with ``draws`` (b, k) and ``residuals`` (n,) of log loss."""
        measured = torch.isfinite(residuals)
        return Fit(
            spec=self.spec,
            pools=self.pools,
            eval=name,
            theta=self.coordinates.theta(point),
            draws=self.coordinates.theta(draws),
            rmse=float((residuals[measured] ** 2).mean().sqrt()),
            noise=noise,
            rows=int(measured.sum()),
            ranges=self.ranges,
            trainings=len(np.unique(self.codes[measured.numpy()])),
        )


def fit(
    spec: str,
    recipes: Recipes,
    loss: np.ndarray,
    *,
    pools: Sequence[str],
    evaluation: str = "loss",
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    options: FitOptions = DEFAULTS,
) -> Fit:
    """Fit the law ``spec``, such as ``ces:linear=true``, to (n,) losses of one eval; see ``fit_evals``."""
    losses = {evaluation: loss}
    return fit_evals(spec, recipes, losses, pools=pools, clusters=clusters, weights=weights, options=options)[
        evaluation
    ]


def fit_evals(
    spec: str,
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    options: FitOptions = DEFAULTS,
) -> dict[str, Fit]:
    """Fit a law to several evals of the same n runs in one batch.

    ``losses`` holds (n,) losses in nats per token by eval, NaN where not measured. ``clusters`` (n,) are codes of
    trainings, which the bootstrap draws whole; ``weights`` (n,) are of rows. With ``options.unfinished``, rows of
    unfinished runs are fitted by a term of their own. The rows of a training then count for one run together in the
    noise and in the bootstrap. In the fit every row counts, which predicts larger runs better
    (benchmarks/fitting/checkpoints.py).

    Huber's loss on log loss, with the law's weak priors, is minimised from many starts. Parameters that the law marks
    as shared (exponents) are then pulled towards their median over the evals. Last come bootstrap refits from the
    best solutions, each on resampled trainings and with a prior centre drawn from the prior.

    There may be fewer runs than parameters: the priors then decide what the runs leave open.

    Raises:
        FitError: if no start gives a finite loss.
    """
    codes = np.arange(len(recipes)) if clusters is None else np.unique(clusters, return_inverse=True)[1].reshape(-1)
    passes = _passes(spec, recipes, losses, len(pools), codes, weights, options)
    minima = passes.from_many_starts(spec)
    if len(losses) > 1 and bool(passes.coordinates.shared.any()):
        minima = passes.share(minima)
    draws = passes.bootstrap(minima, _redraws(passes, codes))
    noise = as_normal(*passes.noise_of_runs(minima)).tolist()
    every = _Minimised(spec, tuple(pools), passes.coordinates, codes, ranges(recipes, pools))
    residuals = passes.residuals(minima.point)
    return {name: every.fit(name, minima.point[i], draws[i], noise[i], residuals[i]) for i, name in enumerate(losses)}


def _passes(
    spec: str,
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    pools: int,
    codes: np.ndarray,
    weights: np.ndarray | None,
    options: FitOptions,
) -> FitPasses:
    """Return the passes of a fit of ``spec``; ``codes`` (n,) are of trainings, numbered from 0."""
    unfinished = options.unfinished and recipes.progress is not None
    law = law_of(spec, unfinished=unfinished)
    row_weights = torch.from_numpy(np.ones(len(recipes)) if weights is None else np.asarray(weights, dtype=np.float64))
    return FitPasses(
        law,
        Coordinates(law.params(), pools),
        recipes,
        # Errors of a loss are relative, so that they are about equal on the log scale.
        torch.from_numpy(np.log(np.stack(list(losses.values())))),
        row_weights,
        # The rows of a training err together: for the noise and the bootstrap they are one run.
        torch.from_numpy(1 / np.bincount(codes)[codes]) if unfinished else row_weights,
        options,
    )


def _redraws(passes: FitPasses, codes: np.ndarray) -> Redraws:
    """Return the resampled trainings of the bootstrap."""
    options, recipes = passes.options, passes.recipes
    unfinished = options.unfinished and recipes.progress is not None
    runs = len(np.unique(codes)) if unfinished else len(recipes)
    parameters = passes.coordinates.size
    return redraw(codes, parameters, options.draws, options.seed, runs=runs, tokens=recipes.tokens.numpy())


def ranges(recipes: Recipes, pools: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest tokens, params, epochs and shares of the fitted runs."""
    columns = {"tokens": recipes.tokens, "params": recipes.params, "epochs": recipes.epochs.amax(dim=1)}
    columns |= {f"share of {name}": recipes.weights[:, i] for i, name in enumerate(pools)}
    return {name: (float(x.min()), float(x.max())) for name, x in columns.items()}
