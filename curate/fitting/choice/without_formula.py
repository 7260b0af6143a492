"""What is fitted like a law and named like one, but has no formula: its name and its options.

Laws with a formula have files in `curate/laws`. This file does not import torch, so that `curate list laws` is instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from curate.errors import SchemaError

BOOSTED = "boosted"
GAUSSIAN = "gaussian"
# The best single law on the 512 + 256 public RegMix runs.
BOOSTED_BASE = "mixture_ces:linear=true"
# It does not see mixtures: it carries size, tokens and repeats, of which the process knows nothing.
GAUSSIAN_BASE = "repetition"
# The least and the largest value of each option of the trees, and whether it is a whole number. More trees or draws
# than these take days. The seed's limit is that of scikit-learn.
LIMITS: Mapping[str, tuple[float, float, bool]] = {
    "rounds": (1, 100_000, True),
    "rate": (1e-6, 1, False),
    "leaves": (2, 10_000, True),
    "least": (1, 1_000_000, True),
    "ridge": (0, 1e9, False),
    "part": (1e-6, 1, False),
    "draws": (1, 100_000, True),
    "folds": (2, 10_000, True),
    "seed": (0, 2**32 - 1, True),
}


@dataclass(frozen=True)
class TreeOptions:
    """Options of the boosted trees.

    Options:
        rounds: number of trees.
        rate: learning rate by which each tree is shrunk.
        leaves: largest number of leaves of a tree.
        least: smallest number of rows in a leaf.
        ridge: L2 penalty on the values of leaves.
        part: share of the columns among which each split is chosen.
        draws: number of bootstrap refits.
        folds: number of parts of the trainings. The law is fitted once without each part.
        seed: seed of every random choice. On the command line, the default is --seed.
    """

    rounds: int = 300
    rate: float = 0.03
    leaves: int = 8
    least: int = 10
    ridge: float = 1.0
    part: float = 0.6
    draws: int = 16
    folds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the trees can be grown with these options."""
        for name, (low, high, whole) in LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise SchemaError(f"boosted: {name}={value} is not a {'whole ' if whole else ''}number")
            if not low <= value <= high:
                raise SchemaError(f"boosted: {name}={value} is not between {low:g} and {high:g}")


@dataclass(frozen=True)
class BoostedOptions(TreeOptions):
    """Predicts the loss by a law, and the errors of the law at the fitted mixtures by boosted trees.

    Options:
        base: the law whose errors the trees learn. none: the trees alone, which cannot extrapolate in size or tokens.
    """

    base: str = BOOSTED_BASE


@dataclass(frozen=True)
class GaussianOptions:
    """Predicts the loss by a law and by a Gaussian process, which learns the differences between mixtures.

    Options:
        base: the law to which the process is added. none: the process alone, which cannot extrapolate in size or
            tokens.
    """

    base: str = GAUSSIAN_BASE


# The options of each, by name.
OPTIONS: Mapping[str, type] = {BOOSTED: BoostedOptions, GAUSSIAN: GaussianOptions}
