"""Hold a fitted law of schedules, `annealing` or `multi_power`, predict other schedules, and read it from fit.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
import torch
from scipy.special import stdtrit
from torch import Tensor

from curate.fitting.curves.schedules.rate_schedule import RateSchedule
from curate.fitting.curves.schedules.schedule_laws import LAWS, SMALLEST_LOSS
from curate.runs.predictors.intervals import mixture_ends

# Rows of a schedule at which the draws are evaluated; between them the relative width of the interval is interpolated.
DRAWN_ROWS = 256
PREDICTED_ROWS = 4096  # rows that are predicted at a time; this bounds the memory


@dataclass(frozen=True, repr=False)
class ScheduleFit:
    """A fitted law of schedules.

    ``theta`` holds the parameters, and ``draws`` b bootstrap copies of each. ``noise`` is the standard deviation of the
    log loss of a row around the fitted curves. ``heldout`` is the root mean square error of log loss on what was left
    out: each curve in turn, or the last part of a lone curve. ``curves`` is the number of fitted curves. ``ranges``
    holds the smallest and largest number of steps and peak rate of a curve. ``params`` is the size of the model, if the
    run table says it.
    """

    law: str
    eval: str
    theta: Mapping[str, float]
    draws: Mapping[str, Tensor]
    noise: float
    heldout: float
    curves: int
    ranges: Mapping[str, tuple[float, float]]
    params: float | None = None

    def __repr__(self) -> str:
        """Return the law, its curves and its error on one line."""
        return f"ScheduleFit({self.law} of loss.{self.eval}, {self.curves} curves, held-out error {self.heldout:.2%})"

    def loss(self, schedule: RateSchedule) -> np.ndarray:
        """Return the (n,) losses at the rows of a schedule, NaN while it warms up."""
        values = np.full(len(schedule.steps), np.nan)
        warm = np.flatnonzero(schedule.warm)
        for rows in np.array_split(warm, max(1, -(-len(warm) // PREDICTED_ROWS))):
            features = LAWS[self.law].features(schedule.rates, schedule.warmup, schedule.steps[rows])
            values[rows] = LAWS[self.law].curve(self.theta, *features).numpy()
        return values

    def interval(self, schedule: RateSchedule, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return the (n,) low and high ends of the losses that a training with this schedule would show.

        The interval covers the parameters, the noise of a row, and the error of the law on curves that it did not see.
        Beyond the steps of the longest fitted curve, the variance of that error grows with the logarithm of the steps.
        """
        loss = self.loss(schedule)
        warm = np.flatnonzero(schedule.warm)
        if not len(warm):
            return loss, loss
        order = warm[np.argsort(schedule.steps[warm], kind="stable")]
        rows = order[np.unique(np.linspace(0, len(order) - 1, min(DRAWN_ROWS, len(order))).round().astype(int))]
        features = LAWS[self.law].features(schedule.rates, schedule.warmup, schedule.steps[rows])
        curve = LAWS[self.law].curve
        drawn = torch.func.vmap(lambda theta: curve(theta, *features))(dict(self.draws)).clamp_min(SMALLEST_LOSS).log()
        deviation = (self.deviation(level) * self._growth(schedule.steps[rows])).expand_as(drawn)
        ends = []
        for end in mixture_ends(drawn, deviation, level):
            factor = np.exp(end.numpy()) / loss[rows]
            ends.append(loss * np.interp(schedule.steps, schedule.steps[rows], factor))
        return ends[0], ends[1]

    def deviation(self, level: float) -> float:
        """Return the standard deviation of log loss around the draws, for intervals of this ``level``.

        It is the held-out error, but at least the noise. A held-out error of few curves is itself uncertain. So it is
        widened as Student's t with one degree of freedom for each curve is wider than a normal distribution.
        """
        tail = (1 + level) / 2
        normal = float(torch.special.ndtri(torch.tensor(tail, dtype=torch.float64)))
        return max(self.noise, self.heldout * float(stdtrit(self.curves, tail)) / normal)

    def _growth(self, steps: np.ndarray) -> Tensor:
        """Return the factors (n,) by which the deviation grows at positions (n,) beyond the longest fitted curve."""
        # Held-out curves are about as long as the fitted ones, so their error says nothing of steps far beyond.
        beyond = torch.from_numpy((steps + 1) / self.ranges["steps"][1]).log().clamp_min(0.0)
        return (1 + beyond).sqrt()

    def warnings(self, schedules: Sequence[RateSchedule]) -> tuple[str, ...]:
        """Return one line for each way in which schedules lie outside the fitted ones."""
        lines = []
        for name, (low, high) in self.ranges.items():
            # A schedule that is shorter than the fitted ones is no extrapolation: they went through as few steps too.
            lowest = 0.0 if name == "steps" else low
            beyond = [s for s in schedules if not lowest <= s.measures()[name] <= high]
            if beyond:
                lines.append(
                    f"extrapolated: {beyond[0].run} has {name} {beyond[0].measures()[name]:.6g}. Those of the fitted "
                    f"trainings are {low:.6g} to {high:.6g} ({len(beyond)} of {len(schedules)} schedules)"
                )
        return tuple(lines)

    def in_words(self) -> str:
        """Return how far predictions may be off, in a sentence."""
        what = "a training that was left out" if self.curves > 1 else "the last steps of the training, left out"
        return (
            f"Held-out error: {self.heldout:.2%} of the loss (root mean square) on {what}. The 90 % interval of a "
            f"prediction is at least {1.645 * self.deviation(0.9):.2%} wide on either side."
        )

    def parameter_rows(self) -> pl.DataFrame:
        """Return one row for each parameter: param, value, and the ends low and high of 90 % of the draws."""
        tails = torch.tensor([0.05, 0.95], dtype=torch.float64)
        rows = []
        for name, value in self.theta.items():
            low, high = torch.quantile(self.draws[name], tails).tolist()
            rows.append({"param": name, "value": value, "low": low, "high": high})
        return pl.DataFrame(rows)

    def to_json(self) -> dict[str, object]:
        """Return the fit as an entry of ``laws`` in fit.json."""
        count = len(next(iter(self.draws.values())))
        return {
            "law": self.law,
            "eval": self.eval,
            "theta": dict(self.theta),
            "draws": [{name: float(values[i]) for name, values in self.draws.items()} for i in range(count)],
            "noise": self.noise,
            "heldout": {"rms": self.heldout},
            "params": self.params,
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
            "weight": 1.0,
        }


