"""Choose the runs that a comparison of laws holds out: the largest, the next in compute, other mixtures, or random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError
from curate.runs.recipes import Recipes

DEFAULT_SHARE = 0.2  # of rows or trainings held out, unless the flag says
# Share of the runs that must have less than the largest compute. With fewer, `largest` would hold out most of the runs.
LEAST_TRAINED = 0.5
FEWEST_MIXTURES = 5  # a fifth of the mixtures is held out, so five are needed to hold out one
ROLLS = 3  # cuts in compute of the rolling origin
DIGITS = 6  # mixtures and log compute are compared after rounding: published tables print few digits

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


def default(recipes: Recipes, clusters: np.ndarray) -> tuple[str, str]:
    """Return the default split for n runs, and the reason in words. The reason is empty for ``largest``.

    Plans are made for more compute than was run. So the runs with the most compute are held out if enough smaller runs
    remain. Otherwise, as when all runs have one budget, whole mixtures are held out. With fewer than FEWEST_MIXTURES
    mixtures, random trainings are held out.
    """
    compute = Candidates(recipes, clusters, DEFAULT_SHARE, 0).log_compute
    below = compute < np.quantile(compute, 1 - DEFAULT_SHARE)
    if below.mean() >= LEAST_TRAINED:
        return "largest", ""
    reason = "all runs have the same compute" if np.ptp(compute) == 0 else "most runs have the largest compute"
    if len(np.unique(_mixture_codes(recipes))) >= FEWEST_MIXTURES:
        return "mixture", f"whole mixtures are held out (--holdout mixture), because {reason}"
    return "random", f"random trainings are held out (--holdout random), because {reason}"


def splits(recipes: Recipes, clusters: np.ndarray, how: str, *, seed: int = 0) -> list[Split]:
    """Return (train, test) pairs of (n,) bool.

    ``largest[:SHARE]`` tests on the runs with the most compute. ``rolling[:SHARE]`` trains below a compute and tests on
    the next share of the runs, for three cuts. ``random[:SHARE]`` tests on a share of the trainings (``clusters``, (n,)
    codes), ``mixture[:SHARE]`` on all runs of a share of the mixtures.

    Raises:
        SchemaError: if ``how`` names no such split, or its share leaves nothing.
    """
    kind, _, text = how.partition(":")
    if kind not in KINDS:
        raise SchemaError(
            f"--holdout {how!r} is not known. Use largest, rolling, random or mixture, with a share as in random:0.2"
        )
    return KINDS[kind](Candidates(recipes, clusters, _share(how, kind, text), seed))


def _share(how: str, kind: str, text: str) -> float:
    try:
        share = float(text) if text else DEFAULT_SHARE
    except ValueError:
        raise SchemaError(f"--holdout {how!r}: {text!r} is not a share between 0 and 1") from None
    if not 0 < share < 1:
        raise SchemaError(f"--holdout {how!r}: the share {share:g} must lie between 0 and 1, both excluded")
    if kind == "rolling" and share * ROLLS >= 1:
        raise SchemaError(
            f"--holdout {how!r}: {ROLLS} cuts of {share:g} leave nothing to train on. Use a share under 0.33"
        )
    return share


def _largest(runs: Candidates) -> list[Split]:
    compute = runs.log_compute
    test = compute >= np.quantile(compute, 1 - runs.share)
    return [(~test, test)]


def _rolling(runs: Candidates) -> list[Split]:
    compute = runs.log_compute
    cuts = [np.quantile(compute, 1 - runs.share * (ROLLS - i)) for i in range(ROLLS)] + [np.inf]
    return [(compute < low, (compute >= low) & (compute < high)) for low, high in zip(cuts[:-1], cuts[1:], strict=True)]


def _random(runs: Candidates) -> list[Split]:
    return _hold_out_groups(runs.clusters, runs)


def _mixture(runs: Candidates) -> list[Split]:
    return _hold_out_groups(_mixture_codes(runs.recipes), runs)


def _mixture_codes(recipes: Recipes) -> np.ndarray:
    """Return (n,) codes of mixtures."""
    weights = np.round(np.asarray(recipes.weights), DIGITS)
    return np.asarray(np.unique(weights, axis=0, return_inverse=True)[1].reshape(-1))


def _hold_out_groups(codes: np.ndarray, runs: Candidates) -> list[Split]:
    """Test on a random share of the groups that ``codes`` (n,) name."""
    groups = np.unique(codes)
    count = max(1, round(runs.share * len(groups)))
    test = np.isin(codes, np.random.default_rng(runs.seed).permutation(groups)[:count])
    return [(~test, test)]


KINDS: Mapping[str, Callable[[Candidates], list[Split]]] = {
    "largest": _largest,
    "rolling": _rolling,
    "random": _random,
    "mixture": _mixture,
}
