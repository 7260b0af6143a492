"""Gradient-boosted trees over mixtures, alone or on top of a law.

RegMix (Liu et al. 2024, arXiv 2407.01492) fits LightGBM to the losses of small runs; the base law is a choice of
this project. Trees cannot extrapolate: the law carries size, tokens and unseen corners, the trees add what it misses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from curate.errors import FitError
from curate.fitting import fit as fits
from curate.fitting.choice import without_formula
from curate.fitting.choice.without_formula import TreeOptions as TreeOptions  # part of this module's interface
from curate.fitting.fit import Fit
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.fitting.solver.redraws import resample
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors import intervals
from curate.runs.recipes import Recipes

BASE = without_formula.BOOSTED_BASE
SHARE_FLOOR = 1e-3  # added to a share under the logarithm: published mixtures are rounded to three digits


DEFAULT_TREES = TreeOptions()


@dataclass(frozen=True, eq=False, repr=False)
class Boosted:
    """Trees on top of a law: loss = law(recipe) exp(trees(recipe)), or exp(trees(recipe)) without a law.

    The derivative of the trees is 0 almost everywhere, so a plan has to search without it. The trees are grown from the
    data below at their first use, in about a second.

    Attributes:
        pools: p names of pools.
        eval: the eval whose loss is predicted.
        base: the law under the trees, or None.
        recipes: the n fitted recipes.
        losses: (n,) in nats per token.
        law_outside: (n,) log loss that the law predicts for a row when it is fitted without the fold of that row;
            zeros without a law.
        clusters: (n,) int codes of the trainings to which rows belong.
        options: options of the trees.
        noise: root mean square of the log error on rows of unseen folds.
        ranges: smallest and largest tokens, params and epochs of the fitted runs.
        discrepancy: what follows for intervals from runs that were held out; None if the trees were not compared.
    """

    pools: tuple[str, ...]
    eval: str
    base: Fit | None
    recipes: Recipes
    losses: np.ndarray
    law_outside: np.ndarray
    clusters: np.ndarray
    options: TreeOptions
    noise: float
    ranges: Mapping[str, tuple[float, float]]
    discrepancy: Discrepancy | None = None

    differentiable = False  # a plan has to search

    def __repr__(self) -> str:
        """Return one line that names the law under the trees, the eval, and the error."""
        base = "no law" if self.base is None else self.base.spec
        return (
            f"Boosted(on {base}, loss.{self.eval}, {len(self.pools)} pools, {len(self.losses)} runs, "
            f"error on unseen runs {self.noise:.2%})"
        )

    @property
    def rows(self) -> int:
        """The number n of fitted runs."""
        return len(self.losses)

    @property
    def draw_count(self) -> int:
        """The number b of bootstrap draws: that of the law, or without a law that of the trees."""
        return self.options.draws if self.base is None else self.base.draw_count

    @property
    def trainings(self) -> int:
        """The number of trainings to which the fitted rows belong."""
        return len(np.unique(self.clusters))

    def loss(self, recipes: Recipes) -> Tensor:
        """Return the (n,) predicted losses in nats per token, without a gradient."""
        law = self._law(recipes)
        return torch.from_numpy(np.exp(law + self._trees[0].predict(self._columns(recipes, law))))

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return the (b, n) losses that the bootstrap draws predict, in nats per token.

        Each of the b draws of the law is combined with one bootstrap refit of the trees. There are fewer refits than
        draws, so they are used in turn. Without a law, b is the number of refits.
        """
        law = self._law(recipes)
        columns = self._columns(recipes, law)
        trees = torch.from_numpy(np.stack([tree.predict(columns) for tree in self._trees[1:]]))
        if self.base is None:
            return trees.exp()
        draws = self.base.draw_losses(recipes).detach()
        return draws * trees[torch.arange(len(draws)) % len(trees)].exp()

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``."""
        losses = self.draw_losses(recipes)
        return losses[draws % len(losses), torch.arange(len(recipes))]

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the low (n,) and high (n,) ends of the interval of a new run's loss."""
        return intervals.of_new_runs(self, recipes, level)

    @cached_property
    def _trees(self) -> tuple[HistGradientBoostingRegressor, ...]:
        """The trees on all rows, then those of each bootstrap draw."""
        columns, target = self._columns(self.recipes, self.law_outside), np.log(self.losses) - self.law_outside
        counts = resample(self.clusters, self.options.draws, self.options.seed).numpy()
        return tuple(_grow(columns, target, weights, self.options) for weights in (np.ones(len(target)), *counts))

    @cached_property
    def _varied(self) -> np.ndarray:
        """Which features vary over the fitted rows: the others would only cost time."""
        columns = features(self.recipes, self.law_outside).T
        return np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in columns])

    def _columns(self, recipes: Recipes, law: np.ndarray) -> np.ndarray:
        return features(recipes, law)[:, self._varied]

    def _law(self, recipes: Recipes) -> np.ndarray:
        """Return the (n,) log losses that the law predicts, 0 without a law."""
        if self.base is None:
            return np.zeros(len(recipes))
        return np.asarray(self.base.loss(recipes).detach().log())

    def noise_on_unseen(self, fold: np.ndarray) -> float:
        """Return the root mean square log error on unseen folds.

        ``fold`` (n,) are codes of folds. Each fold is predicted by trees that were grown without it.
        """
        columns, target = self._columns(self.recipes, self.law_outside), np.log(self.losses) - self.law_outside
        residual = np.empty_like(target)
        for code in np.unique(fold):
            unseen = fold == code
            trees = _grow(columns, target, (~unseen).astype(float), self.options)
            residual[unseen] = target[unseen] - trees.predict(columns[unseen])
        return float(np.sqrt((residual**2).mean()))


