"""Fit a law of schedules, `annealing` or `multi_power`, to the loss curves of one model, and predict other schedules.

The curves share one floor and all other parameters. Bootstrap draws refit the curves with their residuals moved in
blocks. Curves that are left out of the fit show how far the law itself errs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl
import torch
from scipy.special import stdtrit
from torch import Tensor

from curate.errors import FitError
from curate.fitting.curves.schedules import annealing, multi_power
from curate.fitting.solver import least_squares
from curate.runs.predictor import mixture_ends

DELTA = 1e-3  # of Huber's loss on log loss, as in both papers
SMALLEST_LOSS = 1e-6  # keeps the logarithm finite while the solver passes through negative losses
MOST_ROWS = 200  # of one curve in a fit. Neighbouring losses are not independent, so that more rows tell little more
BLOCKS = 8  # of consecutive rows in which the residuals of a curve are moved by the bootstrap
CHUNK = 16  # draws that are fitted at a time; this bounds the memory
# Precision of a prior around the start for parameters without a prior. It decides only what the curves do not.
WEAK_PRECISION = 1e-8
SMALLEST_NOISE = 1e-5  # of log loss: keeps the prior above 0 where a law fits exactly
TAIL = 0.3  # share of the steps of a lone curve that is held out
# Rows of a schedule at which the draws are evaluated; between them the relative width of the interval is interpolated.
DRAWN_ROWS = 256
PREDICTED_ROWS = 4096  # rows that are predicted at a time; this bounds the memory
# Steps of the solver in a fit, and in a bootstrap refit, which starts at the solution.
FIT_STEPS, DRAW_STEPS = 200, 20
# Relative change of the objective at which a fit, and a refit, has converged. Draws differ by far more than this.
FIT_TOLERANCE, DRAW_TOLERANCE = 1e-9, 1e-5


@dataclass(frozen=True)
class ScheduleLaw:
    """A law that predicts the loss after each step from the learning rates of all steps so far.

    ``features`` reads (t,) rates, the number of steps that warm up, and n steps; it returns tensors (n, ...), of which
    the first is the area under the rates. ``curve`` returns the (n,) losses from parameters and features. All
    parameters are positive. ``starts`` returns where to start a fit. ``prior`` holds the standard deviations of the
    logarithms of parameters around the start.
    """

    parameters: tuple[str, ...]
    features: Callable[[np.ndarray, int, np.ndarray], tuple[Tensor, ...]]
    curve: Callable[..., Tensor]
    starts: Callable[[float, float, float, float], list[list[float]]]
    prior: Mapping[str, float]


LAWS: Mapping[str, ScheduleLaw] = {
    module.__name__.rpartition(".")[2]: ScheduleLaw(
        module.PARAMETERS, module.features, module.curve, module.starts, module.PRIOR
    )
    for module in (annealing, multi_power)
}


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


@dataclass(frozen=True)
class Curve:
    """The losses (n,) in nats per token at the rows of a schedule, all of them after warming up."""

    schedule: RateSchedule
    loss: np.ndarray

    def take(self, rows: np.ndarray) -> "Curve":
        """Return the curve with these rows, given as positions or as a mask."""
        return Curve(self.schedule.take(rows), self.loss[rows])


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
            beyond = [s for s in schedules if not lowest <= _measures(s)[name] <= high]
            if beyond:
                lines.append(
                    f"extrapolated: {beyond[0].run} has {name} {_measures(beyond[0])[name]:.6g}. Those of the fitted "
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


def fit(
    law: str,
    curves: Sequence[Curve],
    *,
    evaluation: str = "loss",
    params: float | None = None,
    draws: int = 200,
    seed: int = 0,
) -> ScheduleFit:
    """Fit a law of `LAWS` to the curves of one model by Huber's loss on log loss.

    At most 200 rows of each curve are used, evenly spaced.

    Raises:
        FitError: if there are fewer losses than parameters and one more.
    """
    needed = len(LAWS[law].parameters) + 1
    if (losses := sum(len(curve.loss) for curve in curves)) < needed:
        raise FitError(
            f"{losses} losses after warming up cannot determine the {needed - 1} parameters of {law}. Give at least "
            f"{needed} steps"
        )
    thinned = [_thinned(curve) for curve in curves]
    points = _Points.of(law, thinned)
    theta = points.solve()
    residuals = points.residuals(theta)
    degrees = max(1, len(residuals) - needed + 1)
    noise = float(np.sqrt((residuals**2).sum() / degrees))
    drawn = points.redraw(theta, residuals, draws, seed)
    measures = [_measures(curve.schedule) for curve in curves]
    return ScheduleFit(
        law=law,
        eval=evaluation,
        theta=dict(zip(LAWS[law].parameters, theta.exp().tolist(), strict=True)),
        draws=dict(zip(LAWS[law].parameters, drawn.exp().T, strict=True)),
        noise=noise,
        heldout=_heldout(law, thinned, theta, noise),
        curves=len(curves),
        ranges={name: (min(m[name] for m in measures), max(m[name] for m in measures)) for name in measures[0]},
        params=params,
    )


@dataclass(frozen=True)
class _Points:
    """The rows of all curves together: what the law reads of them, their log losses (n,), and their curves (n,)."""

    law: ScheduleLaw
    features: tuple[Tensor, ...]
    target: Tensor
    codes: np.ndarray
    starts: Tensor
    precision: Tensor

    @classmethod
    def of(cls, name: str, curves: Sequence[Curve]) -> "_Points":
        """Return the points of curves, with the starts of a fit."""
        law = LAWS[name]
        parts = [law.features(c.schedule.rates, c.schedule.warmup, c.schedule.steps) for c in curves]
        features = tuple(torch.cat(columns) for columns in zip(*parts, strict=True))
        loss = np.concatenate([curve.loss for curve in curves])
        peak = max(float(curve.schedule.rates.max()) for curve in curves)
        rows = law.starts(float(features[0][0]), float(loss[0]), float(loss.min()), peak)
        return cls(
            law,
            features,
            torch.from_numpy(loss).log(),
            np.repeat(np.arange(len(curves)), [len(curve.loss) for curve in curves]),
            torch.tensor(rows, dtype=torch.float64).log(),
            torch.tensor([law.prior.get(p, np.inf) for p in law.parameters], dtype=torch.float64) ** -2.0,
        )

    def predict(self, u: Tensor, row: least_squares.Rows) -> Tensor:
        """Return the log losses of rows from (k,) logarithms of the parameters."""
        theta = dict(zip(self.law.parameters, u.exp(), strict=True))
        return self.law.curve(theta, *row).clamp_min(SMALLEST_LOSS).log()

    def residuals(self, u: Tensor) -> np.ndarray:
        """Return the (n,) residuals of log loss."""
        return np.asarray(self.target - self.predict(u, self.features))

    def solve(self) -> Tensor:
        """Return the (k,) logarithms of the parameters that fit best, with the prior in proportion to the noise."""
        free = self._solve(self.starts, self.target.expand(len(self.starts), -1), self.starts, 0.0)
        best = free.best
        noise = max(float(np.sqrt((self.residuals(best) ** 2).mean())), SMALLEST_NOISE)
        centre = self.starts[int(free.objective.argmin())]
        # From the first solution and from all starts: the prior may move the optimum to another basin.
        starts = torch.cat([best[None], self.starts])
        return self._solve(starts, self.target.expand(len(starts), -1), centre.expand(len(starts), -1), noise).best

    def redraw(self, u: Tensor, residuals: np.ndarray, draws: int, seed: int) -> Tensor:
        """Return the (b, k) solutions for curves whose residuals were moved in blocks between places and curves."""
        rng = np.random.default_rng(seed)
        fitted = self.predict(u, self.features)
        noise = max(float(np.sqrt((residuals**2).mean())), SMALLEST_NOISE)
        moved = torch.from_numpy(_moved_blocks(residuals, self.codes, draws, rng))
        # Each draw has its own centre from the prior, so that what the curves do not tell stays uncertain.
        spread = torch.where(self.precision > 0, self.precision.clamp_min(1e-12) ** -0.5, 0.0)
        centres = u + spread * torch.from_numpy(rng.standard_normal((draws, len(u))))
        return self._solve(u.expand(draws, -1), fitted + moved, centres, noise, drawn=True).point

    def _solve(
        self, start: Tensor, target: Tensor, centre: Tensor, noise: float, *, drawn: bool = False
    ) -> least_squares.LeastSquaresSolution:
        problems = least_squares.LeastSquaresProblems(
            start=start,
            target=target,
            weights=torch.ones_like(target),
            delta=torch.full((len(start),), DELTA, dtype=torch.float64),
            centre=centre,
            precision=(self.precision * noise**2 + WEAK_PRECISION).expand_as(start),
        )
        steps, tol = (DRAW_STEPS, DRAW_TOLERANCE) if drawn else (FIT_STEPS, FIT_TOLERANCE)
        what = "bootstrap refits" if drawn else "starting points fitted"
        return least_squares.least_squares(
            self.predict, self.features, problems, steps=steps, tol=tol, chunk=CHUNK, what=what
        )


def _moved_blocks(residuals: np.ndarray, codes: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return (b, n) residuals: each curve is filled with blocks of consecutive residuals of randomly chosen curves."""
    counts = np.bincount(codes)
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    result = np.empty((draws, len(residuals)))
    for draw in range(draws):
        filled = []
        for count in counts:
            length = max(1, -(-int(count) // BLOCKS))
            values: list[np.ndarray] = []
            while sum(map(len, values)) < count:
                curve = int(rng.integers(len(counts)))
                start = int(rng.integers(max(1, counts[curve] - length + 1)))
                values.append(residuals[first[curve] + start : first[curve] + min(start + length, counts[curve])])
            filled.append(np.concatenate(values)[:count])
        result[draw] = np.concatenate(filled)
    return result


def _heldout(law: str, curves: Sequence[Curve], theta: Tensor, noise: float) -> float:
    """Return the root mean square error of log loss on held-out rows.

    Each curve is held out in turn; of a lone curve, its last part is.
    """
    pairs = []
    if len(curves) > 1:
        pairs = [([c for c in curves if c is not left_out], left_out) for left_out in curves]
    else:
        last = int(len(curves[0].loss) * (1 - TAIL))
        rows = np.arange(len(curves[0].loss))
        pairs = [([curves[0].take(rows[:last])], curves[0].take(rows[last:]))]
    errors = []
    for kept, left_out in pairs:
        if sum(len(curve.loss) for curve in kept) <= len(theta) or not len(left_out.loss):
            continue
        points = _Points.of(law, kept)
        solution = points._solve(
            (starts := torch.cat([theta[None], points.starts])),
            points.target.expand(len(starts), -1),
            points.starts[:1].expand(len(starts), -1),
            max(noise, SMALLEST_NOISE),
        ).best
        errors.append(float((_Points.of(law, [left_out]).residuals(solution) ** 2).mean()))
    return float(np.sqrt(np.mean(errors))) if errors else noise


def _thinned(curve: Curve) -> Curve:
    """Return at most MOST_ROWS rows of a curve, evenly spaced in its rows."""
    n = len(curve.loss)
    return curve if n <= MOST_ROWS else curve.take(np.linspace(0, n - 1, MOST_ROWS).round().astype(int))


def _measures(schedule: RateSchedule) -> dict[str, float]:
    """Return the number of steps and the peak learning rate of a schedule."""
    return {"steps": float(len(schedule.rates)), "peak rate": float(schedule.rates.max())}
