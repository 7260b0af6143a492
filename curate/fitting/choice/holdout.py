"""Choose the runs that a comparison of laws holds out: the next size, the largest, other mixtures, or random trainings.

In: recipes and the trainings that they belong to. Out: masks of the runs to fit and of the runs to test on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError
from curate.runs.discrepancy import SAME_SIZE
from curate.runs.recipes import Recipes
from curate.runs.trainings.training_rows import last_rows

DEFAULT_SHARE = 0.2  # of rows or trainings held out, unless the flag says
FEWEST_MIXTURES = 5  # a fifth of the mixtures is held out, so five are needed to hold out one
# A table of many sizes is cut into at most so many blocks of sizes: the first is only fitted, and each of the others is
# held out once. More origins cost more fits, and have fewer runs each.
BLOCKS = 5
# A block of several sizes has at least so many trainings: the scatter of fewer says nothing.
BLOCK_TRAININGS = 3
DIGITS = 6  # mixtures and log compute are compared after rounding: published tables print few digits
ROLLING = "rolling"

Split = tuple[np.ndarray, np.ndarray]  # (n,) bool: the runs to train on, and the runs to test on


@dataclass(frozen=True)
class Candidates:
    """The n runs that a split chooses from: their recipes, (n,) codes of trainings, the share to hold out, the seed."""

    recipes: Recipes
    clusters: np.ndarray
    share: float
    seed: int

    @property
    def log_compute(self) -> np.ndarray:
        """(n,) logarithms of tokens times parameters."""
        return np.asarray(np.round(np.log(np.asarray(self.recipes.tokens * self.recipes.params)), DIGITS))

    @property
    def sizes(self) -> np.ndarray:
        """(n,) codes of sizes, 0 for the smallest. Sizes that differ by less than a factor of 1.2 have one code."""
        return codes_of_sizes(np.asarray(self.recipes.params))

    @property
    def lengths(self) -> np.ndarray:
        """(n,) codes of the tokens of the trainings, 0 for the shortest, like those of sizes."""
        longest = np.zeros(self.clusters.max() + 1)
        np.maximum.at(longest, self.clusters, np.asarray(self.recipes.tokens))
        return codes_of_sizes(longest[self.clusters])


def codes_of_sizes(values: np.ndarray) -> np.ndarray:
    """Return (n,) codes of (n,) sizes or lengths, 0 for the smallest.

    The values of one code are less than a factor of 1.2 above the smallest of them.
    """
    distinct, positions = np.unique(values, return_inverse=True)
    codes = np.zeros(len(distinct), dtype=np.int64)
    first = distinct[0]
    for i, value in enumerate(distinct[1:], start=1):
        new = value >= first * SAME_SIZE
        codes[i] = codes[i - 1] + new
        first = value if new else first
    return np.asarray(codes[positions.reshape(-1)])


def count_of_sizes(recipes: Recipes) -> int:
    """Return the number of distinct sizes. Sizes that differ by less than a factor of 1.2 count as one."""
    return int(codes_of_sizes(np.asarray(recipes.params)).max()) + 1


def finished(recipes: Recipes, clusters: np.ndarray, measured: np.ndarray | None = None) -> np.ndarray:
    """Return (n,) bool: whether a run is the last row of its training, which is the one that counts in an error.

    A training counts once, however many checkpoints it has. With ``measured`` (n,) it is the last row where that is
    true.
    """
    codes = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    rows = np.ones(len(recipes), dtype=bool) if measured is None else measured
    return last_rows(codes, np.asarray(recipes.tokens), rows)


def default(recipes: Recipes, clusters: np.ndarray) -> tuple[str, str]:
    """Return the default split for n runs, and the reason in words. The reason is empty if sizes are held out.

    Plans are made for larger models than were run. So each size is predicted from the smaller ones. If all runs have
    one size, the longer trainings are predicted from the shorter ones. If they also have one length, whole mixtures are
    held out. With fewer than FEWEST_MIXTURES mixtures, random trainings are held out.
    """
    runs = _candidates(recipes, clusters, DEFAULT_SHARE, 0)
    if runs.sizes.max() > 0:
        return ROLLING, ""
    if runs.lengths.max() > 0:
        return ROLLING, "the longer trainings are held out (--holdout rolling), because all runs have one size"
    reason = "because all runs have the same compute"
    if len(np.unique(_mixture_codes(recipes))) >= FEWEST_MIXTURES:
        return "mixture", f"whole mixtures are held out (--holdout mixture), {reason}"
    return "random", f"random trainings are held out (--holdout random), {reason}"


def splits(recipes: Recipes, clusters: np.ndarray, how: str, *, seed: int = 0) -> list[Split]:
    """Return (train, test) pairs of (n,) bool. Trainings (``clusters``, (n,) codes) are held out whole.

    ``rolling`` trains on the smallest size and tests on the next, then trains on both and tests on the third, and so
    on; many sizes are cut into BLOCKS blocks. If all runs have one size, it does so over the lengths of the trainings.
    ``largest[:SHARE]`` tests on the trainings with the most compute, ``random[:SHARE]`` on a share of the trainings,
    ``mixture[:SHARE]`` on all runs of a share of the mixtures.

    Raises:
        SchemaError: if ``how`` names no such split, or its share leaves nothing.
    """
    kind, _, text = how.partition(":")
    if kind not in KINDS:
        raise SchemaError(
            f"--holdout {how!r} is not known. Use rolling, largest, random or mixture, the last three with a share as "
            "in random:0.2"
        )
    if kind == ROLLING and text:
        raise SchemaError(f"--holdout {how!r}: rolling holds out whole sizes and takes no share. Write rolling")
    return KINDS[kind](_candidates(recipes, clusters, _share(how, text), seed))


def by_size(recipes: Recipes, how: str) -> bool:
    """Return whether a split holds out sizes, so that its errors are those of the next size."""
    return how == ROLLING and count_of_sizes(recipes) > 1


def _candidates(recipes: Recipes, clusters: np.ndarray, share: float, seed: int) -> Candidates:
    return Candidates(recipes, np.unique(clusters, return_inverse=True)[1].reshape(-1), share, seed)


def _share(how: str, text: str) -> float:
    try:
        share = float(text) if text else DEFAULT_SHARE
    except ValueError:
        raise SchemaError(f"--holdout {how!r}: {text!r} is not a share between 0 and 1") from None
    if not 0 < share < 1:
        raise SchemaError(f"--holdout {how!r}: the share {share:g} must lie between 0 and 1, both excluded")
    return share


def _largest(runs: Candidates) -> list[Split]:
    # A training is as large as its last row, and none of its rows is fitted if that is held out.
    compute = np.full(runs.clusters.max() + 1, -np.inf)
    np.maximum.at(compute, runs.clusters, runs.log_compute)
    test = compute[runs.clusters] >= np.quantile(compute[runs.clusters], 1 - runs.share)
    return [(~test, test)]


def _rolling(runs: Candidates) -> list[Split]:
    codes = runs.sizes if runs.sizes.max() > 0 else runs.lengths
    blocks = _blocks(codes, runs.clusters)
    return [(blocks < block, blocks == block) for block in range(1, blocks.max() + 1)]


def _blocks(codes: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return (n,) codes of at most BLOCKS blocks of sizes; blocks of several sizes have about as many trainings."""
    if codes.max() < BLOCKS:
        return codes
    # Each training counts once. Its rows have one size.
    trainings = np.bincount(codes[np.unique(clusters, return_index=True)[1]], minlength=codes.max() + 1)
    count = int(np.clip(trainings.sum() // BLOCK_TRAININGS, 2, BLOCKS))
    middles = (np.cumsum(trainings) - trainings / 2) / trainings.sum()
    blocks = np.minimum((middles * count).astype(np.int64), count - 1)
    return np.asarray(np.unique(blocks, return_inverse=True)[1].reshape(-1)[codes])


def _random(runs: Candidates) -> list[Split]:
    return _hold_out_groups(runs.clusters, runs)


def _mixture(runs: Candidates) -> list[Split]:
    return _hold_out_groups(_mixture_codes(runs.recipes), runs)


def _mixture_codes(recipes: Recipes) -> np.ndarray:
    """Return (n,) codes of mixtures."""
    weights = np.round(np.asarray(recipes.weights), DIGITS)
    return np.asarray(np.unique(weights, axis=0, return_inverse=True)[1].reshape(-1))


def one_of_each_mixture(recipes: Recipes) -> np.ndarray:
    """Return the position of the first recipe of each distinct mixture."""
    return np.asarray(np.unique(_mixture_codes(recipes), return_index=True)[1])


def _hold_out_groups(codes: np.ndarray, runs: Candidates) -> list[Split]:
    """Test on a random share of the groups that ``codes`` (n,) name."""
    groups = np.unique(codes)
    count = max(1, round(runs.share * len(groups)))
    test = np.isin(codes, np.random.default_rng(runs.seed).permutation(groups)[:count])
    return [(~test, test)]


KINDS: Mapping[str, Callable[[Candidates], list[Split]]] = {
    ROLLING: _rolling,
    "largest": _largest,
    "random": _random,
    "mixture": _mixture,
}
