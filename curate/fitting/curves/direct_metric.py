"""Predict a metric in one step: a law over recipes is fitted to the metric itself, for tables without losses.

Laws describe quantities that are positive, fall with more training, and err in proportion to their size. So an error
rate e is fitted as its odds e / (1 - e). The logarithm of the odds is the logit, so the errors that the fit weighs are
those of the logit, and predictions lie between 0 and 1. An accuracy is turned into an error first. Other positive
metrics, such as bits per byte, are fitted as they are.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.fitting.curves.metric_columns import PREFIX
from curate.fitting.curves.metric_curve import Better
from curate.runs import fitted_size
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

Kind: TypeAlias = Literal["error", "accuracy", "positive"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class DirectMetric:
    """A metric as a function of recipes, by a law that was fitted to it. ``predictor`` predicts what the law models.

    The methods are those of `curate.runs.predictors.predictor.MetricPredictor`.
    """

    kind: Kind
    predictor: Predictor

    @property
    def name(self) -> str:
        """The name of the metric: the column ``metric.<name>`` of the run table."""
        return self.predictor.eval.removeprefix(PREFIX)

    @property
    def better(self) -> Better:
        """Whether a lower or a higher value is better."""
        return "higher" if self.kind == "accuracy" else "lower"

    @property
    def reads(self) -> str:
        """What the law reads, in words."""
        return "the recipe"

    @property
    def flat(self) -> str | None:
        """None: a law over recipes has no curve from loss to metric that could be flat."""
        return None

    @property
    def loss(self) -> Predictor:
        """What the law models: the odds of an error, or the metric itself. Its lowest value gives the best metric."""
        return self.predictor

    def values(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted values of the metric, differentiable in the recipes."""
        return from_odds(self.predictor.loss(recipes), self.kind)

    def draw_values(self, recipes: Recipes) -> Tensor:
        """Return (b, n) values in every bootstrap draw."""
        return from_odds(self.predictor.draw_losses(recipes), self.kind)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the low (n,) and high (n,) ends of the metric that a new run would show."""
        low, high = (from_odds(end, self.kind) for end in self.predictor.interval(recipes, level))
        return (high, low) if self.kind == "accuracy" else (low, high)

    def run_deviation(self, recipes: Recipes) -> Tensor:
        """Return (n,) standard deviations by which the metric differs between two runs of one recipe, over root 2."""
        modelled = self.predictor.loss(recipes).detach()
        deviation = fitted_size.relative_run_deviation(self.predictor, recipes)
        ends = [from_odds(modelled * shift.exp(), self.kind) for shift in (deviation, -deviation)]
        return (ends[0] - ends[1]).abs() / 2

    def warnings(self, recipes: Recipes) -> tuple[str, ...]:
        """Return what the losses of a plan are. The reasons to doubt a prediction are those of the law itself."""
        modelled = f"metric.{self.name}" if self.kind == "positive" else f"odds e / (1 - e) with {self.error}"
        return (
            f"the law was fitted to metric.{self.name}, so each loss and gain of this plan is in {modelled} instead of "
            "nats per token",
        )

    @property
    def error(self) -> str:
        """The error rate whose odds the law models, in words."""
        return f"e = metric.{self.name}" if self.kind == "error" else f"e = 1 - metric.{self.name}"


def to_odds(values: np.ndarray, kind: Kind) -> np.ndarray:
    """Return what a law models of (n,) values of a metric: the odds of an error, or the values themselves."""
    if kind == "positive":
        return values
    error = values if kind == "error" else 1 - values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(error / (1 - error))


def from_odds(modelled: Tensor, kind: Kind) -> Tensor:
    """Return the values of a metric from what a law models; the inverse of `to_odds`."""
    if kind == "positive":
        return modelled
    return modelled / (1 + modelled) if kind == "error" else 1 / (1 + modelled)


def in_words(kind: Kind, name: str) -> str:
    """Return what the numbers of a fitted law mean for this metric, in a sentence."""
    if kind == "positive":
        return f"The law predicts metric.{name} itself. Lower is better."
    rate = f"metric.{name}" if kind == "error" else f"1 - metric.{name}"
    return (
        f"The law predicts the odds e / (1 - e) of the error rate e = {rate}. The errors and parameters above "
        "are of these odds. If e is near 0.5, an error of 1% in the odds is an error of 0.0025 in e. "
        "`curate predict` and `curate plan` give the metric itself."
    )


def measured_and_predicted(points: pl.DataFrame, kind: Kind) -> pl.DataFrame:
    """Return the points of a fit with measured and predicted values of the metric instead of what the law models."""
    columns = [
        pl.Series(name, from_odds(torch.from_numpy(points[name].to_numpy().copy()), kind).numpy())
        for name in ("measured", "predicted")
    ]
    return points.with_columns(columns)
