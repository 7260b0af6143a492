"""The points that the curve of a downstream metric is fitted to, and the checks that they can determine it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curate.errors import FitError
from curate.fitting.curves.downstream import KINDS
from curate.fitting.curves.standardised_form import size


@dataclass(frozen=True)
class MetricPoints:
    """The n points that a curve is fitted to: ``x`` (n, e), ``metric`` (n,) and codes of trainings ``clusters`` (n,).

    NaN stands for what was not measured. ``on`` are the e evals of x, empty if x is tokens or FLOPs.
    """

    name: str
    kind: str
    on: tuple[str, ...]
    x: np.ndarray
    metric: np.ndarray
    clusters: np.ndarray

    @cached_property
    def measured(self) -> np.ndarray:
        """(n,) bool: the rows that have both x and the metric."""
        return np.asarray(np.isfinite(self.x).all(axis=1) & np.isfinite(self.metric))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of x: the evals, or ``tokens`` or ``flops``."""
        return self.on or (KINDS[self.kind].x,)

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the columns of x as a run table has them."""
        return tuple(f"loss.{name}" for name in self.on) or self.columns


def check(points: MetricPoints) -> None:
    """Check that the rows can determine a curve; raise FitError if not."""
    n, k = int(points.measured.sum()), size(points.kind, points.x.shape[1])
    what = f"metric.{points.name} and {' and '.join(points.titles)}"
    if n <= k:
        raise FitError(
            f"only {n} rows have {what}: too few for a curve of {k} parameters. Give at least {k + 1} such rows"
        )
    x, metric = points.x[points.measured], points.metric[points.measured]
    if np.ptp(metric) == 0:
        raise FitError(
            f"metric.{points.name} is {metric[0]:.4g} in all {n} rows: there is nothing to predict. Leave it out"
        )
    for title, column in zip(points.titles, x.T, strict=True):
        if np.ptp(column) == 0:
            raise FitError(
                f"all {n} rows with metric.{points.name} have the same {title}, {column[0]:.4g}, so no curve over it "
                "can be fitted. Give runs that differ in it"
            )
    if points.kind != "error" and (x <= 0).any():
        raise FitError(f"{points.titles[0]} must be positive in every row that has metric.{points.name}")
    if points.kind == "accuracy" and (metric.min() < 0 or metric.max() > 1):
        raise FitError(
            f"kind=accuracy needs values from 0 to 1, but metric.{points.name} goes from {metric.min():.4g} to "
            f"{metric.max():.4g}. Divide percentages by 100"
        )
