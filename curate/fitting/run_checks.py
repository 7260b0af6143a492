"""Check a run table: that its units are possible, that columns vary, and that no run appears twice.

A certain mistake stops the job. What only looks wrong gives a note, because the table may still be right. Tables in
which most counts look like millions or billions are refused earlier, by `curate.runs.sources.count_units`.
"""

import math
from collections.abc import Sequence

import numpy as np

from curate.errors import FitError, SchemaError, first_few
from curate.fitting.solver.multistart import MAD_TO_SIGMA
from curate.runs.discrepancy import SAME_SIZE
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.runs import Runs

# Runs of models with SMALLEST_MODEL parameters or more are hardly ever shorter than FEWEST_TOKENS tokens. A smaller
# number is probably a count in millions or billions.
FEWEST_TOKENS, SMALLEST_MODEL = 1e4, 1e5
FEWEST_PARAMS, MANY_TOKENS = 1e3, 1e7  # nobody trains so few parameters on so many tokens
MOST_ROWS = 0.5  # share of the rows: if fewer have all evals, a note says so
BITS = 1 / math.log(2)  # bits per nat: a loss in bits is 1.4427 times the loss in nats
NEAR = 0.03  # of log loss: how close to that factor counts
UNITS, OTHERS = {"params": "parameters", "tokens": "tokens"}, {"params": "sizes", "tokens": "lengths"}
OUTLYING = 8.0  # residual scales from which a row is an outlier
SMALLEST_SCALE = 1e-6  # of log loss: keeps the scale above 0 when a law fits exactly


def check(runs: Runs, *, by: str | None = None) -> tuple[str, ...]:
    """Return notes on what looks wrong, and on pools that no run uses. For a constant budget see `unvaried`.

    ``by`` is the column of corpora that are compared: runs of different corpora may have the same name.

    Raises:
        SchemaError: if a run appears twice.
        FitError: if params, tokens and mixture are the same in all runs.
    """
    frame = runs.frame
    tokens, params = (frame[column].cast(float).to_numpy() for column in ("tokens", "params"))
    notes = (
        *_units(runs, "tokens", tokens, (tokens < FEWEST_TOKENS) & (params >= SMALLEST_MODEL), "2e10"),
        *_units(runs, "params", params, (params < FEWEST_PARAMS) & (tokens > MANY_TOKENS), "1e9"),
    )
    _refuse_duplicates(runs, by)
    refuse_constant(runs)
    weights = runs.recipes().weights.numpy()
    unused = [name for name, column in zip(runs.pools, weights.T, strict=True) if not column.any()]
    if unused:
        notes += (f"no run uses {first_few(unused)}: nothing is known of {'it' if len(unused) == 1 else 'them'}",)
    return notes


def _units(runs: Runs, name: str, values: np.ndarray, small: np.ndarray, example: str) -> tuple[str, ...]:
    """Return a note if counts look like millions or billions in some rows.

    A few short runs may be real, such as the first checkpoints of a training.
    """
    if not small.any():
        return ()
    row = int(small.argmax())
    return (
        f"run {runs.frame['run'][row]!r} has {name} = {values[row]:g}: {name} look like counts in millions or billions "
        f"in {int(small.sum())} of {len(values)} rows. If so, write single {name}, as {example}",
    )


def _refuse_duplicates(runs: Runs, by: str | None) -> None:
    # Runs with different seeds or corpora may have the same name.
    keys = [column for column in runs.frame.columns if column in ("run", "tokens", "seed", "corpus", "step", by)]
    twice = runs.frame.select(keys).is_duplicated()
    if twice.any():
        rows = runs.frame.filter(twice)
        raise SchemaError(
            f"{runs.origin}: run {rows['run'][0]!r} at {rows['tokens'][0]:g} tokens appears more than once "
            f"({int(twice.sum())} such rows): give every run its own name, or drop the copies; checkpoints of one run "
            "differ in tokens"
        )


