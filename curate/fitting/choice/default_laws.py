"""Choose the laws that suit a run table: the default of `fit`, which then averages them or keeps the best."""

from dataclasses import dataclass

import numpy as np

from curate.errors import FitError
from curate.fitting.boosted import TreeOptions
from curate.fitting.fit_files import BOOSTED
from curate.runs.run_table import Runs

AUTO = "auto"  # the value of --law that stands for this choice
REPEATED = 1.05  # passes over a pool above which its tokens count as repeated; a run may read a few tokens twice
# Boosted trees need many trainings. With fewer than this, a leaf of 10 rows is a large part of the table, and a law
# without trees predicts better.
FEWEST_FOR_TREES = 50
FEWEST_RUNS = 3  # of a table: one run is held out, and one run fitted would show no change of anything


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
    def one_budget(self) -> bool:
        """Whether the runs compare mixtures at one size and one length."""
        return self.mixtures and not (self.sizes or self.lengths)


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
    """Return the laws that suit what varies in the runs. The law with the fewest parameters comes last.

    `farseer` is never among them: where it is wrong it is wrong by so much that it doubles the width of an average.
    """
    if shape.one_budget:
        # At one budget, only the priors determine the terms of size and tokens of ces and mixture_additive. Both laws
        # predict unseen mixtures better than mixing does (benchmarks/fitting/one_budget.py).
        laws: tuple[str, ...] = (f"{BOOSTED}:base=ces", "mixture_additive", "ces", "mixing")
    elif shape.mixtures:
        # Chinchilla, which does not see the mixture, shows whether the others learn anything from it. mixture_additive
        # fits as well, but loses at larger sizes, because it finds too steep an exponent of tokens.
        laws = ("mixture_ces:linear=true", "mixture_ces", "ces", "chinchilla")
    elif shape.repeats:
        laws = ("penalised", "repetition", "chinchilla")
    elif shape.sizes:
        laws = ("skaling:form=equal", "chinchilla", "overtraining")
    else:
        laws = ("chinchilla", "power")
    return (*laws[:-1], "transport", laws[-1]) if shape.distances and shape.mixtures else laws


def default(runs: Runs) -> tuple[str, ...]:
    """Return the laws to compare on the runs.

    Fewer runs than parameters are no reason to leave a law out: its priors decide what the runs leave open. Only
    boosted trees need many trainings.

    Raises:
        FitError: if there are too few runs for every law. The message says how many are missing.
    """
    if len(runs) < FEWEST_RUNS:
        raise FitError(
            f"{runs.origin}: {len(runs)} run{'s' * (len(runs) > 1)} cannot be divided into runs to fit and runs to "
            f"test. Add {FEWEST_RUNS - len(runs)} or more"
        )
    trainings = len(np.unique(runs.clusters))
    laws = candidates(shape(runs))
    return tuple(law for law in laws if not law.startswith(BOOSTED) or trainings >= _fewest_for_trees())


def _fewest_for_trees() -> int:
    return max(FEWEST_FOR_TREES, TreeOptions().folds)
