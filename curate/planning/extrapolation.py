"""Warn of recipes outside the fitted runs, of unfinished runs, and of harmful repeats.

In: fits and recipes. Out: lines of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log

from torch import Tensor

from curate.errors import first_few
from curate.pool import repeats
from curate.runs.fitted_size import AtFittedSize, is_one_value
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.runs.trainings.progress import FINISHED

NEAR = 1.01  # up to so many times the fitted range is no extrapolation: it is rounding of the budget
SMALL_SHARE = 0.02  # a share below it is too small to matter, so it is never called an extrapolation
SHARE = "share of "  # begins the name of the range of a pool's shares
NO_SHARE = 1e-3  # shares below it count as zero: a ratio of two of them would say nothing


@dataclass(frozen=True)
class OutsideShare:
    """A pool whose share lies outside the fitted ones by a factor, and the line that says so."""

    factor: float
    pool: str
    line: str


def warnings(fits: Sequence[Predictor], recipes: Recipes) -> tuple[str, ...]:
    """Return one line for each number of some recipe that lies outside the fitted runs.

    A number must lie in the ranges of all fits. The numbers are tokens, parameters, the share of each pool, and the
    most passes over a pool, which count only beyond the first. Each line gives the number that lies farthest outside;
    of several recipes it also says how many lie outside. Shares that are too large are one line, and those that are too
    small another. Further lines warn of runs of one size, of recipes whose training is unfinished, and of repeats that
    are known to harm.
    """
    pools = fits[0].pools
    numbers = {"tokens": recipes.tokens, "params": recipes.params, "epochs": recipes.epochs.amax(dim=1)}
    for i, name in enumerate(pools):
        shares = recipes.weights[:, i]
        numbers[f"{SHARE}{name}"] = shares * (shares >= NO_SHARE)
    # Below these, a number counts as fitted even if no run had it.
    always_fitted = {"epochs": 1.0} | {f"{SHARE}{name}": SMALL_SHARE for name in pools}
    lines: list[str] = []
    shares_above: list[OutsideShare] = []
    shares_below: list[OutsideShare] = []
    for name, values in numbers.items():
        smallest, largest = fitted_range(fits, name)
        above = values > max(largest, always_fitted.get(name, 0.0)) * NEAR
        if above.any():
            value = float(values.max())
            line = f"extrapolated: {_above(name, value, largest)}{_in_how_many(above.sum(), recipes)}"
            if name.startswith(SHARE):
                factor = value / largest if largest > 0 else inf
                shares_above.append(OutsideShare(factor, name.removeprefix(SHARE), line))
            else:
                lines.append(line)
        below = values < smallest / NEAR
        if name == "tokens" and recipes.progress is not None:
            # A row from inside a training has fewer tokens than its run, and gets a line of its own.
            below &= recipes.progress >= FINISHED
        if below.any() and smallest > always_fitted.get(name, 0.0) and name != "epochs":
            value = float(values[below].min())
            times = f"{smallest / value:.3g}x below" if value > 0 else "below"
            line = f"extrapolated: {name} {value:.3g} is {times} the smallest fitted ({smallest:.3g})"
            line += _in_how_many(below.sum(), recipes)
            if name.startswith(SHARE):
                factor = smallest / value if value > 0 else inf
                shares_below.append(OutsideShare(factor, name.removeprefix(SHARE), line))
            else:
                lines.append(line)
    lines += _of_shares(shares_below, "below the smallest") + _of_shares(shares_above, "above the largest")
    return (*lines, *_one_size(fits, recipes), *_unfinished(recipes), *_harmful_repeats(pools, recipes))


def _of_shares(outside: Sequence[OutsideShare], side: str) -> list[str]:
    """Return the line of the share that lies farthest outside on one side, with the names of the others."""
    if len(outside) < 2:
        return [share.line for share in outside]
    farthest, *others = sorted(outside, key=lambda share: -share.factor)
    names = first_few(share.pool for share in others)
    return [f"{farthest.line}; {names} {'lies' if len(others) == 1 else 'lie'} {side} fitted share too"]


def _above(name: str, value: float, largest: float) -> str:
    """Return in words that a number lies above the largest fitted one."""
    if name == "epochs":
        if largest <= NEAR:
            return f"no fitted run repeats data, so the cost of reading a pool {value:.3g} times is not measured"
        times = value / largest
        return f"a pool is read {value:.3g} times, which is {times:.3g}x the most of any fitted run ({largest:.3g})"
    if largest <= 0:
        return f"{name} is {value:.3g}, and no fitted run has any of it"
    return f"{name} {value:.3g} is {value / largest:.3g}x the largest fitted ({largest:.3g})"


def fitted_range(fits: Sequence[Predictor], name: str) -> tuple[float, float]:
    """Return the smallest and the largest fitted ``tokens``, ``params``, ``epochs`` or ``share of POOL``."""
    # Several fits were made from different runs. A number must lie within the range of each of them.
    return max(fit.ranges[name][0] for fit in fits), min(fit.ranges[name][1] for fit in fits)


def _in_how_many(count: int | Tensor, recipes: Recipes) -> str:
    """Return how many recipes a line is about, in words; nothing if there is one recipe only."""
    return "" if len(recipes) == 1 else f", in {int(count)} of {len(recipes)} runs"


def _one_size(fits: Sequence[Predictor], recipes: Recipes) -> tuple[str, ...]:
    """Return a line if mixtures are compared at the only fitted size, and a recipe has another size or length."""
    held = next((fit for fit in fits if isinstance(fit, AtFittedSize)), None)
    if held is None:
        return ()
    other = held.factor.distance(recipes) > log(NEAR)
    if not other.any():
        return ()
    size, what = f"{held.ranges['params'][1]:.3g} parameters", "size"
    if is_one_value(held, "tokens"):
        size, what = f"{size} and {held.ranges['tokens'][1]:.3g} tokens", "size or number of tokens"
    count = "" if len(recipes) == 1 else f". {int(other.sum())} of {len(recipes)} runs have another {what}"
    return (
        f"one size: all fitted runs have {size}, so they do not show how the loss changes with {what}. At another "
        f"{what} the law's priors decide that, which makes its interval wide. The ratio of the losses of two mixtures "
        f"is taken to be the same at every {what}{count}",
    )


def _unfinished(recipes: Recipes) -> tuple[str, ...]:
    """Return a line if some recipes are rows from inside a training."""
    progress = recipes.progress
    if progress is None or not bool((unfinished := progress < FINISHED).any()):
        return ()
    ends = progress[unfinished]
    return (
        f"unfinished: {int(unfinished.sum())} of {len(recipes)} rows are from inside a training, at "
        f"{float(ends.min()):.0%} to {float(ends.max()):.0%} of its tokens. Their intervals are wider than those of "
        "finished runs",
    )


def _harmful_repeats(pools: Sequence[str], recipes: Recipes) -> list[str]:
    """Return a line for each pool that some recipe repeats so often that it harms."""
    lines = []
    for name, epochs in zip(pools, recipes.epochs.T, strict=True):
        harms = []
        for passes, params in zip(epochs.tolist(), recipes.params.tolist(), strict=True):
            # The first pass is no repeat.
            if harm := repeats.warning(passes - 1, params) or repeats.spent(passes):
                harms.append((passes, harm))
        if harms:
            lines.append(f"{name}: {max(harms)[1]}{_in_how_many(len(harms), recipes)}")
    return lines