def refuse_constant(runs: Runs) -> None:
    """Check that the runs differ.

    Raises:
        FitError: if params, tokens and mixture are the same in all runs.
    """
    if len(runs) == 1:
        raise FitError(
            f"{runs.origin}: only one row has what is fitted, {runs.frame['run'][0]!r}: there is nothing to fit. Add "
            "runs that differ from it in params, tokens or mixture, or fill in their losses"
        )
    if not varied(runs):
        raise FitError(
            f"{runs.origin}: params, tokens and mixture are the same in all {len(runs)} runs: there is nothing to fit. "
            "Add runs that differ in at least one of them"
        )


def varied(runs: Runs) -> bool:
    """Return whether params, tokens or mixture differ between the runs."""
    recipes = runs.recipes()
    columns = (recipes.params, recipes.tokens, recipes.weights)
    return any(bool(np.ptp(values.numpy(), axis=0).any()) for values in columns)


def unvaried(runs: Runs) -> tuple[str, ...]:
    """Return notes if all runs have about the same size, about the same length, or both."""
    columns = {name: runs.frame[name].cast(float).to_numpy() for name in ("params", "tokens")}
    same = {name: f"{values[0]:.3g}" for name, values in columns.items() if np.ptp(values) == 0}
    if len(same) == 2:
        return (
            f"all fitted runs have {same['params']} parameters and {same['tokens']} tokens: the fit compares mixtures "
            "at this budget, and the runs say nothing about other budgets",
        )
    constant = tuple(
        f"all fitted runs have {value} {UNITS[name]}: what a law says of other {OTHERS[name]} comes from its priors"
        for name, value in same.items()
    )
    close = tuple(
        f"all fitted runs have between {values.min():.4g} and {values.max():.4g} {UNITS[name]}, a factor of "
        f"{values.max() / values.min():.3g}: they say next to nothing about other {OTHERS[name]}"
        for name, values in columns.items()
        if name not in same and values.max() < SAME_SIZE * values.min()
    )
    return (*constant, *close)


def uneven(runs: Runs, evals: Sequence[str]) -> tuple[str, ...]:
    """Return a note if few runs have all of several evals, so that each eval is fitted to other runs."""
    measured = np.logical_and.reduce([np.isfinite(runs.loss(name, missing=True)) for name in evals])
    if len(evals) < 2 or measured.mean() >= MOST_ROWS:
        return ()
    count = f"only {int(measured.sum())}" if measured.any() else "none"
    return (
        f"{count} of {len(runs)} rows have a value in each of the columns "
        f"{first_few(f'loss.{name}' for name in evals)}. Each eval is fitted to the rows that have a value of it, so "
        "the evals rest on different runs",
    )


def units_of_loss(fitted: Predictor, runs: Runs) -> tuple[str, ...]:
    """Return a note for each eval whose losses may be in bits in some runs and in nats in the others.

    Such rows differ from the fit by a factor of about 1.4427. This is a hint, not a proof: rows that the law predicts
    badly may differ by the same factor, such as early checkpoints of an extreme mixture.
    """
    notes = []
    for fit in fitted.fits if isinstance(fitted, Blend) else (fitted,):
        if fit.eval.startswith("metric."):  # a law of a metric has no nats
            continue
        observed = np.log(runs.loss(fit.eval, missing=True))
        residual = observed - np.log(np.asarray(fit.loss(runs.recipes(fit.pools))))
        residual = residual - np.nanmedian(residual)
        scale = MAD_TO_SIGMA * np.nanmedian(np.abs(residual)) + SMALLEST_SCALE
        for factor, unit in ((math.log(BITS), "bits"), (-math.log(BITS), "nats, and the others in bits")):
            odd = (np.abs(residual - factor) < NEAR + scale) & (np.abs(residual) > OUTLYING * scale)
            # The unit of most rows is taken for the right one.
            if odd.sum() and odd.sum() < len(residual) / 2:
                first = runs.frame["run"][int(odd.argmax())]
                notes.append(
                    f"loss.{fit.eval} of {int(odd.sum())} runs, the first is {first!r}, differs from the fit by a "
                    f"factor of {BITS:.4f}. Is it in {unit}? All losses must be in nats per token"
                )
    # A stack has several laws of one eval, which may give the same note.
    return tuple(dict.fromkeys(notes))
