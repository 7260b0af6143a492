"""Read the learning-rate schedules of the trainings in a run table: one row a step, or one row every few steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.fitting.curves.schedules.multi_power import MOST_STEPS
from curate.fitting.curves.schedules.rate_schedule import RateSchedule
from curate.runs.runs import Runs

# A table of schedules may lack these columns of a run table. Without names, all rows are one training.
ABSENT: Mapping[str, object] = MappingProxyType({"run": "schedule", "params": None, "tokens": None})
WHOLE = 1e-6  # a smaller difference of a step number from a whole number is a rounding error


@dataclass(frozen=True)
class Schedules:
    """The schedules of a run table, and for each the positions (n,) of its rows in the table, by step.

    ``notes`` say what the table does not tell, and what was assumed instead.
    """

    schedules: tuple[RateSchedule, ...]
    rows: tuple[np.ndarray, ...]
    notes: tuple[str, ...] = ()


def read(runs: Runs, law: str) -> Schedules:
    """Return the schedule of each training of a run table with the columns ``step`` and ``lr``.

    Rows with the same value in the column ``training`` are one training; without that column, rows with the same part
    of ``run`` before ``@``. Between rows, the rate is interpolated. While the rate rises from the first step on, it
    warms up.

    Raises:
        SchemaError: if a column is missing, a step or a rate is impossible, or a rate never stops rising.
    """
    if missing := [name for name in ("step", "lr") if name not in runs.frame.columns]:
        raise SchemaError(
            f"{runs.origin}: --law {law} needs a column {missing[0]!r}: one row a step, with run, step, lr and loss"
        )
    names = runs.frame["run"].str.split("@").list.first()
    if "training" in runs.frame.columns:
        names = runs.frame["training"].cast(pl.String).fill_null(names)
    steps, rates = runs.numbers("step"), runs.numbers("lr")
    bad = ~(np.isfinite(steps) & (steps >= 0) & (steps <= MOST_STEPS) & (np.abs(steps - steps.round()) < WHOLE))
    if bad.any():
        row = int(bad.argmax())
        raise SchemaError(
            f"{runs.origin}: step of run {runs.frame['run'][row]!r} is {_cell(steps[row])}: it must be a whole number "
            f"from 0 to {MOST_STEPS:.0e}; {int(bad.sum())} such rows. Correct it, or drop the rows with --where"
        )
    bad = ~(np.isnan(rates) | (np.isfinite(rates) & (rates >= 0)))
    if bad.any():
        row = int(bad.argmax())
        raise SchemaError(
            f"{runs.origin}: lr of run {runs.frame['run'][row]!r} is {rates[row]:g}: it must be finite and at least 0; "
            f"{int(bad.sum())} such rows. Correct it, or drop the rows with --where"
        )
    parts, positions, notes = [], [], []
    for name in sorted(set(names.to_list())):
        rows = np.flatnonzero((names == name).to_numpy())
        rows = rows[np.argsort(steps[rows], kind="stable")]
        schedule, note = _schedule(runs.origin, name, steps[rows].round().astype(int), rates[rows])
        parts.append(schedule)
        positions.append(rows)
        notes += note
    return Schedules(tuple(parts), tuple(positions), tuple(notes))


def _schedule(origin: str, name: str, steps: np.ndarray, rates: np.ndarray) -> tuple[RateSchedule, list[str]]:
    """Return the schedule of one training whose rows are in the order of their steps, and notes."""
    if (twice := np.flatnonzero(np.diff(steps) == 0)).size:
        raise SchemaError(
            f"{origin}: training {name!r} has two rows of step {steps[twice[0]]}. Give every training its own name in "
            "the column run or training, or drop the copies"
        )
    stated = np.isfinite(rates)
    if not (rates[stated] > 0).any():
        raise SchemaError(f"{origin}: training {name!r} has no learning rate above 0. Fill in the column lr")
    first = min(int(steps[0]), 1)  # some count their steps from 0, and some from 1
    every = np.arange(first, int(steps[-1]) + 1)
    stated_steps = steps[stated]
    stated_rates = rates[stated]
    notes = []
    before_rows = (every < stated_steps[0]) & (len(stated_rates) > 1 and stated_rates[1] > stated_rates[0])
    filled = np.interp(every, stated_steps, stated_rates)
    # A rate that rises from the first row on has warmed up since the first step, which has no row if logs are sparse.
    filled[before_rows] = stated_rates[0] * (every - first + 1)[before_rows] / (stated_steps[0] - first + 1)
    # Logs often start after one interval. More than that means that the start of the training is missing.
    interval = int(np.diff(steps).max()) if len(steps) > 1 else 1
    if stated_steps[0] - first > interval:
        notes.append(
            f"{name}: the table has no rates for steps {first} to {stated_steps[0] - 1}. They are taken to "
            f"equal the rate of step {stated_steps[0]}"
        )
    rising = np.diff(filled) > 0
    warmup = int(np.argmin(rising)) if len(rising) and not rising.all() else len(rising)
    if warmup and warmup == len(rising):
        raise SchemaError(
            f"{origin}: the learning rate of training {name!r} rises up to its last step, {steps[-1]}. The law does "
            "not hold while the rate warms up. Give the steps after it too"
        )
    return RateSchedule(name, filled, warmup, steps - first), notes


def _cell(value: float) -> str:
    return "empty" if np.isnan(value) else f"{value:g}"
