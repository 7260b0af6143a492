"""Find the progress of each training: from its planned length, from its learning rate, or by assumption."""

from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs import number_columns
from curate.runs.trainings.training_rows import extremes, last_rows, numbers

Schedules = Literal["planned_tokens", "lr", "assumed"]
# A planned length counts whole steps and the tokens of a run do too, so the two may differ by a step. 1 % is more than
# one step of any run of 100 steps.
ROUNDED = 0.01
FINISHED = 1 - ROUNDED  # the progress from which a run is finished
# A learning rate that has fallen below this share of its peak has been annealed. Cosine and linear schedules end at a
# tenth of the peak or at 0 (Hoffmann et al. 2022, arXiv 2203.15556, section 3.1; Hu et al. 2024, arXiv 2404.06395).
ANNEALED = 0.2


def progress_of_rows(
    frame: pl.DataFrame, codes: np.ndarray, names: np.ndarray, start: np.ndarray, origin: str
) -> tuple[np.ndarray, Schedules, tuple[str, ...]]:
    """Return the (n,) progress of the rows, its source, and notes.

    Raises:
        SchemaError: the rows of one training have different planned lengths, or a row has more tokens than planned.
    """
    tokens = np.where(start, 1.0, np.nan_to_num(numbers(frame, "tokens"), nan=1.0))
    _refuse_wrong(frame, start, origin)
    plan = _planned(frame, codes, names, origin)
    _refuse_longer(frame, tokens, start, origin)
    _, longest = extremes(tokens, codes, ~start)
    planned_rows = plan > 0
    # Where nothing was planned, the last row of a training is taken for its end.
    progress = np.where(
        start, 1.0, np.minimum(tokens / np.where(planned_rows, plan, np.maximum(longest[codes], 1.0)), 1.0)
    )
    several = (np.bincount(codes) > 1)[codes]
    if planned_rows[several].all() and planned_rows.any():
        return progress, "planned_tokens", ()
    rates = numbers(frame, "lr")
    if not np.isfinite(rates[several]).any():
        return progress, "assumed", ()
    return progress, *_from_rates(rates, tokens, codes, several & ~planned_rows)


def _refuse_wrong(frame: pl.DataFrame, start: np.ndarray, origin: str) -> None:
    """Refuse planned lengths that are not positive numbers: without one, an unfinished run counts as finished."""
    if "planned_tokens" not in frame.columns:
        return
    number_columns.refuse_words(frame, "planned_tokens", origin)
    planned = numbers(frame, "planned_tokens")
    wrong = ~start & ~np.isnan(planned) & ~(np.isfinite(planned) & (planned > 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise SchemaError(
            f"{origin}: planned_tokens of run {frame['run'][row]!r} is {planned[row]:g}: it must be positive and "
            f"finite; {int(wrong.sum())} such rows. Correct it, or leave the cell empty"
        )


def _planned(frame: pl.DataFrame, codes: np.ndarray, names: np.ndarray, origin: str) -> np.ndarray:
    """Return the planned tokens (n,) of the training of each row, 0 where none are known."""
    planned = numbers(frame, "planned_tokens")
    low, high = extremes(planned, codes, np.isfinite(planned))
    if (disagree := high - low > ROUNDED * high).any():
        code = int(disagree.argmax())
        raise SchemaError(
            f"{origin}: the rows of training {names[codes == code][0]!r} have planned_tokens from {low[code]:g} to "
            f"{high[code]:g}: one training has one planned length. {int(disagree.sum())} such trainings. Correct "
            "planned_tokens, or give each training a name of its own"
        )
    return np.asarray(high[codes])


def _refuse_longer(frame: pl.DataFrame, tokens: np.ndarray, start: np.ndarray, origin: str) -> None:
    """Refuse rows with more tokens than were planned."""
    planned = numbers(frame, "planned_tokens")
    over = ~start & (tokens > (1 + ROUNDED) * planned)
    # One step more than planned is no error, however large a step is.
    over &= ~(tokens <= planned + np.nan_to_num(numbers(frame, "batch_tokens")))
    if over.any():
        row = int(over.argmax())
        raise SchemaError(
            f"{origin}: run {frame['run'][row]!r} has tokens = {tokens[row]:g} and planned_tokens = {planned[row]:g}: "
            f"no run has more tokens than were planned; {int(over.sum())} such rows. Correct planned_tokens, or leave "
            "it empty"
        )


def _from_rates(
    rates: np.ndarray, tokens: np.ndarray, codes: np.ndarray, rows: np.ndarray
) -> tuple[Schedules, tuple[str, ...]]:
    """Return whether the learning rates show that all trainings were finished, and a note if only some do."""
    measured = rows & np.isfinite(rates)
    last = last_rows(codes, tokens, rows)
    _, peak = extremes(rates, codes, measured)
    annealed = rates[last] < ANNEALED * peak[codes[last]]
    if annealed.all():
        return "lr", ()
    # A rate that is the same in all rows is the peak of the schedule, and says nothing of its end.
    if not annealed.any():
        return "assumed", ()
    return "assumed", (
        f"the learning rate of {int((~annealed).sum())} of {len(annealed)} trainings has not fallen below "
        f"{ANNEALED:.0%} of its peak, so the column lr does not say that all trainings are finished",
    )