def from_json(law: Mapping[str, object]) -> ScheduleFit:
    """Return the fit of an entry of ``laws`` in fit.json.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    name = str(law["law"])
    theta = cast(Mapping[str, float], law["theta"])
    draws = cast(Sequence[Mapping[str, float]], law["draws"])
    names = LAWS[name].parameters
    ranges = cast(Mapping[str, Sequence[float]], law["ranges"])
    values = {p: torch.tensor([float(draw[p]) for draw in draws], dtype=torch.float64) for p in names}
    if not all(bool((x > 0).all() and x.isfinite().all()) for x in values.values()):
        raise ValueError(f"a draw of {name} has a parameter that is not positive")
    if not all(np.isfinite(theta[p]) and theta[p] > 0 for p in names):
        raise ValueError(f"a parameter of {name} is not positive")
    return ScheduleFit(
        law=name,
        eval=str(law["eval"]),
        theta={p: float(theta[p]) for p in names},
        draws=values,
        noise=float(cast(float, law["noise"])),
        heldout=float(cast(Mapping[str, float], law["heldout"])["rms"]),
        curves=len(cast(Sequence[object], law["schedules"])),
        ranges={key: (float(ends[0]), float(ends[1])) for key, ends in ranges.items()},
        params=cast("float | None", law.get("params")),
    )
