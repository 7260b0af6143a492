"""Choose between laws by how well they predict runs that they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl
import torch

from curate import open_sets
from curate.errors import FitError
from curate.fitting.boosted import Boosted
from curate.fitting.choice.holdout import Split, splits
from curate.fitting.fit import Fit
from curate.fitting.fit_files import WITHOUT_FORMULA, SingleFit, fit_named
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.laws import Law
from curate.progress import counted
from curate.runs.predictor import Blend
from curate.runs.recipes import Recipes
from curate.runs.run_table import Runs

RESAMPLES = 1000  # of the held-out trainings, for the interval of the mean error
SCHEMA = {
    "law": pl.String,
    "parameters": pl.Int64,
    "train": pl.Float64,
    "heldout": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "bias": pl.Float64,
    "rms": pl.Float64,
    "rows": pl.Int64,
    "why": pl.String,
}


@dataclass(frozen=True)
class Comparison:
    """How well laws predict held-out runs: one row a law, the best first.

    ``predicted`` holds the (m,) predicted log losses of the held-out rows by law, and ``truth`` (m,) the measured
    ones: a stack of laws is made from them.
    """

    rows: pl.DataFrame
    predicted: dict[str, np.ndarray]
    truth: np.ndarray

    def table(self) -> pl.DataFrame:
        """Return the comparison, one row a law, the best first.

        Columns: law; parameters (a number); train (rmse of log loss on the fitted rows); heldout (mean absolute
        relative error); low and high (its 90 % interval, trainings resampled); bias (mean signed relative error); rms
        (of the log error); rows (held out); why (the law could not be fitted).
        """
        return self.rows


@dataclass(frozen=True)
class _HeldOut:
    """The runs of a comparison, split: ``truth`` and ``groups`` (m,) are the test rows of all splits and evals."""

    runs: Runs
    recipes: Recipes
    losses: dict[str, np.ndarray]
    clusters: np.ndarray
    pairs: list[Split]

    @property
    def truth(self) -> np.ndarray:
        losses = [loss[test] for _, test in self.pairs for loss in self.losses.values()]
        return np.asarray(np.log(np.concatenate(losses)))

    @property
    def groups(self) -> np.ndarray:
        return np.concatenate([self.clusters[test] for _, test in self.pairs for _ in self.losses])


def compare(
    specs: Sequence[str],
    runs: Runs,
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: FitOptions = DEFAULTS,
) -> Comparison:
    """Fit every law without the held-out rows and measure its error on them, over all ``evals`` together.

    ``how`` is a split of ``holdout.splits``.

    Raises:
        FitError: if a split leaves nothing to fit or to test. A law that cannot be fitted is a row with the reason.
    """
    recipes, clusters = runs.recipes(), runs.clusters
    losses = _losses(runs, evals)
    pairs = [
        (train, test) for train, test in splits(recipes, clusters, how, seed=options.seed) if train.any() and test.any()
    ]
    if not pairs:
        raise FitError(
            f"{runs.origin}: --holdout {how} cannot split {len(runs)} runs"
            f"{' of the same compute' if _one_compute(recipes) else ''} into runs to fit and runs to test. Use "
            "--holdout mixture or --holdout random"
        )
    held_out = _HeldOut(runs, recipes, losses, clusters, pairs)
    truth, groups = held_out.truth, held_out.groups
    measured = np.isfinite(truth)
    predicted: dict[str, np.ndarray] = {}
    records: list[dict[str, object]] = []
    for spec in counted(specs, "laws compared", len(specs)):
        row: dict[str, object] = {"law": spec, "parameters": _parameters(spec, len(runs.pools))}
        try:
            log_losses, train_error = _predict_held_out(spec, held_out, options)
        except FitError as error:
            records.append(row | {"why": str(error)})
            continue
        predicted[spec] = log_losses[measured]
        errors = _errors(predicted[spec] - truth[measured], groups[measured], options.seed)
        records.append(row | {"train": train_error} | errors | {"why": ""})
    table = pl.DataFrame(records, schema=SCHEMA).sort("heldout", "law", nulls_last=True)
    return Comparison(table, predicted, truth[measured])


def _one_compute(recipes: Recipes) -> bool:
    return bool(torch.allclose(recipes.tokens * recipes.params, recipes.tokens[0] * recipes.params[0]))


def _predict_held_out(spec: str, held_out: _HeldOut, options: FitOptions) -> tuple[np.ndarray, float]:
    """Return a law's log losses of all test rows, and its mean error on the rows that it was fitted to."""
    parts, train_errors = [], []
    for train, test in held_out.pairs:
        fits = fit_named(
            spec,
            held_out.recipes.take(train),
            {name: loss[train] for name, loss in held_out.losses.items()},
            pools=held_out.runs.pools,
            clusters=held_out.clusters[train],
            options=replace(options, draws=1),  # the held-out error needs no bootstrap
        )
        parts += [np.log(np.asarray(fit.loss(held_out.recipes.take(test)))) for fit in fits.values()]
        train_errors += [fit.rmse if isinstance(fit, Fit) else fit.noise for fit in fits.values()]
    return np.concatenate(parts), float(np.mean(train_errors))