def features(recipes: Recipes, law: np.ndarray) -> np.ndarray:
    """Return (n, 3 p + 3) features of recipes and of the log losses ``law`` (n,).

    Columns: weights, their logarithms, log epochs (NaN where none or unlimited), log tokens, log params, ``law``.
    """
    weights, epochs = np.asarray(recipes.weights.detach()), np.asarray(recipes.epochs.detach())
    # To the trees NaN is a value of its own, so that "no repetition" needs no number.
    repeated = np.log(epochs, out=np.full_like(epochs, np.nan), where=epochs > 0)
    sizes = [np.log(np.asarray(x.detach())) for x in (recipes.tokens, recipes.params)]
    return np.column_stack([weights, np.log(weights + SHARE_FLOOR), repeated, *sizes, law])


def fit_boosted(
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    base: str | None = BASE,
    clusters: np.ndarray | None = None,
    options: TreeOptions = DEFAULT_TREES,
    law: FitOptions = DEFAULTS,
) -> dict[str, Boosted]:
    """Fit boosted trees to every eval of the same n runs.

    ``losses`` maps each eval to (n,) losses in nats per token, NaN where not measured. The law ``base`` is fitted to
    all evals together: once to all rows, and once without each fold of ``clusters`` (n,).

    Raises:
        FitError: if there are fewer trainings than folds, or the law cannot be fitted (``fit_evals``).
    """
    codes = np.unique(np.arange(len(recipes)) if clusters is None else clusters, return_inverse=True)[1]
    fold = _folds(codes, options)
    law_fits: dict[str, Fit] = {}
    outside = {name: np.zeros(len(recipes)) for name in losses}
    if base is not None:
        law_fits = fits.fit_evals(base, recipes, losses, pools=pools, clusters=codes, options=law)
        outside = _law_outside(base, recipes, losses, fold, pools=pools, options=law)
    result = {}
    for name, loss in losses.items():
        rows = np.isfinite(loss)
        measured = recipes.take(rows)
        boosted = Boosted(
            pools=tuple(pools),
            eval=name,
            base=law_fits.get(name),
            recipes=measured,
            losses=loss[rows],
            law_outside=outside[name][rows],
            clusters=codes[rows],
            options=options,
            noise=0.0,  # measured next: it needs the trees
            ranges=fits.ranges(measured, pools),
        )
        result[name] = replace(boosted, noise=boosted.noise_on_unseen(fold[rows]))
    return result


def _folds(codes: np.ndarray, options: TreeOptions) -> np.ndarray:
    """Return the (n,) folds of runs with training ``codes`` (n,): checkpoints of one training share a fold."""
    trainings = codes.max() + 1
    if trainings < options.folds:
        raise FitError(
            f"{trainings} trainings cannot be split into {options.folds} folds: add runs, or fit a law alone"
        )
    order = np.random.default_rng(options.seed).permutation(trainings)
    return np.asarray((order % options.folds)[codes])


def _law_outside(
    base: str,
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    fold: np.ndarray,
    *,
    pools: Sequence[str],
    options: FitOptions,
) -> dict[str, np.ndarray]:
    """Return, for each eval, the (n,) log losses that the law predicts when it is fitted without the row's fold.

    The trees learn the residuals of these. Had the law seen a row, its residual there would be too small.
    """
    outside = {name: np.zeros(len(recipes)) for name in losses}
    for code in range(fold.max() + 1):
        test = fold == code
        train = {name: loss[~test] for name, loss in losses.items()}
        part = fits.fit_evals(base, recipes.take(~test), train, pools=pools, options=replace(options, draws=1))
        for name, fit in part.items():
            outside[name][test] = np.asarray(fit.loss(recipes.take(test)).log())
    return outside


def _grow(x: np.ndarray, y: np.ndarray, weights: np.ndarray, options: TreeOptions) -> HistGradientBoostingRegressor:
    # The least number of rows in a leaf counts rows, not weights: those of weight 0 must go.
    rows = weights > 0
    trees = HistGradientBoostingRegressor(
        max_iter=options.rounds,
        learning_rate=options.rate,
        max_leaf_nodes=options.leaves,
        min_samples_leaf=options.least,
        l2_regularization=options.ridge,
        max_features=options.part,
        early_stopping=False,
        random_state=options.seed,
    )
    return trees.fit(x[rows], y[rows], sample_weight=weights[rows])
