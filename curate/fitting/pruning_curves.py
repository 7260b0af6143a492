"""How much to keep as data grow: error against kept size from pilot runs, a power law for each keep fraction.

At one fraction the error falls as a power of the kept size; along the best fraction for every size it may fall faster,
in theory exponentially where the metric is perfect, and as a power again where it is not (Sorscher et al. 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
import torch

from curate.errors import FitError, SchemaError
from curate.fitting.fit import Fit, Options, fit
from curate.laws.power import TOKENS
from curate.runs.recipes import Recipes

LEAST = 4  # sizes of a fraction: the power law has three parameters
OPTIONS = Options(starts=8, draws=100, prior=False)  # the law's prior is for losses, and errors fall towards 0


@dataclass(frozen=True)
class Curves:
    """A power law of the kept size for each of f keep fractions, rising; ``largest``: most rows kept in a run."""

    keep: tuple[float, ...]
    fits: tuple[Fit, ...]
    largest: float

    def errors(self, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return errors (f, m) at ``totals`` (m,) examples before pruning, and of b bootstrap draws (b, f, m)."""
        found, drawn = [], []
        for keep, one in zip(self.keep, self.fits, strict=True):
            recipes = _recipes(keep * totals, self.largest)
            found.append(one.loss(recipes).detach().numpy())
            drawn.append(one.draw_losses(recipes).detach().numpy())
        return np.stack(found), np.stack(drawn, axis=1)


@dataclass(frozen=True)
class Front:
    """The best keep fraction for m data sizes: ``keep`` (m,), its ``error``, and that of keeping all (or the most).

    ``low``, ``high`` (m,): 90 % of the fractions that bootstrap draws find best. ``extrapolated`` (m,): more is kept
    than in any run of that fraction.
    """

    totals: np.ndarray
    keep: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    most: np.ndarray
    extrapolated: np.ndarray

    def table(self) -> pl.DataFrame:
        """Return one row a size: examples, keep, low, high, kept, error, error_all, extrapolated."""
        return pl.DataFrame(
            {
                "examples": self.totals, "keep": self.keep, "low": self.low, "high": self.high,
                "kept": self.keep * self.totals, "error": self.error, "error_all": self.most,
                "extrapolated": self.extrapolated,
            }
        )  # fmt: skip


@dataclass(frozen=True)
class Decay:
    """Which of two forms errors along a front follow: ``kind``, its ``rate``, and the rms log error of each.

    ``exponential``: error = a exp(-rate n); ``power``: error = a n^-rate.
    """

    kind: Literal["exponential", "power"]
    rate: float
    exponential: float
    power: float


def curves(total: Sequence[float], keep: Sequence[float], error: Sequence[float], *, seed: int = 0) -> Curves:
    """Fit every keep fraction of (n,) runs: ``total`` examples before pruning, the share kept, the test error."""
    totals, shares, errors = (np.asarray(x, dtype=np.float64) for x in (total, keep, error))
    if not (np.isfinite(totals).all() and (totals > 0).all() and ((shares > 0) & (shares <= 1)).all()):
        raise SchemaError("runs need a positive number of examples and a keep fraction in (0, 1]")
    if not (np.isfinite(errors).all() and (errors > 0).all()):
        raise SchemaError("a power law is fitted to errors above 0: leave out runs without an error")
    kept, fits = totals * shares, []
    largest = float(kept.max())
    for share in (found := np.unique(shares)):
        mine = shares == share
        if (sizes := len(np.unique(totals[mine]))) < LEAST:
            raise FitError(
                f"keep fraction {share:g} has runs at {sizes} sizes: a power law needs {LEAST}. Run more sizes, or "
                "leave the fraction out"
            )
        recipes = _recipes(kept[mine], largest)
        fits.append(fit("power", recipes, errors[mine], pools=("all",), options=replace(OPTIONS, seed=seed)))
    return Curves(tuple(found.tolist()), tuple(fits), largest)


def front(found: Curves, totals: Sequence[float], *, level: float = 0.9) -> Front:
    """Return the fraction with the least predicted error for every number of examples on hand."""
    sizes, share = np.asarray(totals, dtype=np.float64), np.array(found.keep)
    errors, drawn = found.errors(sizes)
    best = errors.argmin(axis=0)
    low, high = np.quantile(share[drawn.argmin(axis=1)], [(1 - level) / 2, (1 + level) / 2], axis=0)
    seen = np.array([one.ranges["tokens"][1] for one in found.fits]) * found.largest / TOKENS
    keep = share[best]
    return Front(
        sizes, keep, low, high, errors.min(axis=0), errors[-1], keep * sizes > seen[best] * (1 + 1e-9)
    )  # fmt: skip


def envelope(kept: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the positions of runs that no run with as little data or less beats, by rising kept size: the Pareto."""
    order = np.lexsort((error, kept))
    least = np.minimum.accumulate(error[order])
    return np.asarray(order[np.append(True, least[1:] < least[:-1])[: len(order)]])


def decay(kept: np.ndarray, error: np.ndarray) -> Decay:
    """Say whether (n,) errors fall exponentially or as a power of the kept size: straight lines in log error."""
    if len(kept) < 3:
        raise FitError(f"{len(kept)} sizes cannot tell an exponential from a power law: give at least 3")
    left, slopes = {}, {}
    for form, x in (("exponential", np.asarray(kept, float)), ("power", np.log(kept))):
        design = np.stack([np.ones(len(x)), x], axis=1)
        coefficients = np.linalg.lstsq(design, np.log(error), rcond=None)[0]
        left[form] = float(np.sqrt(np.mean((design @ coefficients - np.log(error)) ** 2)))
        slopes[form] = -float(coefficients[1])
    kind: Literal["exponential", "power"] = "exponential" if left["exponential"] < left["power"] else "power"
    return Decay(kind, slopes[kind], left["exponential"], left["power"])


def _recipes(kept: np.ndarray, largest: float) -> Recipes:
    """Kept examples as the tokens that the law reads, the largest as 1e9: its prior is about there."""
    tokens = torch.from_numpy(np.asarray(kept, dtype=np.float64) / largest * TOKENS)
    ones = torch.ones(len(tokens), 1, dtype=torch.float64)
    return Recipes(ones, tokens, ones[:, 0], ones * torch.inf)
