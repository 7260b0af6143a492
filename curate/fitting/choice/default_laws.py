"""Choose the laws that suit a run table: the default of `fit`, which then averages the good ones."""

from dataclasses import dataclass

import numpy as np

from curate.errors import FitError
from curate.fitting.gaussian import sizes
from curate.fitting.gaussian.gaussian import NAME as GAUSSIAN
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs

AUTO = "auto"  # the value of --law that stands for this choice
REPEATED = 1.05  # passes over a pool above which its tokens count as repeated; a run may read a few tokens twice
# A Gaussian process needs this many runs of one budget. With 16 of five pools it predicts other mixtures about as well
# as the laws (benchmarks/fitting/unseen_mixtures.py).
FEWEST_FOR_GAUSSIAN = 16
FEW = 0.5  # the runs of all other budgets are few if there are fewer than this part of those of the largest group
FEWEST_RUNS = 3  # of a table: one run is held out, and one run fitted would show no change of anything


@dataclass(frozen=True)
class Shape:
    """What varies in a run table. Only this decides which laws are compared.

    ``pools`` is the number of pools. ``mixtures``, ``sizes`` and ``lengths`` say whether the shares, params and tokens
    differ between runs. ``repeats`` says whether any pool was read more than once. ``distances`` says whether the
    distance to a target was measured. ``most`` is the number of runs of the budget that has most of them, and
    ``others`` that of all other budgets. Runs whose compute differs by less than a factor of 1.2 have one budget.
    """

    pools: int
    mixtures: bool
    sizes: bool
    lengths: bool
    repeats: bool
    distances: bool
    most: int
    others: int

    @property
    def few_beside_many(self) -> bool:
        """Whether there are many mixtures of one budget, and a few runs of other budgets."""
        return self.mixtures and self.most >= FEWEST_FOR_GAUSSIAN and 0 < self.others < FEW * self.most

    @property
    def one_budget(self) -> bool:
        """Whether the runs compare mixtures at one size and one length."""
        return self.mixtures and not (self.sizes or self.lengths)


def shape(runs: Runs) -> Shape:
    """Return the shape of a run table."""
    recipes = runs.recipes()
    most = _most_of_one_budget(recipes)
    return Shape(
        pools=len(runs.pools),
        mixtures=_varies(recipes.weights.numpy()),
        sizes=_varies(recipes.params.log().numpy()),
        lengths=_varies(recipes.tokens.log().numpy()),
        repeats=bool((recipes.epochs > REPEATED).any()),
        distances=recipes.distance is not None,
        most=most,
        others=len(recipes) - most,
    )


def _most_of_one_budget(recipes: Recipes) -> int:
    """Return the largest number of runs whose compute is about the same."""
    compute, codes = (recipes.tokens * recipes.params).log().numpy(), sizes.group(recipes)[1]
    # Lengths that follow each other closely are one group, but no budget.
    groups = (compute[codes == code] for code in range(codes.max() + 1))
    return max((len(group) for group in groups if np.ptp(group) < sizes.SAME_COMPUTE), default=0)


def _varies(values: np.ndarray) -> bool:
    # Published tables round their values, so very small differences do not count.
    return bool(np.ptp(values, axis=0).max() > 1e-6)


def candidates(shape: Shape) -> tuple[str, ...]:
    """Return the laws that suit what varies in the runs. The law with the fewest parameters comes last.

    `farseer` is never among them: where it is wrong it is wrong by so much that it doubles the width of an average.
    """
    if shape.one_budget and shape.most < FEWEST_FOR_GAUSSIAN:
        # At one budget, only the priors determine the terms of size and tokens of ces and mixture_additive. Both laws
        # predict unseen mixtures better than mixing does (benchmarks/fitting/one_budget.py).
        laws: tuple[str, ...] = ("mixture_additive", "ces", "mixing")
    elif shape.one_budget:
        # The law and the processes err in different ways on mixtures that they have not seen, at this budget and at
        # larger ones: their mean is better than each of them. With mixture_additive it is worse. Boosted trees are no
        # better than a process, and a plan cannot follow their gradient (benchmarks/fitting/unseen_mixtures.py).
        laws = (f"{GAUSSIAN}:base=ces", GAUSSIAN, "ces", "mixing")
    elif shape.few_beside_many:
        # Laws have no term for what a few large runs show of all mixtures (benchmarks/fitting/large_runs.py).
        laws = (f"{GAUSSIAN}:base=ces", GAUSSIAN, "chinchilla")
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
    a Gaussian process needs many runs of one budget.

    Raises:
        FitError: if there are too few runs for every law. The message says how many are missing.
    """
    if len(runs) < FEWEST_RUNS:
        raise FitError(
            f"{runs.origin}: {len(runs)} run{'s' * (len(runs) > 1)} cannot be divided into runs to fit and runs to "
            f"test. Add {FEWEST_RUNS - len(runs)} or more"
        )
    return candidates(shape(runs))