def _parameters(spec: str, pools: int) -> int | None:
    """Return the number of parameters of a law; what has no formula has no such number."""
    if open_sets.parse(spec)[0] in WITHOUT_FORMULA:
        return None
    return Coordinates(cast(Law, open_sets.build("laws", spec)).params(), pools).size


def _errors(log_error: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, object]:
    """Return the mean error of (m,) held-out rows, with an interval that resamples their trainings ``groups`` (m,)."""
    # Runs of one training err together: the interval resamples trainings, not rows.
    error = np.expm1(log_error)
    names, codes = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(codes, np.abs(error)), np.bincount(codes)
    draws = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    low, high = np.quantile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), [0.05, 0.95])
    return {
        "heldout": float(np.abs(error).mean()),
        "low": float(low),
        "high": float(high),
        "bias": float(error.mean()),
        "rms": float(np.sqrt((log_error**2).mean())),
        "rows": len(error),
    }


def choose(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: FitOptions = DEFAULTS,
) -> tuple[SingleFit | Blend, Comparison]:
    """Compare laws on held-out runs, and refit the best on all rows; return it with the comparison.

    Several ``evals`` give the mean of their fits. The fit's ``noise`` is at least the held-out error, since that is
    what predicting unseen runs has cost here.

    Raises:
        FitError: if no law can be fitted.
    """
    comparison = compare(specs, runs, evals, how=how, options=options)
    best = comparison.rows.row(0, named=True)
    if best["heldout"] is None:
        raise FitError(f"no law can be fitted: {best['why']}")
    fits = tuple(with_heldout(fit, best) for fit in fit_all(runs, best["law"], evals, options))
    return (fits[0] if len(fits) == 1 else mean(fits)), comparison


def mean(fits: Sequence[SingleFit]) -> Blend:
    """Return the mean of the fits of several evals."""
    return Blend(tuple(fits), (1 / len(fits),) * len(fits), "+".join(fit.eval for fit in fits))


def _losses(runs: Runs, evals: Sequence[str]) -> dict[str, np.ndarray]:
    """Return (n,) losses by eval, NaN where a run lacks one."""
    return {name: runs.loss(name, missing=True) for name in evals}


def fit_all(runs: Runs, spec: str, evals: Sequence[str], options: FitOptions) -> tuple[SingleFit, ...]:
    """Fit one law to all runs, and return a fit for each eval."""
    losses = _losses(runs, evals)
    fits = fit_named(spec, runs.recipes(), losses, pools=runs.pools, clusters=runs.clusters, options=options)
    return tuple(fits.values())


def with_heldout(fit: SingleFit, row: dict[str, float]) -> SingleFit:
    """Return a fit that records its held-out error, and whose noise is at least that."""
    noise = max(fit.noise, float(row["rms"]))
    if isinstance(fit, Boosted):
        return replace(fit, noise=noise)
    heldout = {name: float(row[name]) for name in ("heldout", "low", "high", "rms", "rows")}
    return replace(fit, noise=noise, heldout=heldout)
