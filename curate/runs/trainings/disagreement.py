"""Refuse trainings whose rows cannot be of one training."""

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs.recipes import SUM_TOLERANCE
from curate.runs.trainings.training_rows import extremes, numbers

ROUNDED_PARAMS = 1e-3  # relative: params of one training that differ by less are rounded values of one number


def refuse(frame: pl.DataFrame, codes: np.ndarray, names: np.ndarray, start: np.ndarray, origin: str) -> None:
    """Refuse a training whose rows have different mixtures or sizes, or two rows of the same tokens and eval."""
    sign = "column training" if "training" in frame.columns else "part of the name before @"
    for name in ["params", *(c for c in frame.columns if c.startswith("weight."))]:
        values = numbers(frame, name)
        # An empty share is 0. An empty size is refused where it is used.
        rows = ~start & np.isfinite(values) if name == "params" else ~start
        low, high = extremes(np.nan_to_num(values), codes, rows)
        wrong = high - low > (ROUNDED_PARAMS * high if name == "params" else SUM_TOLERANCE)
        if wrong.any():
            code = int(wrong.argmax())
            raise SchemaError(
                f"{origin}: the rows of training {names[codes == code][0]!r} have {name} from {low[code]:.6g} to "
                f"{high[code]:.6g}: a training has one mixture and one size. {int(wrong.sum())} such trainings. Give "
                f"each training a name of its own ({sign}), or use --checkpoints no"
            )
    losses = [c for c in frame.columns if c.startswith("loss.")]
    present = np.column_stack([~np.isnan(numbers(frame, c)) for c in losses]) if losses else np.ones((len(frame), 0))
    tokens = numbers(frame, "tokens")
    for column in present.astype(bool).T:
        rows = np.flatnonzero(column & ~start)
        pairs, counts = np.unique(np.column_stack([codes[rows], tokens[rows]]), axis=0, return_counts=True)
        if (counts > 1).any():
            code, length = pairs[int((counts > 1).argmax())]
            twice = rows[(codes[rows] == code) & (tokens[rows] == length)]
            raise SchemaError(
                f"{origin}: training {names[twice[0]]!r} has {len(twice)} rows at {length:g} tokens, the runs "
                f"{frame['run'][int(twice[0])]!r} and {frame['run'][int(twice[1])]!r}: are these two trainings of one "
                f"name? Give each a name of its own ({sign}) or a column seed, or drop the copies"
            )
