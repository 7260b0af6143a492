"""Fit the error against the size of pruned data, and find the best share to keep at each size.

Each share kept has its own power law.

At one share the error falls as a power of the kept size. Along the best share for every size it may fall faster: in
theory exponentially where the pruning metric is perfect, and as a power again where it is not (Sorscher et al. 2022,
arXiv 2206.14486).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
import torch

from curate.errors import FitError, SchemaError
from curate.fitting.fit import Fit, FitOptions, fit
from curate.laws.power import TOKENS
from curate.runs.recipes import Recipes

NAME = "pruning_curves"  # in fit.json
LAW = "power"
FEWEST_SIZES = 4  # of a share: the power law has three parameters
OPTIONS = FitOptions(starts=8, draws=100, prior=False)  # the law's prior is for losses, and errors fall towards 0
ROUNDING = 1e-9  # a kept size beyond the largest by less than this share is the largest

Form: TypeAlias = Literal["exponential", "power"]


@dataclass(frozen=True, repr=False)
class PruningCurves:
    """One power law of error against kept size for each of f kept shares, the smallest share first.

    ``largest_kept``: the largest kept size of any run, in the unit of the runs (examples or tokens).
    """

    keep: tuple[float, ...]
    fits: tuple[Fit, ...]
    largest_kept: float

    def __repr__(self) -> str:
        """Return the shares on one line."""
        return f"PruningCurves(keep {', '.join(f'{share:g}' for share in self.keep)})"

    def errors(self, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the errors (f, m) at ``totals`` (m,) sizes before pruning, and those of b draws (b, f, m)."""
        errors, of_draws = [], []
        for keep, curve in zip(self.keep, self.fits, strict=True):
            recipes = self.recipes(keep * totals)
            errors.append(curve.loss(recipes).detach().numpy())
            of_draws.append(curve.draw_losses(recipes).detach().numpy())
        return np.stack(errors), np.stack(of_draws, axis=1)

    def recipes(self, kept: np.ndarray) -> Recipes:
        """Return kept sizes (m,) as the recipes that the power law reads."""
        return _recipes(kept, self.largest_kept)

    def largest_of(self, position: int) -> float:
        """Return the largest kept size to which the curve at ``position`` was fitted."""
        return self.fits[position].ranges["tokens"][1] * self.largest_kept / TOKENS


@dataclass(frozen=True, repr=False)
class BestShares:
    """The best share to keep at each of m data sizes.

    ``keep`` (m,): the share with the lowest predicted ``error`` (m,). ``low`` and ``high`` (m,): the ends of 90 % of
    the shares that bootstrap draws find best. ``error_of_most`` (m,): the error at the largest share, which is usually
    that of keeping all. ``extrapolated`` (m,): whether more is kept than in any run of that share.
    """

    totals: np.ndarray
    keep: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    error_of_most: np.ndarray
    extrapolated: np.ndarray

    def table(self) -> pl.DataFrame:
        """Return a table with one row for each size.

        Columns: size (before pruning), keep, low, high, kept (size after pruning), error, error_all, extrapolated.
        """
        return pl.DataFrame(
            {
                "size": self.totals,
                "keep": self.keep,
                "low": self.low,
                "high": self.high,
                "kept": self.keep * self.totals,
                "error": self.error,
                "error_all": self.error_of_most,
                "extrapolated": self.extrapolated,
            }
        )


@dataclass(frozen=True)
class Decay:
    """The form in which the error falls: ``kind`` with its ``rate``, and the rms log error of both forms.

    ``exponential``: error = a exp(-rate n); ``power``: error = a n^-rate.
    """

    kind: Form
    rate: float
    exponential: float
    power: float


