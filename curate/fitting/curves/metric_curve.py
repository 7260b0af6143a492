"""Hold a fitted curve of a downstream metric: its values, its intervals, and where it does not hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl
import torch
from torch import Tensor

from curate.fitting.curves.downstream import KINDS, metric_values
from curate.runs.predictors.intervals import holding, mixture_ends

NEAR = 1e-3  # nats: an input that is this close to the fitted range counts as inside

Better: TypeAlias = Literal["lower", "higher"]


@dataclass(frozen=True, repr=False)
class MetricCurve:
    """A fitted curve from x (n, e) to a metric (n,): losses of e evals, or one column of tokens or FLOPs.

    Attributes:
        name: the metric, the column ``metric.<name>`` of the run table.
        kind: one of `downstream.KINDS`.
        on: the e evals whose losses a curve of kind ``error`` reads; empty for the other kinds.
        theta: the parameters. A curve of losses has ``gamma`` (e,), one for each eval.
        draws: b bootstrap copies of the parameters (leading axis b).
        rmse: root mean square of the residuals, in the unit of the metric.
        noise: standard deviation of the metric of a new run around the curve, among the fitted runs.
        explained: share of the variance of the metric that the curve explains.
        rows: number of runs that were fitted.
        ranges: smallest and largest x of these runs, by eval (or ``tokens`` or ``flops``).
        reach: smallest and largest `position` of these runs; None in older files.
        drift: how fast the scatter around the curve grows outside ``reach``. The variance grows by drift^2 for each
            unit of distance (1 nat, or 1 in the logarithm of tokens or FLOPs). It is estimated by holding out the runs
            with the lowest losses.
        flat: the reason if the runs do not determine how the metric depends on x, else None.
        misaligned: the reason if the metric does not seem to follow x, else None.
        bounds: the lowest and highest value of a rate, which predictions do not leave; None if the metric is no rate.
    """

    name: str
    kind: str
    on: tuple[str, ...]
    theta: Mapping[str, Tensor]
    draws: Mapping[str, Tensor]
    rmse: float
    noise: float
    explained: float
    rows: int
    ranges: Mapping[str, tuple[float, float]]
    reach: tuple[float, float] | None = None
    drift: float = 0.0
    flat: str | None = None
    misaligned: str | None = None
    bounds: tuple[float, float] | None = None

    def __repr__(self) -> str:
        """Return the metric, its direction and its error on one line."""
        return f"MetricCurve({self.name} from {self.x}, {self.better} is better; noise {self.noise:.4g})"

    @property
    def x(self) -> str:
        """The input of the curve, in words, such as ``loss.c4`` or ``tokens``."""
        return " and ".join(f"loss.{name}" for name in self.on) or KINDS[self.kind].x

    @property
    def better(self) -> Better:
        """Whether a lower or a higher metric is better. A metric that rises with the loss is an error."""
        return "lower" if self.kind == "error" and float(self.theta["k"]) > 0 else "higher"

    @property
    def draw_count(self) -> int:
        """The number b of bootstrap draws."""
        return len(next(iter(self.draws.values())))

    def metric(self, x: Tensor) -> Tensor:
        """Return the (n,) predicted values of the metric at x (n, e)."""
        return self._bounded(metric_values(self.kind, self.theta, x))

    def draw_metrics(self, x: Tensor) -> Tensor:
        """Return the (b, n) values of all bootstrap draws. x is (n, e), or (b, n, e) with values for each draw."""
        draws = dict(self.draws)
        if x.ndim == 2:
            values = torch.func.vmap(lambda theta: metric_values(self.kind, theta, x))(draws)
            return self._bounded(values)
        count = max(len(x), self.draw_count)
        # If the numbers of draws differ, the shorter series is repeated from its first draw.
        draws = {name: values[torch.arange(count) % self.draw_count] for name, values in draws.items()}
        paired = x[torch.arange(count) % len(x)]
        drawn = torch.func.vmap(lambda theta, losses: metric_values(self.kind, theta, losses))(draws, paired)
        return self._bounded(drawn)

    def interval(self, x: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the (n,) low and high ends of the metric of a new run whose x (n, e) was measured."""
        draws = self.draw_metrics(x)
        return holding(self.ends(draws, self.scatter(x).expand_as(draws), level), self.metric(x).detach())

    def ends(self, draws: Tensor, deviation: Tensor, level: float) -> tuple[Tensor, Tensor]:
        """Return the (n,) ends of an interval, from draws (b, n) of the metric and deviations (b, n) around them."""
        low, high = mixture_ends(draws, deviation, level)
        return self._bounded(low), self._bounded(high)

    def _bounded(self, values: Tensor) -> Tensor:
        """Return values of the metric inside its bounds."""
        return values if self.bounds is None else values.clamp(*self.bounds)

    def scatter(self, x: Tensor) -> Tensor:
        """Return the (n,) standard deviations of a new run's metric around the curve at x (n, e).

        Outside the range of the fitted runs the variance grows in proportion to the distance, as in a random walk.
        """
        if self.reach is None:
            return torch.full((len(x),), self.noise, dtype=torch.float64)
        place = self.position(x)
        outside = (self.reach[0] - place).clamp_min(0) + (place - self.reach[1]).clamp_min(0)
        return (self.noise**2 + self.drift**2 * outside).sqrt()

    def position(self, x: Tensor) -> Tensor:
        """Return where x (n, e) lies along the curve, (n,): the weighted mean loss, or the logarithm of x."""
        return position(self.kind, self.weights[0], x)

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """The (e,) weights of the mean loss on which the metric depends, and those of each draw (b, e)."""
        if self.kind != "error":
            return torch.ones(1, dtype=torch.float64), torch.ones(self.draw_count, 1, dtype=torch.float64)
        gamma, drawn = self.theta["gamma"], self.draws["gamma"]
        return gamma / gamma.sum(), drawn / drawn.sum(dim=1, keepdim=True)

    def outside(self, x: Tensor) -> list[str]:
        """Return one line for each end of the fitted range, if values of x (n, e) lie beyond it."""
        lines = []
        for (name, (low, high)), column in zip(self.ranges.items(), x.T, strict=False):
            title = f"loss.{name}" if self.kind == "error" else name
            slack = NEAR if self.kind == "error" else NEAR * high
            ends = (
                (column < low - slack, column.min(), low, "lowest"),
                (column > high + slack, column.max(), high, "highest"),
            )
            for beyond, farthest, end, word in ends:
                if bool(beyond.any()):
                    count = f" ({int(beyond.sum())} of {len(x)} runs)" if len(x) > 1 else ""
                    side = "below" if word == "lowest" else "above"
                    lines.append(
                        f"extrapolated: {title} {float(farthest):.4g} is {side} {end:.4g}, the {word} value "
                        f"in the fit of metric.{self.name}{count}"
                    )
        return lines

    def warnings(self, x: Tensor) -> tuple[str, ...]:
        """Return the reasons to doubt predictions at x (n, e), and to doubt the curve itself."""
        doubts = (self._out_of_bounds(x), self.flat, self.misaligned)
        return (*self.outside(x), *(doubt for doubt in doubts if doubt is not None))

    def _out_of_bounds(self, x: Tensor) -> str | None:
        """Return a line if the curve leaves the bounds of the metric at some x (n, e), else None."""
        if self.bounds is None:
            return None
        values = metric_values(self.kind, self.theta, x)
        beyond = values - values.clamp(*self.bounds)
        if not bool(beyond.any()):
            return None
        farthest = int(beyond.abs().argmax())
        end = self.bounds[int(beyond[farthest] > 0)]
        count = f" ({int((beyond != 0).sum())} of {len(x)} runs)" if len(x) > 1 else ""
        return (
            f"out of range: the curve of metric.{self.name} reaches {float(values[farthest]):.4g}, and a rate ends at "
            f"{end:g}. The curve does not hold there, and {end:g} is written instead{count}"
        )

    def summary(self) -> dict[str, object]:
        """Return the input of the curve, its direction, and how well it fits."""
        return {
            "metric": self.name,
            "from": self.x,
            "better": self.better,
            "noise": self.noise,
            "explained": self.explained,
            "rows": self.rows,
        }

    def parameter_rows(self) -> pl.DataFrame:
        """Return one row for each parameter: param, value, and the ends low and high of 90 % of the draws."""
        tails = torch.tensor([0.05, 0.95], dtype=torch.float64)
        rows = []
        for name, values in self.theta.items():
            draws = self.draws[name].reshape(self.draw_count, -1)
            titles = [f"{name}[{on}]" for on in self.on] if len(self.on) > 1 and values.ndim else [name]
            for i, (title, value) in enumerate(zip(titles, values.reshape(-1).tolist(), strict=True)):
                low, high = torch.quantile(draws[:, i], tails).tolist()
                rows.append({"param": title, "value": value, "low": low, "high": high})
        return pl.DataFrame(rows)


def position(kind: str, weights: Tensor, x: Tensor) -> Tensor:
    """Return where x (n, e) lies along a curve, (n,): the mean loss with ``weights`` (e,), or the logarithm of x."""
    return x @ weights if kind == "error" else x[:, 0].log()
