"""Check that a run table is what it seems: possible units, columns that vary, no run twice."""

import math

import numpy as np

from curate.errors import FitError, SchemaError
from curate.fitting.multistart import MAD_TO_SIGMA
from curate.runs.predictor import Blend, Predictor
from curate.runs.run_table import Runs

# No run of a model of SMALLEST_MODEL parameters is this short: a smaller count is in millions or billions.
FEWEST_TOKENS, SMALLEST_MODEL = 1e4, 1e5
FEWEST_PARAMS, MANY_TOKENS = 1e3, 1e7  # nobody trains so few parameters on so many tokens
BITS = 1 / math.log(2)  # bits per nat: a loss in bits is 1.4427 times the loss in nats
NEAR = 0.03  # of log loss: how close to that factor counts
OUTLYING = 8.0  # residual scales from which a row is an outlier
SMALLEST_SCALE = 1e-6  # of log loss: keeps the scale above 0 when a law fits exactly


def check(runs: Runs) -> tuple[str, ...]:
    """Return notes on what the runs cannot tell.

    Raises:
        SchemaError: if units cannot be right, or a run appears twice.
        FitError: if params, tokens and mixture are the same in all runs.
    """
    frame = runs.frame
    tokens, params = (frame[column].cast(float).to_numpy() for column in ("tokens", "params"))
    small = (tokens < FEWEST_TOKENS) & (params >= SMALLEST_MODEL) & (tokens > 0)
    if small.any():
        row = int(small.argmax())
        raise SchemaError(
            f"run {frame['run'][row]!r} has {tokens[row]:g} tokens for {params[row]:g} parameters: tokens look like "
            f"millions or billions in {int(small.sum())} of {len(tokens)} rows. Write single tokens, as 2e10"
        )
    tiny = (params < FEWEST_PARAMS) & (tokens > MANY_TOKENS)
    if tiny.any():
        row = int(tiny.argmax())
        raise SchemaError(
            f"run {frame['run'][row]!r} has {params[row]:g} parameters: they look like millions or billions. Write "
            "single parameters, as 1e9"
        )
    _refuse_duplicates(runs)
    return _notes_on_constants(runs, tokens, params)


def _refuse_duplicates(runs: Runs) -> None:
    keys = [column for column in runs.frame.columns if column in ("run", "tokens", "corpus", "step")]
    twice = runs.frame.select(keys).is_duplicated()
    if twice.any():
        rows = runs.frame.filter(twice)
        raise SchemaError(
            f"run {rows['run'][0]!r} at {rows['tokens'][0]:g} tokens appears more than once ({int(twice.sum())} such "
            "rows): give every run its own name, or drop the copies; checkpoints of one run differ in tokens"
        )


def _notes_on_constants(runs: Runs, tokens: np.ndarray, params: np.ndarray) -> tuple[str, ...]:
    """Return a note for each of size and tokens that does not vary, and one for pools that no run uses."""
    weights = runs.recipes().weights.numpy()
    params_fixed, tokens_fixed = np.ptp(params) == 0, np.ptp(tokens) == 0
    if params_fixed and tokens_fixed and not np.ptp(weights, axis=0).any():
        raise FitError(
            "params, tokens and mixture are the same in all runs: there is nothing to fit. Vary at least one of them"
        )
    notes = []
    for column, effect, value, fixed in (
        ("params", "size", params[0], params_fixed),
        ("tokens", "tokens", tokens[0], tokens_fixed),
    ):
        if fixed:
            notes.append(
                f"{column} is {value:.3g} in all runs: what {effect} does comes from the law's priors, not from the "
                "runs"
            )
    unused = [name for name, column in zip(runs.pools, weights.T, strict=True) if not column.any()]
    if unused:
        notes.append(f"no run uses {', '.join(unused)}: nothing is known of {'it' if len(unused) == 1 else 'them'}")
    return tuple(notes)


def check_units_of_loss(fitted: Predictor, runs: Runs) -> None:
    """Stop if the losses of some runs are in bits and those of the others in nats.

    Such rows stand out from the fit by the factor 1.4427.

    Raises:
        SchemaError: with the number of such runs and the name of the first.
    """
    for fit in fitted.fits if isinstance(fitted, Blend) else (fitted,):
        observed = np.log(runs.loss(fit.eval, missing=True))
        residual = observed - np.log(np.asarray(fit.loss(runs.recipes(fit.pools))))
        scale = MAD_TO_SIGMA * np.nanmedian(np.abs(residual - np.nanmedian(residual))) + SMALLEST_SCALE
        residual = residual - np.nanmedian(residual)
        for factor, units in (
            (math.log(BITS), "in bits, the others in nats"),
            (-math.log(BITS), "in nats, the others in bits"),
        ):
            odd = (np.abs(residual - factor) < NEAR + scale) & (np.abs(residual) > OUTLYING * scale)
            # The unit of most rows is taken for the right one.
            if odd.sum() and odd.sum() < len(residual) / 2:
                raise SchemaError(
                    f"loss.{fit.eval} of {int(odd.sum())} runs, first {runs.frame['run'][int(odd.argmax())]!r}, looks "
                    f"{units} (a factor of {BITS:.4f}). Write all losses in nats per token"
                )
