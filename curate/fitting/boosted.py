"""Gradient-boosted trees over mixture features, alone or on what a law leaves over (RegMix, Liu et al. 2024, arXiv
2407.01492, which fits LightGBM to losses of small runs; the law's part is a choice of this project).

A tree cannot extrapolate: the law carries size, tokens and unseen corners, the trees add what it misses in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor

from curate.errors import FitError, SchemaError
from curate.fitting import fit as fits
from curate.fitting.fit import Fit
from curate.fitting.multistart import resample
from curate.runs.predictor import spread
from curate.runs.recipes import Recipes

BASE = "mixture_ces:linear=true"  # best single law on the 512 + 256 public RegMix runs
FLOOR = 1e-3  # of a share, under the logarithm: published mixtures are rounded to three digits


@dataclass(frozen=True)
class Options:
    """How to boost. ``rounds`` trees of at most ``leaves`` leaves of at least ``least`` rows, each shrunk by ``rate``
    and fitted on a ``part`` of the columns a split; ``ridge``: L2 on leaf values. ``draws`` bootstrap refits;
    ``folds``: how many times the law is fitted without a part of the trainings."""

    rounds: int = 300
    rate: float = 0.03
    leaves: int = 8
    least: int = 10
    ridge: float = 1.0
    part: float = 0.6
    draws: int = 16
    folds: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Boosted:
    """Loss = law(recipe) exp(trees(recipe)), or exp(trees(recipe)) without a law: a ``Predictor`` to search, since its
    derivative is 0 almost everywhere (``differentiable``).

    ``recipes`` n fitted; ``losses`` (n,) in nats per token; ``outside`` (n,) log loss that the law predicts when it is
    fitted without the row's fold (zeros without a law); ``clusters`` (n,) int codes of trainings; ``noise``: root mean
    square of the log error on rows of unseen folds. The trees are refitted from these when first asked: about a second.
    """

    pools: tuple[str, ...]
    eval: str
    base: Fit | None
    recipes: Recipes
    losses: np.ndarray
    outside: np.ndarray
    clusters: np.ndarray
    options: Options
    noise: float
    ranges: Mapping[str, tuple[float, float]]

    differentiable = False

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted loss in nats per token; no gradient."""
        law = self._law(recipes)
        return torch.from_numpy(np.exp(law + self._trees[0].predict(self._columns(recipes, law))))

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted loss: b draws of the law, the refitted trees in turn (without a law, b trees)."""
        law = self._law(recipes)
        x = self._columns(recipes, law)
        trees = torch.from_numpy(np.stack([tree.predict(x) for tree in self._trees[1:]]))
        if self.base is None:
            return trees.exp()
        draws = self.base.draw_losses(recipes).detach()
        return draws * trees[torch.arange(len(draws)) % len(trees)].exp()

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted loss, every recipe by its own draw (n,)."""
        every = self.draw_losses(recipes)
        return every[draws % len(every), torch.arange(len(recipes))]

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high: the loss a new run would show."""
        return spread(self.draw_losses(recipes), self.noise, level)

    @cached_property
    def _trees(self) -> tuple[HistGradientBoostingRegressor, ...]:
        """The trees on all rows, then one a bootstrap draw."""
        x, y = self._columns(self.recipes, self.outside), np.log(self.losses) - self.outside
        counts = resample(self.clusters, self.options.draws, self.options.seed).numpy()
        return tuple(_grow(x, y, weights, self.options) for weights in (np.ones(len(y)), *counts))

    @cached_property
    def _used(self) -> np.ndarray:
        """Which features vary over the fitted rows."""
        x = features(self.recipes, self.outside)
        return np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in x.T])

    def _columns(self, recipes: Recipes, law: np.ndarray) -> np.ndarray:
        return features(recipes, law)[:, self._used]

    def _law(self, recipes: Recipes) -> np.ndarray:
        """(n,) log loss that the law predicts, 0 without one."""
        if self.base is None:
            return np.zeros(len(recipes))
        return np.asarray(self.base.loss(recipes).detach().log())


def features(recipes: Recipes, law: np.ndarray) -> np.ndarray:
    """(n, 3 p + 3): weights, their logs, log epochs (NaN where none or unlimited), log tokens, log params, ``law``."""
    weights, epochs = np.asarray(recipes.weights.detach()), np.asarray(recipes.epochs.detach())
    repeated = np.log(epochs, out=np.full_like(epochs, np.nan), where=epochs > 0)
    sizes = [np.log(np.asarray(x.detach())) for x in (recipes.tokens, recipes.params)]
    return np.column_stack([weights, np.log(weights + FLOOR), repeated, *sizes, law])


def fit_boosted(
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    base: str | None = BASE,
    clusters: np.ndarray | None = None,
    options: Options = Options(),
    law: fits.Options = fits.Options(),  # noqa: B008
) -> dict[str, Boosted]:
    """Boost every eval of the same runs: (n,) losses in nats per token each, NaN where not measured.

    The law ``base`` is fitted to all evals at once, on all rows and without each fold of ``clusters`` (n,); the trees
    learn log(loss / law), the law out of fold. Errors: fewer trainings than folds, and those of ``fit_evals``.
    """
    n = len(recipes)
    codes = np.unique(np.arange(n) if clusters is None else clusters, return_inverse=True)[1]
    if codes.max() + 1 < options.folds:
        raise FitError(
            f"{codes.max() + 1} trainings cannot be split into {options.folds} folds: add runs, or fit a law alone"
        )
    fold = (np.random.default_rng(options.seed).permutation(codes.max() + 1) % options.folds)[codes]
    full: dict[str, Fit] = {}
    outside = {name: np.zeros(n) for name in losses}
    if base is not None:
        full = fits.fit_evals(base, recipes, losses, pools=pools, clusters=codes, options=law)
        for k in range(options.folds):
            train = {name: y[fold != k] for name, y in losses.items()}
            part = fits.fit_evals(base, recipes.take(fold != k), train, pools=pools, options=replace(law, draws=1))
            for name, one in part.items():
                outside[name][fold == k] = np.asarray(one.loss(recipes.take(fold == k)).log())
    found = {}
    for name, y in losses.items():
        rows = np.isfinite(y)
        known = recipes.take(rows)
        plain = Boosted(
            tuple(pools), name, full.get(name), known, y[rows], outside[name][rows], codes[rows], options, 0.0,
            fits.ranges(known, pools),
        )  # fmt: skip
        found[name] = replace(plain, noise=_heldout(plain, fold[rows]))
    return found


def _heldout(boosted: Boosted, fold: np.ndarray) -> float:
    """Root mean square of the log error of trees that have not seen the fold."""
    x, y = boosted._columns(boosted.recipes, boosted.outside), np.log(boosted.losses) - boosted.outside
    left = np.empty_like(y)
    for k in np.unique(fold):
        out = fold == k
        left[out] = y[out] - _grow(x, y, (~out).astype(float), boosted.options).predict(x[out])
    return float(np.sqrt((left**2).mean()))


def _grow(x: np.ndarray, y: np.ndarray, weights: np.ndarray, options: Options) -> HistGradientBoostingRegressor:
    rows = weights > 0
    trees = HistGradientBoostingRegressor(
        max_iter=options.rounds, learning_rate=options.rate, max_leaf_nodes=options.leaves,
        min_samples_leaf=options.least, l2_regularization=options.ridge, max_features=options.part,
        early_stopping=False, random_state=options.seed,
    )  # fmt: skip
    return trees.fit(x[rows], y[rows], sample_weight=weights[rows])


def to_json(boosted: Boosted) -> dict[str, object]:
    """Return the law's fit, the options and the fitted rows: the trees are grown again from them, not stored."""
    recipes = boosted.recipes
    unique = [[x if np.isfinite(x) else None for x in row] for row in recipes.unique.tolist()]
    return {
        "law": "boosted",
        "eval": boosted.eval,
        "pools": list(boosted.pools),
        "theta": {},
        "base": None if boosted.base is None else fits.to_json(boosted.base),
        "options": asdict(boosted.options),
        "noise": boosted.noise,
        "ranges": {name: list(ends) for name, ends in boosted.ranges.items()},
        "runs": {
            "weights": recipes.weights.tolist(),
            "tokens": recipes.tokens.tolist(),
            "params": recipes.params.tolist(),
            "unique": unique,
            "distance": None if recipes.distance is None else recipes.distance.tolist(),
            "loss": boosted.losses.tolist(),
            "outside": boosted.outside.tolist(),
            "clusters": boosted.clusters.tolist(),
        },
    }


def from_json(record: Mapping[str, object]) -> Boosted:
    """Return what ``to_json`` wrote; the same rows and options grow the same trees."""
    try:
        runs = cast(Mapping[str, list[float]], record["runs"])
        unique = cast(list[list[float | None]], runs["unique"])
        on_hand = [[np.inf if x is None else x for x in row] for row in unique]
        columns = [runs["weights"], runs["tokens"], runs["params"], on_hand]
        columns += [] if runs["distance"] is None else [runs["distance"]]
        base = record["base"]
        return Boosted(
            pools=tuple(cast(list[str], record["pools"])),
            eval=str(record["eval"]),
            base=None if base is None else fits.from_json(cast(Mapping[str, object], base)),
            recipes=Recipes(*(torch.tensor(x, dtype=torch.float64) for x in columns)),
            losses=np.array(runs["loss"]),
            outside=np.array(runs["outside"]),
            clusters=np.array(runs["clusters"]),
            options=Options(**cast(dict[str, int], record["options"])),
            noise=float(cast(float, record["noise"])),
            ranges={k: (v[0], v[1]) for k, v in cast(dict[str, list[float]], record["ranges"]).items()},
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SchemaError(f"this is no boosted fit ({type(error).__name__}: {error}): fit it again") from None
