"""How far a law may be from the truth: a shift that is common to a size, and scatter between mixtures of one size.

In: the sizes and lengths that were fitted, and errors on runs that were held out. Out: standard deviations of log loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import log, sqrt
from typing import cast

from torch import Tensor

from curate.runs.recipes import Recipes

# Two sizes that differ by less than this factor count as one. Published counts of parameters of one model differ by up
# to a tenth, depending on whether embeddings count.
SAME_SIZE = 1.2
# Standard deviation of log loss of the shift common to a size that is e times the largest fitted size. On nine families
# of public runs, leaving one out at a time, it was .012 to .0155 (benchmarks/fitting/calibration.py measures the
# families that are at hand).
SHIFT = 0.014
# The same for what a law models of a metric: the logarithm of the odds of an error, or of a positive quantity. On two
# error rates of three corpora it was .046, and .121 with one fitted size (benchmarks/fitting/metric_intervals.py). A
# shift of 1.4 % of a loss of 3 nats is one of .042 of the logarithm of the perplexity.
METRIC_SHIFT = 0.05
# Words in the names of metrics that are losses, in nats or in bits, and so have the shift of a loss. A name with a word
# of a rate, such as bits_err, is not one.
METRIC, LOSSES, RATES = "metric.", ("bpb", "bits", "nll", "loss"), ("acc", "err", "rate")
# The same for runs of one size. Nothing then shows how the loss falls with size, so a law takes that from its priors,
# and the priors of laws are narrower than their errors: 2.5 to 4 % on two public tables, fitted to their smallest size.
ONE_SIZE_SHIFT = 0.035
# The same for laws that do not depend on size or length, such as `mixing`. The published law of Chinchilla (Hoffmann et
# al. 2022, arXiv 2203.15556) falls by 13 % from 1e8 to 2.5e8 parameters at 20 tokens a parameter, and by 30 % to 1e9.
BLIND_SHIFT = 0.14
# The same for runs that are shorter than the fitted ones, at 1/e of the shortest. Laws describe the first part of a
# training badly: fitted to the longer runs of four public families, they missed runs of less than half of the shortest
# fitted length by 3 to 14 % (benchmarks/fitting/shorter_runs.py).
SHORTER_SHIFT = 0.035
# At the next size the shift is at least that of this distance, which is a factor of 1.28 in size. A law that misses the
# next size misses it even where it is near.
NEXT_SIZE = 0.25
# Standard deviation of log loss of a run that has done 1/e of its training around the law of finished runs, where no
# checkpoints show it. Its learning rate has still to fall. Laws fitted to last rows missed the checkpoints of two
# public families by .019 to .057, and this value holds 92 % or more of the rows of each
# (benchmarks/fitting/calibration.py measures the tables that have checkpoints).
UNFINISHED = 0.035


@dataclass(frozen=True)
class Discrepancy:
    """How far new runs may lie from the prediction of a law, apart from the uncertainty of its parameters.

    All deviations are of log loss.

    Attributes:
        scatter: standard deviation of a finished run of a fitted size around the prediction, without a shift that all
            runs of that size share. It is measured on held-out sizes if possible, and contains the noise of a run.
        contrast: standard deviation of a difference between two fitted mixtures at the largest fitted size and length,
            without the noise of a run.
        sizes: number of distinct fitted sizes; sizes that differ by less than a factor of 1.2 count as one.
        smallest: the smallest fitted params.
        largest: the largest fitted params.
        longest: the largest number of tokens of a fitted run; of an unfinished one, the tokens that it was planned for.
        shortest: the smallest number of tokens of a fitted run, counted in the same way; 0 if a fit of an older version
            does not say.
        shift_at_e: standard deviation of the shift that all runs of a size share, at e times the largest fitted
            size, where two or more sizes were fitted. See ``usual_shift``.
        size_shift: a lower bound on ``shift_of_size`` that this fit shows: its laws do not depend on size, or missed
            whole held-out sizes by more than is usual. 0 if a fit of an older version does not say.
        length_shift: the same for runs that are longer than all fitted ones.
        unfinished: standard deviation, around the prediction, of a run that has done 1/e of its training. Its square
            grows in proportion to ln(1 / progress).
    """

    scatter: float
    contrast: float
    sizes: int
    smallest: float
    largest: float
    longest: float
    unfinished: float = UNFINISHED
    shortest: float = 0.0
    shift_at_e: float = SHIFT
    size_shift: float = 0.0
    length_shift: float = 0.0

    @property
    def level(self) -> float:
        """Standard deviation of the level of the loss of runs at the size that follows the largest fitted one."""
        return sqrt(self.scatter**2 + self.shift_of_size**2 * NEXT_SIZE)

    @property
    def shift_of_size(self) -> float:
        """Standard deviation of the shift that all runs of a size share, at e times the largest fitted size."""
        usual = self.shift_at_e if self.sizes > 1 else self.shift_at_e / SHIFT * ONE_SIZE_SHIFT
        return max(usual, self.size_shift)

    def shift(self, recipes: Recipes) -> Tensor:
        """Return (n,) standard deviations of the shift that all runs of the size and length of a recipe share.

        Its square grows with the distance in size, ln(params / largest) or ln(smallest / params), or with that in
        length, ln(tokens / longest) or ln(shortest / tokens); the one that gives most counts. It is 0 inside the fitted
        range. From a factor of 1.2 outside, the distance is at least NEXT_SIZE.
        """
        beyond = (recipes.params / self.largest).log()
        below = (self.smallest / recipes.params).log()
        # A run that is half done is no shorter than a finished one: its length is the one that it was planned for.
        planned = recipes.tokens if recipes.progress is None else recipes.tokens / recipes.progress
        of_size = self.shift_of_size * _distance(beyond.maximum(below)).sqrt()
        of_longer = max(self.shift_at_e, self.length_shift) * _distance((planned / self.longest).log()).sqrt()
        # What a law models of a metric misses all other runs by so many times more than a loss, too.
        of_shorter = self.shift_at_e / SHIFT * SHORTER_SHIFT * _distance((self.shortest / planned).log()).sqrt()
        return of_size.maximum(of_longer).maximum(of_shorter)

    def deviation(self, recipes: Recipes) -> Tensor:
        """Return (n,) standard deviations of the level of the log loss of new runs, apart from the law's parameters."""
        variance = self.scatter**2 + self.shift(recipes) ** 2
        if recipes.progress is not None:
            variance = variance - self.unfinished**2 * recipes.progress.log()
        return variance.sqrt()

    def to_json(self) -> dict[str, float]:
        """Return the fields as an object of fit.json."""
        return asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, object]) -> "Discrepancy":
        """Return the discrepancy that ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: if a field is missing or wrong.
        """
        # Fits of older versions have no shortest length, the shift of a loss, and no shifts of their own.
        written = {"shortest": 0.0, "shift_at_e": SHIFT, "size_shift": 0.0, "length_shift": 0.0, **record}
        numbers = {field.name: float(cast(float, written[field.name])) for field in fields(Discrepancy)}
        return Discrepancy(**{**numbers, "sizes": int(numbers["sizes"])})  # type: ignore[arg-type]


