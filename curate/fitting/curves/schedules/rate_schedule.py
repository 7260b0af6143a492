"""The learning rates of one training, and the losses that were measured on the way."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class RateSchedule:
    """The learning rates of one training, and the steps of its rows.

    ``rates`` (t,) are the rates of all steps, of which the first ``warmup`` warm up. ``steps`` (n,) are the positions
    of the rows in ``rates``.
    """

    run: str
    rates: np.ndarray
    warmup: int
    steps: np.ndarray

    @property
    def warm(self) -> np.ndarray:
        """Return which rows (n,) come after the steps that warm up: the laws hold for these alone."""
        return np.asarray(self.steps >= self.warmup)

    def take(self, rows: np.ndarray) -> "RateSchedule":
        """Return the schedule with these rows, given as positions or as a mask."""
        return replace(self, steps=self.steps[rows])

    def measures(self) -> dict[str, float]:
        """Return the number of steps and the peak learning rate."""
        return {"steps": float(len(self.rates)), "peak rate": float(self.rates.max())}


@dataclass(frozen=True)
class Curve:
    """The losses (n,) in nats per token at the rows of a schedule, all of them after warming up."""

    schedule: RateSchedule
    loss: np.ndarray

    def take(self, rows: np.ndarray) -> "Curve":
        """Return the curve with these rows, given as positions or as a mask."""
        return Curve(self.schedule.take(rows), self.loss[rows])
