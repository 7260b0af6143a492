"""Choose between laws by how well they predict runs that they have not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl
import torch

from curate import open_sets
from curate.errors import FitError
from curate.fitting.choice import held_out_errors, holdout
from curate.fitting.choice.held_out_errors import HeldOutErrors, HeldOutPart
from curate.fitting.choice.holdout import Split
from curate.fitting.choice.without_formula import OPTIONS as WITHOUT_FORMULA
from curate.fitting.fit import Fit
from curate.fitting.fitted_laws import SingleFit, fit_named
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.laws import Law
from curate.progress import counted
from curate.runs import discrepancy
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs

SCHEMA = {
    "law": pl.String,
    "parameters": pl.Int64,
    "train": pl.Float64,
    "heldout": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "measured": pl.Float64,
    "bias": pl.Float64,
    "rms": pl.Float64,
    "shift": pl.Float64,
    "scatter": pl.Float64,
    "distance": pl.Float64,
    "rows": pl.Int64,
    "why": pl.String,
}


@dataclass(frozen=True)
class Comparison:
    """How well laws predict held-out runs: one row a law, the best first.

    ``parts`` are the held-out runs. ``predicted`` has, for each law that could be fitted, the (e, m) predicted log
    losses of each part: a sum of laws is made from them.
    """

    rows: pl.DataFrame
    parts: tuple[HeldOutPart, ...]
    predicted: Mapping[str, tuple[np.ndarray, ...]]

    def table(self) -> pl.DataFrame:
        """Return the comparison, one row a law, the best first.

        All errors are relative. Columns:

        - law; parameters: their number; train: root mean square error on the fitted runs;
        - heldout: the mean absolute error to expect of the next runs (see ``HeldOutErrors.expected``), null where each
          held-out size has too few runs to show a scatter; low and high: its 90 % interval, trainings resampled;
        - measured: the mean absolute error of the held-out runs; bias: their mean error with its sign; rms: the root
          mean square of their log error;
        - shift and scatter, where sizes or lengths were held out: the part of the log error that all runs of a size
          share, and its standard deviation within a size; distance: of the next size, in natural logarithms;
        - rows: the number of held-out losses; why: the reason if the law could not be fitted.
        """
        return self.rows

    def errors(self, weights: Mapping[str, float]) -> HeldOutErrors:
        """Return the errors of a weighted sum of laws on the held-out runs."""
        predicted = [self.predicted[spec] for spec in weights]
        return held_out_errors.of_sum(self.parts, predicted, np.array(list(weights.values())))


@dataclass(frozen=True)
class _HeldOut:
    """The runs of a comparison, and the masks of the runs to fit and to test on.

    ``losses`` are fitted. ``judged`` are those of the last row with each eval of each training, and NaN elsewhere.
    """

    runs: Runs
    recipes: Recipes
    losses: dict[str, np.ndarray]
    judged: dict[str, np.ndarray]
    clusters: np.ndarray
    pairs: list[Split]

    def fitted(self, train: np.ndarray) -> list[str]:
        """Return the evals that were measured in some of the rows to fit; no law of another eval can be fitted."""
        return [name for name, loss in self.losses.items() if np.isfinite(loss[train]).any()]

    @property
    def usual_shift(self) -> float:
        """The usual shift of the evals; a metric is fitted alone, so several evals have that of a loss."""
        return max(discrepancy.usual_shift(name) for name in self.losses)

    def parts(self, how: str) -> tuple[HeldOutPart, ...]:
        by_size = holdout.by_size(self.recipes, how)
        # A training has one length, however many checkpoints it has: that of its last row.
        ends = holdout.finished(self.recipes, self.clusters)
        values = np.asarray(self.recipes.params if by_size else self.recipes.tokens)
        parts = []
        for train, test in self.pairs:
            fitted = self.fitted(train)
            truth = np.log(
                np.stack([loss[test] if name in fitted else np.nan * loss[test] for name, loss in self.judged.items()])
            )
            part = HeldOutPart(truth, self.clusters[test])
            if how == holdout.ROLLING:
                levels = int(holdout.codes_of_sizes(values[train & ends]).max()) + 1
                # The geometric mean, because distances are logarithms.
                beyond = float(np.log(values[test]).mean() - np.log(values[train].max()))
                part = replace(part, levels=levels, distance=max(beyond, 0.0), shift_at_e=self.usual_shift)
            parts.append(part)
        return tuple(parts)


def compare(
    specs: Sequence[str],
    runs: Runs,
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: FitOptions = DEFAULTS,
) -> Comparison:
    """Fit every law without the held-out runs and measure its error on them, over all ``evals`` together.

    ``how`` is a split of ``holdout.splits``. Trainings are held out whole, and the last row of each counts.

    Raises:
        FitError: if a split leaves nothing to fit or to test. A law that cannot be fitted is a row with the reason.
    """
    recipes, clusters = runs.recipes(), runs.clusters
    losses = _losses(runs, evals)
    values = np.isfinite(np.stack(list(losses.values())))
    last = np.stack([holdout.finished(recipes, clusters, row) for row in values])
    pairs = [
        (train, test & last.any(axis=0)) for train, test in holdout.splits(recipes, clusters, how, seed=options.seed)
    ]
    # Of some eval, there must be rows to fit and rows to test.
    pairs = [pair for pair in pairs if bool((values[:, pair[0]].any(axis=1) & last[:, pair[1]].any(axis=1)).any())]
    if not pairs:
        raise FitError(
            f"{runs.origin}: --holdout {how} cannot split {len(runs)} runs"
            f"{' of the same compute' if _one_compute(recipes) else ''} into runs to fit and runs to test. Use "
            "--holdout mixture or --holdout random"
        )
    judged = {name: np.where(rows, loss, np.nan) for (name, loss), rows in zip(losses.items(), last, strict=True)}
    held_out = _HeldOut(runs, recipes, losses, judged, clusters, pairs)
    parts = held_out.parts(how)
    predicted: dict[str, tuple[np.ndarray, ...]] = {}
    records: list[dict[str, object]] = []
    for spec in counted(specs, "laws compared", len(specs)):
        row: dict[str, object] = {"law": spec, "parameters": _parameters(spec, len(runs.pools))}
        try:
            log_losses, train_error = _predict_held_out(spec, held_out, options)
        except FitError as error:
            records.append(row | {"why": str(error)})
            continue
        predicted[spec] = log_losses
        errors = held_out_errors.of_sum(parts, [log_losses], np.ones(1))
        records.append(row | {"train": train_error} | errors.record(options.seed) | {"why": ""})
    table = pl.DataFrame(records, schema=SCHEMA).sort("heldout", "measured", "law", nulls_last=True)
    return Comparison(table, parts, predicted)


def _one_compute(recipes: Recipes) -> bool:
    return bool(torch.allclose(recipes.tokens * recipes.params, recipes.tokens[0] * recipes.params[0]))


def _predict_held_out(spec: str, held_out: _HeldOut, options: FitOptions) -> tuple[tuple[np.ndarray, ...], float]:
    """Return a law's log losses of each held-out part, (e, m), and its mean error on the fitted rows.

    A log loss is NaN if no fitted run of the part has the eval.
    """
    parts, train_errors = [], []
    for train, test in held_out.pairs:
        fits = fit_named(
            spec,
            held_out.recipes.take(train),
            {name: held_out.losses[name][train] for name in held_out.fitted(train)},
            pools=held_out.runs.pools,
            clusters=held_out.clusters[train],
            options=replace(options, draws=1),  # the held-out error needs no bootstrap
        )
        recipes = held_out.recipes.take(test)
        absent = np.full(len(recipes), np.nan)
        losses = [np.asarray(fits[name].loss(recipes)) if name in fits else absent for name in held_out.losses]
        parts.append(np.log(np.stack(losses)))
        train_errors += [fit.rmse if isinstance(fit, Fit) else fit.noise for fit in fits.values()]
    return tuple(parts), float(np.mean(train_errors))


def _parameters(spec: str, pools: int) -> int | None:
    """Return the number of parameters of a law; what has no formula has no such number."""
    if open_sets.parse(spec)[0] in WITHOUT_FORMULA:
        return None
    return Coordinates(cast(Law, open_sets.build("laws", spec)).params(), pools).size


def _losses(runs: Runs, evals: Sequence[str]) -> dict[str, np.ndarray]:
    """Return (n,) losses by eval, NaN where a run lacks one."""
    return {name: runs.loss(name, missing=True) for name in evals}


def fit_all(runs: Runs, spec: str, evals: Sequence[str], options: FitOptions) -> tuple[SingleFit, ...]:
    """Fit one law to all runs, and return a fit for each eval."""
    losses = _losses(runs, evals)
    fits = fit_named(spec, runs.recipes(), losses, pools=runs.pools, clusters=runs.clusters, options=options)
    return tuple(fits.values())