def usual_shift(evaluation: str) -> float:
    """Return the standard deviation of the shift of log loss at e times the largest fitted size, for an eval.

    ``metric.<name>`` is what a law models of a metric: the odds of an error, or a positive quantity.
    """
    name = evaluation.lower()
    of_loss = any(word in name for word in LOSSES) and not any(word in name for word in RATES)
    return METRIC_SHIFT if name.startswith(METRIC) and not of_loss else SHIFT


def _distance(outside: Tensor) -> Tensor:
    """Return the distance (n,) from the fitted range of recipes that lie so far outside, in logarithms."""
    outside = outside.clamp_min(0.0)
    # The distance rises to NEXT_SIZE without a jump, so that a plan does not change suddenly with its budget.
    return outside.maximum((outside * NEXT_SIZE / log(SAME_SIZE)).clamp_max(NEXT_SIZE))


def combined(parts: Sequence[Discrepancy | None], weights: Sequence[float]) -> Discrepancy | None:
    """Return the discrepancy of a weighted sum of losses; None if one of them has none.

    It takes the discrepancies as fully correlated, because what shifts one eval at a new size shifts the others too.
    """
    present = [part for part in parts if part is not None]
    if not present or len(present) < len(parts):
        return None
    total = sum(weights)

    def mean(name: str) -> float:
        return float(sum(w * getattr(part, name) for w, part in zip(weights, present, strict=True)) / total)

    return Discrepancy(
        scatter=mean("scatter"),
        contrast=mean("contrast"),
        # A sum is known only where all its parts are.
        sizes=min(part.sizes for part in present),
        smallest=max(part.smallest for part in present),
        largest=min(part.largest for part in present),
        longest=min(part.longest for part in present),
        shortest=max(part.shortest for part in present),
        size_shift=mean("size_shift"),
        length_shift=mean("length_shift"),
        unfinished=mean("unfinished"),
        shift_at_e=mean("shift_at_e"),
    )
