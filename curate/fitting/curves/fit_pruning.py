"""Fit the law `pruning_curves` to a run table: one curve of error against kept size for each kept share."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import cast

import numpy as np
import polars as pl

from curate.errors import FitError, SchemaError
from curate.fitting.curves import curve_options, pruning_curves
from curate.fitting.curves.metric_columns import note_of_infinite
from curate.fitting.curves.pruning_curves import Decay, PruningCurves
from curate.fitting.curves.rows import point_table
from curate.fitting.fit_json import law_json
from curate.fitting.fit_report import FitQuestion, FitReport, parameter_table
from curate.runs.runs import Runs

REACH = 10.0  # the best share to keep is shown up to this many times the largest size before pruning
SIZES = 13  # rows of that table


def kept_sizes(runs: Runs) -> np.ndarray:
    """Return the (n,) sizes kept: the unique tokens of all pools if the table has them, else the training tokens."""
    # Pruning leaves so many distinct tokens. Several passes over them make the training longer, not the data larger.
    unique = runs.recipes().unique.sum(dim=1).numpy()
    return np.where(np.isfinite(unique), unique, runs.numbers("tokens"))


def kept_shares(runs: Runs) -> np.ndarray:
    """Return the (n,) shares kept of the column ``keep``.

    Raises:
        SchemaError: if there is no such column, or a share is not in (0, 1].
    """
    if "keep" not in runs.frame.columns:
        raise SchemaError(
            "the run table has no column 'keep': --law pruning_curves reads the share that was kept, in (0, 1]"
        )
    shares = runs.numbers("keep")
    bad = ~((shares > 0) & (shares <= 1))
    if bad.any():
        row = int(bad.argmax())
        raise SchemaError(
            f"run {runs.frame['run'][row]!r} has keep {shares[row]:g}: the share kept must lie in (0, 1]. "
            f"{int(bad.sum())} such rows"
        )
    return shares


def fit_pruning_curves(runs: Runs, question: FitQuestion) -> FitReport:
    """Fit a power law to the runs of every share kept, and find the best share for every size.

    The run table has a column ``keep``. The error is loss.<eval>, or metric.<eval> where there is no such loss.

    Raises:
        CurateError: if the law has an option; there are none.
        SchemaError: if a column is missing, or a share, size or error is impossible.
        FitError: if a share has runs at fewer than 4 sizes.
    """
    curve_options.parse(question.law)
    shares, kept, error = kept_shares(runs), kept_sizes(runs), _errors(runs, question.evaluation)
    notes = note_of_infinite(runs, _column(runs, question.evaluation), error)
    measured = np.isfinite(error)
    shares, kept, error = shares[measured], kept[measured], error[measured]
    options = pruning_curves.with_seed(question.options.seed, question.options.draws)
    fitted = pruning_curves.curves((kept / shares).tolist(), shares.tolist(), error.tolist(), options=options)
    totals = kept / shares
    best = pruning_curves.best_shares(fitted, np.geomspace(totals.min(), REACH * totals.max(), SIZES)).table()
    decay = _decay(kept, error)
    named = {f"{share:g}": curve for share, curve in zip(fitted.keep, fitted.fits, strict=True)}
    laws = [
        {**law_json.to_json(curve), "law": "pruning_curves", "eval": question.evaluation, "keep": share}
        for share, curve in zip(fitted.keep, fitted.fits, strict=True)
    ]
    return FitReport(
        law="pruning_curves",
        comparison=best,
        parameter_rows=parameter_table(named, "keep"),
        points=point_table(
            runs.frame["run"].filter(pl.Series(measured)).to_list(),
            [f"keep {share:g}" for share in shares],
            error,
            predict_error(fitted, shares, kept)[0],
        ),
        record={
            "laws": laws,
            "eval": question.evaluation,
            "evals": [question.evaluation],
            "rows": len(error),
            "largest_kept": fitted.largest_kept,
            "best_shares": best.to_dicts(),
            "decay": None if decay is None else asdict(decay),
        },
        shown=(
            "Best share to keep at each size before pruning:",
            best,
            _decay_in_words(decay),
            *(f"note: {note}" for note in notes),
        ),
        predictor=fitted,
        notes=notes,
    )


def _errors(runs: Runs, name: str) -> np.ndarray:
    """Return the (n,) errors of loss.<name>, or of metric.<name> where there is no such loss."""
    return runs.numbers(_column(runs, name))


def _column(runs: Runs, name: str) -> str:
    for prefix in ("loss", "metric"):
        if f"{prefix}.{name}" in runs.frame.columns:
            return f"{prefix}.{name}"
    raise SchemaError(f"the run table has no column loss.{name} or metric.{name}. Name an error with --eval")


def _decay(kept: np.ndarray, error: np.ndarray) -> Decay | None:
    """Return how the error of the best runs falls, or None if they have too few sizes."""
    best = pruning_curves.envelope(kept, error)
    try:
        return pruning_curves.decay(kept[best], error[best])
    except FitError:
        return None


def _decay_in_words(decay: Decay | None) -> str:
    if decay is None:
        return "The runs that no smaller run beats have fewer than 3 sizes: the form of decay cannot be told."
    fall = f"as a power of it, n^-{decay.rate:.3g}" if decay.kind == "power" else f"as exp(-{decay.rate:.3g} n)"
    return (
        f"Among runs that no smaller run beats, the error falls with the kept size n {fall} ({decay.kind} decay; rms "
        f"log error {decay.power:.2g} as a power, {decay.exponential:.2g} as an exponential)."
    )


def predict_error(
    fitted: PruningCurves, shares: np.ndarray, kept: np.ndarray, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict the errors (n,) of runs, and the low (n,) and high (n,) ends of their intervals.

    ``shares`` (n,) are the shares of rows that pruning keeps, and ``kept`` (n,) the sizes after pruning, in the unit of
    the fitted runs (examples or tokens). ``level`` is the coverage of the interval.

    Raises:
        SchemaError: if the fit has no curve for a share.
    """
    columns = tuple(np.full(len(kept), np.nan) for _ in range(3))
    for share, curve in zip(fitted.keep, fitted.fits, strict=True):
        rows = np.isclose(shares, share)
        if rows.any():
            recipes = fitted.recipes(kept[rows])
            for values, part in zip(columns, (curve.loss(recipes), *curve.interval(recipes, level)), strict=True):
                values[rows] = part.numpy()
    if np.isnan(columns[0]).any():
        unknown = float(shares[int(np.isnan(columns[0]).argmax())])
        raise SchemaError(
            f"no curve for keep {unknown:g}: the fit has {', '.join(f'{share:g}' for share in fitted.keep)}. Leave "
            "such rows out, or fit again on runs that have them"
        )
    return columns[0], columns[1], columns[2]


def from_json(record: Mapping[str, object]) -> PruningCurves:
    """Return the curves of a fit.json's body.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    laws = cast(list[Mapping[str, object]], record["laws"])
    return PruningCurves(
        keep=tuple(float(cast(float, law["keep"])) for law in laws),
        fits=tuple(law_json.from_json({**law, "law": pruning_curves.LAW}) for law in laws),
        largest_kept=float(cast(float, record["largest_kept"])),
    )
