"""Choose the laws that suit a run table: the default of `fit`, which then compares them on held-out runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from curate import open_sets
from curate.errors import FitError
from curate.fitting.boosted import TreeOptions
from curate.fitting.choice.holdout import splits
from curate.fitting.fit_files import BOOSTED
from curate.fitting.solver.coordinates import Coordinates
from curate.laws import Law
from curate.runs.recipes import Recipes
from curate.runs.run_table import Runs

AUTO = "auto"  # the value of --law that stands for this choice
REPEATED = 1.05  # passes over a pool above which its tokens count as repeated; a run may read a few tokens twice
# Boosted trees need many trainings. With fewer than this, a leaf of 10 rows is a large part of the table, and a law
# without trees predicts better.
FEWEST_FOR_TREES = 50


@dataclass(frozen=True)
class Shape:
    """What varies in a run table. Only this decides which laws are compared.

    ``pools`` is the number of pools. ``mixtures``, ``sizes`` and ``lengths`` say whether the shares, params and tokens
    differ between runs. ``repeats`` says whether any pool was read more than once. ``distances`` says whether the
    distance to a target was measured.
    """

    pools: int
    mixtures: bool
    sizes: bool
    lengths: bool
    repeats: bool
    distances: bool

    @property
    def words(self) -> str:
        """Return what varies, as words for messages."""
        varied = [
            name
            for name, varies in (("mixture", self.mixtures), ("params", self.sizes), ("tokens", self.lengths))
            if varies
        ]
        return " and ".join(varied)


def shape(runs: Runs) -> Shape:
    """Return the shape of a run table."""
    recipes = runs.recipes()
    return Shape(
        pools=len(runs.pools),
        mixtures=_varies(recipes.weights.numpy()),
        sizes=_varies(recipes.params.log().numpy()),
        lengths=_varies(recipes.tokens.log().numpy()),
        repeats=bool((recipes.epochs > REPEATED).any()),
        distances=recipes.distance is not None,
    )


def _varies(values: np.ndarray) -> bool:
    # Published tables round their values, so very small differences do not count.
    return bool(np.ptp(values, axis=0).max() > 1e-6)


def candidates(shape: Shape) -> tuple[str, ...]:
    """Return the laws that suit what varies in the runs. The law with the fewest parameters comes last."""
    if shape.mixtures and not (shape.sizes or shape.lengths):
        # At one budget, only the priors determine the terms of size and tokens of ces and mixture_additive. The ranking
        # of mixtures at other budgets stays the same; the level of the loss there is as uncertain as the priors. Both
        # laws predict unseen mixtures better than mixing does (benchmarks/fitting/one_budget.py).
        laws: tuple[str, ...] = (f"{BOOSTED}:base=ces", "mixture_additive", "ces", "mixing")
    elif shape.mixtures:
        # Chinchilla, which does not see the mixture, shows whether the others learn anything from it.
        laws = ("mixture_ces:linear=true", "ces", "mixture_additive", "chinchilla")
    elif shape.repeats:
        laws = ("penalised", "repetition", "chinchilla")
    elif shape.sizes:
        laws = ("chinchilla", "overtraining")
    else:
        laws = ("chinchilla", "power")
    return (*laws[:-1], "transport", laws[-1]) if shape.distances and shape.mixtures else laws


def default(runs: Runs, evals: Sequence[str], how: str, *, seed: int = 0) -> tuple[str, ...]:
    """Return the laws to compare on the runs, for the losses ``evals`` and the holdout split ``how``.

    A law is left out if it has more parameters than there are runs in the smallest training part of the split.

    Raises:
        FitError: if there are too few runs for every law. The message says how many are missing.
    """
    recipes, clusters = runs.recipes(), runs.clusters
    measured = [np.isfinite(runs.loss(name, missing=True)) for name in evals]
    fitted = [train for train, _ in splits(recipes, clusters, how, seed=seed)]
    # The smallest number of runs that a law is fitted to, over all splits and evals.
    rows = min(int((train & rows).sum()) for train in fitted for rows in measured)
    trainings = min(len(np.unique(clusters[train])) for train in fitted)
    shape_of_runs = shape(runs)
    laws = candidates(shape_of_runs)
    enough = tuple(law for law in laws if _least_runs(law, recipes) <= (trainings if law.startswith(BOOSTED) else rows))
    if not enough:
        least = _least_runs(laws[-1], recipes)
        raise FitError(
            f"{runs.origin}: too few runs. {rows} of {len(runs)} runs remain for fitting when some are held out. The "
            f"runs differ in {shape_of_runs.words}; the smallest law for that, {laws[-1]} of {shape_of_runs.pools} "
            f"pools, has {least} parameters. Add {least - rows} runs or more, or merge pools"
        )
    return enough


def _least_runs(law: str, recipes: Recipes) -> int:
    """Return the smallest number of runs that a law can be fitted to; for boosted trees, of trainings."""
    if law.startswith(BOOSTED):
        return max(FEWEST_FOR_TREES, TreeOptions().folds)
    return Coordinates(cast(Law, open_sets.build("laws", law)).params(), recipes.weights.shape[1]).size
