"""A Gaussian process over mixtures, alone or on top of a law: predictions, draws of functions, and the fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.fitting.choice import without_formula
from curate.fitting.fit import Fit
from curate.fitting.gaussian.kernel import Kernel
from curate.fitting.gaussian.process import Change, Draws, Points, Posterior, Process, anchor_points, reaches
from curate.fitting.gaussian.sizes import Size
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors import intervals
from curate.runs.recipes import Recipes

NAME = without_formula.GAUSSIAN
BASE = without_formula.GAUSSIAN_BASE


@dataclass(frozen=True, eq=False, repr=False)
class Gaussian:
    """A Gaussian process over mixtures on top of a law: loss = law(recipe) exp(process(mixture, size)).

    The process learns from the size with the most runs, the anchor, and how the losses of mixtures change from there to
    the other sizes. Beyond the largest size, the differences between mixtures stay as they are there, and the law
    predicts how the mean loss changes. Far from all runs, the process becomes a linear function of the shares.

    Attributes:
        pools: p names of pools.
        eval: the eval whose loss is predicted.
        base: the law to which the process is added, or None.
        recipes: the n fitted recipes.
        losses: (n,) in nats per token.
        kernel: the covariance between mixtures at the anchor.
        anchor: the size with the most runs.
        changes: how losses change from size to size.
        run_noise: standard deviation of log loss of a run of the anchor's size.
        noise: root mean square log error on a run that was left out; at the largest size, in proportion to its noise.
        ranges: smallest and largest tokens, params, epochs and shares of the fitted runs.
        draws: number of draws without a law; with a law it is that of the law.
        seed: seed of the draws. Draw i of all evals has the same random numbers, so that a mean of evals is not made to
            look more certain than it is.
        heldout: the error on held-out runs, if it was measured.
        discrepancy: what follows for intervals from runs that were held out; None if no runs were held out.
    """

    pools: tuple[str, ...]
    eval: str
    base: Fit | None
    recipes: Recipes
    losses: np.ndarray
    kernel: Kernel
    anchor: Size
    changes: tuple[Change, ...]
    run_noise: float
    noise: float
    ranges: Mapping[str, tuple[float, float]]
    draws: int
    seed: int
    heldout: Mapping[str, float | int | None] | None = None
    discrepancy: Discrepancy | None = None

    differentiable = True  # a plan may follow the gradient in the weights

    def __repr__(self) -> str:
        """Return one line that names the base law, the eval, the runs and the noise."""
        return (
            f"Gaussian({self.spec} of loss.{self.eval}, {len(self.pools)} pools, {self.rows} runs, "
            f"{1 + len(self.changes)} sizes, noise {self.noise:.2%})"
        )

    @property
    def spec(self) -> str:
        """The name as `fit` takes it, with its option unless that has the default."""
        base = "none" if self.base is None else self.base.spec
        return NAME if base == BASE else f"{NAME}:base={base}"

    @property
    def rows(self) -> int:
        """The number n of fitted runs."""
        return len(self.losses)

    @property
    def trainings(self) -> int:
        """The number of trainings: every fitted row counts as one."""
        return self.rows

    @property
    def draw_count(self) -> int:
        """The number b of draws."""
        return self.draws if self.base is None else self.base.draw_count

    def loss(self, recipes: Recipes) -> Tensor:
        """Return the (n,) predicted losses in nats per token; differentiable in the recipes."""
        return (self._law(recipes) + self._posterior.mean(self._points(recipes))).exp()

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) losses in nats per token: each row is one function, drawn from the law's draws and the process.

        Each function goes through the measured losses as far as the noise allows, also where the draws of the law do
        not.
        """
        process = self._draws.values(self._points(recipes)).exp()
        return process if self.base is None else self.base.draw_losses(recipes) * process

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the draw of index ``draws[i]``, wrapped around."""
        process = self._draws.paired(self._points(recipes), draws % self.draw_count).exp()
        return process if self.base is None else self.base.drawn(recipes, draws) * process

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the low (n,) and high (n,) ends of the interval of a new run's loss."""
        return intervals.of_new_runs(self, recipes, level)

    def table(self) -> pl.DataFrame:
        """Return one row for each pool and parameter: length scales, and the changes of the last size.

        A pool with a large length scale acts nearly linearly. Columns: param, pool, value.
        """
        rows: list[dict[str, object]] = [
            {"param": "length scale", "pool": pool, "value": value}
            for pool, value in zip(self.pools, self.kernel.scales.tolist(), strict=True)
        ]
        rows.append({"param": "noise", "pool": None, "value": self.run_noise})
        for change in self.changes:
            rows.append({"param": f"stretch at {change.params:.3g} params", "pool": None, "value": 1 + change.stretch})
        return pl.DataFrame(rows, schema={"param": str, "pool": str, "value": float})

    @cached_property
    def _posterior(self) -> Posterior:
        rows = self._rows()
        return Process(self.kernel, self.changes).conditioned(rows, self._values, self._noises(rows))

    def _noises(self, rows: Points) -> Tensor:
        """Return the noise of each run, (n,): that of the farthest change that applies in full, or of the anchor."""
        noises = torch.full((len(rows.shares),), self.run_noise, dtype=torch.float64)
        for j, change in enumerate(self.changes):
            noises = torch.where(rows.reach[:, j] == 1, change.noise, noises)
        return noises

    @cached_property
    def _values(self) -> Tensor:
        """The (n,) log losses of the runs without those of the law."""
        return torch.from_numpy(np.log(self.losses)) - self._law(self.recipes).detach()

    @cached_property
    def _draws(self) -> Draws:
        logs = torch.from_numpy(np.log(self.losses)).expand(self.draw_count, -1)
        values = logs if self.base is None else logs - self.base.draw_losses(self.recipes).detach().log()
        # A draw of the law that fails somewhere must not spoil the others.
        return self._posterior.draws(torch.where(values.isfinite(), values, self._values), self.seed)

    @cached_property
    def _anchor_posterior(self) -> Posterior:
        """What the anchor's runs alone say: the losses that changes stretch are read from it."""
        rows = torch.from_numpy(_nearest(self.recipes, self._sizes) == 0)
        points = anchor_points(self.recipes.weights[rows])
        noise = torch.full((int(rows.sum()),), self.run_noise, dtype=torch.float64)
        return Process(self.kernel, ()).conditioned(points, self._values[rows], noise)

    @property
    def _sizes(self) -> tuple[Size, ...]:
        """The anchor, and the size of each change."""
        return (self.anchor, *(Size(change.compute, change.tokens, change.params) for change in self.changes))

    def _rows(self) -> Points:
        """Return the fitted runs as points: each is at the middle of its size."""
        computes = np.array([size.compute for size in self._sizes])
        compute = torch.from_numpy(computes[_nearest(self.recipes, self._sizes)])
        return self._points_of(self.recipes.weights, compute)

    def _points(self, recipes: Recipes) -> Points:
        return self._points_of(recipes.weights, (recipes.tokens * recipes.params).log())

    def _points_of(self, shares: Tensor, compute: Tensor) -> Points:
        if not self.changes:
            return anchor_points(shares)
        mean = self._anchor_posterior.mean(anchor_points(shares))
        columns = [
            stretched(self.base, shares, Size(change.compute, change.tokens, change.params)) + mean - change.centre
            for change in self.changes
        ]
        return Points(shares, reaches(compute, self.changes), torch.stack(columns, dim=1))

    def _law(self, recipes: Recipes) -> Tensor:
        """Return the (n,) log losses that the law predicts, 0 without a law."""
        return torch.zeros_like(recipes.tokens) if self.base is None else self.base.loss(recipes).log()


def _nearest(recipes: Recipes, sizes: Sequence[Size]) -> np.ndarray:
    """Return the (n,) index of the size nearest to each recipe in log compute."""
    compute = (recipes.tokens * recipes.params).log().numpy()
    return np.asarray(np.abs(compute[:, None] - [size.compute for size in sizes]).argmin(axis=1))


def stretched(base: Fit | None, shares: Tensor, size: Size) -> Tensor:
    """Return (n,) log losses of the law at a size, of mixtures of fresh data; 0 without a law."""
    if base is None:
        return shares.new_zeros(len(shares))
    tokens, params = (shares.new_full((len(shares),), x) for x in (size.tokens, size.params))
    return base.loss(Recipes(shares, tokens, params, torch.full_like(shares, torch.inf))).log()
