"""Is this run table what it seems? Units that cannot be, columns that do not vary, runs that appear twice."""

import math

import numpy as np

from curate.errors import FitError, SchemaError
from curate.runs.predictor import Blend, Predictor
from curate.runs.run_table import Runs

FEWEST_TOKENS = (
    1e4  # no run of a model of SMALLEST_MODEL parameters is shorter; smaller counts are in millions or billions
)
SMALLEST_MODEL = 1e5
FEWEST_PARAMS, MANY_TOKENS = 1e3, 1e7  # nobody trains so few parameters on so many tokens
BITS = 1 / math.log(2)  # bits per nat: a loss in bits is 1.4427 times the loss in nats
NEAR = 0.03  # of log loss: how close to that factor counts
OUTLYING = 8.0  # residual scales


def check(data: Runs) -> tuple[str, ...]:
    """Return notes on what the runs cannot tell; raise a SchemaError for what cannot be right."""
    frame = data.frame
    tokens, params = (frame[c].cast(float).to_numpy() for c in ("tokens", "params"))
    small = (tokens < FEWEST_TOKENS) & (params >= SMALLEST_MODEL) & (tokens > 0)
    if small.any():
        row = int(small.argmax())
        raise SchemaError(
            f"run {frame['run'][row]!r} has {tokens[row]:g} tokens for {params[row]:g} parameters: tokens look like "
            f"millions or billions in {int(small.sum())} of {len(tokens)} rows; write single tokens, as 2e10"
        )
    unlike = (params < FEWEST_PARAMS) & (tokens > MANY_TOKENS)
    if unlike.any():
        row = int(unlike.argmax())
        raise SchemaError(
            f"run {frame['run'][row]!r} has {params[row]:g} parameters: they look like millions or billions; write "
            "single parameters, as 1e9"
        )
    _duplicates(data)
    return _constant(data, tokens, params)


def _duplicates(data: Runs) -> None:
    keys = [c for c in data.frame.columns if c in ("run", "tokens", "corpus", "step")]
    twice = data.frame.select(keys).is_duplicated()
    if twice.any():
        first = data.frame.filter(twice)
        raise SchemaError(
            f"run {first['run'][0]!r} at {first['tokens'][0]:g} tokens appears more than once ({int(twice.sum())} such "
            "rows): give every run its own name, or drop the copies; checkpoints of one run differ in tokens"
        )


def _constant(data: Runs, tokens: np.ndarray, params: np.ndarray) -> tuple[str, ...]:
    weights = data.recipes().weights.numpy()
    still = {"params": np.ptp(params) == 0, "tokens": np.ptp(tokens) == 0, "mixture": not np.ptp(weights, axis=0).any()}
    if all(still.values()):
        raise FitError(
            "params, tokens and mixture are the same in all runs: there is nothing to fit; vary at least one"
        )
    told = {"params": "size", "tokens": "tokens"}
    notes = [
        f"{what} is {values[0]:.3g} in all runs: what {told[what]} does comes from the law's priors, not from the runs"
        for what, values in (("params", params), ("tokens", tokens))
        if still[what]
    ]
    unused = [name for name, column in zip(data.pools, weights.T, strict=True) if not column.any()]
    if unused:
        notes.append(f"no run uses {', '.join(unused)}: nothing is known of {'it' if len(unused) == 1 else 'them'}")
    return tuple(notes)


def units_of_loss(result: Predictor, data: Runs) -> None:
    """Raise a SchemaError where some rows' losses are in bits and the others in nats, by their residuals."""
    for one in result.fits if isinstance(result, Blend) else (result,):
        observed = np.log(data.loss(one.eval, missing=True))
        left = observed - np.log(np.asarray(one.loss(data.recipes(one.pools))))
        scale = 1.4826 * np.nanmedian(np.abs(left - np.nanmedian(left))) + 1e-6
        left = left - np.nanmedian(left)
        for factor, told in (
            (math.log(BITS), "in bits, the others in nats"),
            (-math.log(BITS), "in nats, the others in bits"),
        ):
            odd = (np.abs(left - factor) < NEAR + scale) & (np.abs(left) > OUTLYING * scale)
            if odd.sum() and odd.sum() < len(left) / 2:
                raise SchemaError(
                    f"loss.{one.eval} of {int(odd.sum())} runs, first {data.frame['run'][int(odd.argmax())]!r}, looks "
                    f"{told} (a factor of {BITS:.4f}): write all losses in nats per token"
                )