def curves(
    total: Sequence[float], keep: Sequence[float], error: Sequence[float], *, options: FitOptions = OPTIONS
) -> PruningCurves:
    """Fit a power law to the runs of every share kept.

    (n,) each: ``total``, the size before pruning; ``keep``, the share kept; ``error``, the test error.

    Raises:
        SchemaError: if a size or an error is not positive, or a share is not in (0, 1].
        FitError: if a share has runs at fewer than 4 sizes.
    """
    totals, shares, errors = (np.asarray(x, dtype=np.float64) for x in (total, keep, error))
    if not (np.isfinite(totals).all() and (totals > 0).all() and ((shares > 0) & (shares <= 1)).all()):
        raise SchemaError("runs need a positive number of examples and a keep fraction in (0, 1]")
    if not (np.isfinite(errors).all() and (errors > 0).all()):
        raise SchemaError("a power law is fitted to errors above 0. Leave out runs without an error")
    kept, fits = totals * shares, []
    largest = float(kept.max())
    distinct = np.unique(shares)
    for share in distinct:
        rows = shares == share
        if (sizes := len(np.unique(totals[rows]))) < FEWEST_SIZES:
            raise FitError(
                f"keep fraction {share:g} has runs at {sizes} sizes: a power law needs {FEWEST_SIZES}. Run more "
                "sizes, or leave the fraction out"
            )
        fits.append(fit(LAW, _recipes(kept[rows], largest), errors[rows], pools=("all",), options=options))
    return PruningCurves(tuple(distinct.tolist()), tuple(fits), largest)


def best_shares(fitted: PruningCurves, totals: Sequence[float] | np.ndarray, *, level: float = 0.9) -> BestShares:
    """Return the kept share with the lowest predicted error at each size (m,) before pruning."""
    sizes, shares = np.asarray(totals, dtype=np.float64), np.array(fitted.keep)
    errors, of_draws = fitted.errors(sizes)
    best = errors.argmin(axis=0)
    low, high = np.quantile(shares[of_draws.argmin(axis=1)], [(1 - level) / 2, (1 + level) / 2], axis=0)
    largest = np.array([fitted.largest_of(i) for i in range(len(shares))])
    keep = shares[best]
    return BestShares(
        totals=sizes,
        keep=keep,
        low=low,
        high=high,
        error=errors.min(axis=0),
        error_of_most=errors[-1],
        extrapolated=keep * sizes > largest[best] * (1 + ROUNDING),
    )


def envelope(kept: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the positions of the runs that no run with as little or less data beats, the smallest first."""
    order = np.lexsort((error, kept))
    least = np.minimum.accumulate(error[order])
    return np.asarray(order[np.append(True, least[1:] < least[:-1])[: len(order)]])


def decay(kept: np.ndarray, error: np.ndarray) -> Decay:
    """Tell whether (n,) errors fall exponentially or as a power of the kept size.

    Both forms are straight lines in the logarithm of the error; the one with the smaller residuals is named.

    Raises:
        FitError: if there are fewer than 3 sizes.
    """
    if len(kept) < 3:
        raise FitError(f"{len(kept)} kept sizes are too few to tell an exponential from a power law. Give 3 or more")
    rms: dict[Form, float] = {}
    rates: dict[Form, float] = {}
    forms: tuple[tuple[Form, np.ndarray], ...] = (("exponential", np.asarray(kept, float)), ("power", np.log(kept)))
    for form, x in forms:
        design = np.stack([np.ones(len(x)), x], axis=1)
        coefficients = np.linalg.lstsq(design, np.log(error), rcond=None)[0]
        rms[form] = float(np.sqrt(np.mean((design @ coefficients - np.log(error)) ** 2)))
        rates[form] = -float(coefficients[1])
    kind: Form = "exponential" if rms["exponential"] < rms["power"] else "power"
    return Decay(kind, rates[kind], rms["exponential"], rms["power"])


def with_seed(seed: int, draws: int | None = None) -> FitOptions:
    """Return the options of these curves with another seed and, if given, number of bootstrap draws."""
    return replace(OPTIONS, seed=seed, draws=OPTIONS.draws if draws is None else draws)


def _recipes(kept: np.ndarray, largest: float) -> Recipes:
    # The law counts tokens and starts its search around 1e9 of them: the largest kept size is given that number.
    tokens = torch.from_numpy(np.asarray(kept, dtype=np.float64) / largest * TOKENS)
    ones = torch.ones(len(tokens), 1, dtype=torch.float64)
    return Recipes(ones, tokens, ones[:, 0], ones * torch.inf)
