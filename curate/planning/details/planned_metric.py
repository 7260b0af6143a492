"""Predict a downstream metric of a plan, such as an error rate, in addition to its loss.

In: a predictor of the metric, pools, a budget and a mixture. Out: `PlannedMetric`, a part of `Plan`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from curate.errors import SchemaError
from curate.planning import search
from curate.pool import baselines
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.intervals import holding, mixture_ends
from curate.runs.predictors.predictor import MetricPredictor, Predictor

PREFIX = "metric."  # a target with this prefix is a metric
LEVEL = 0.9  # probability that a gain lies within its interval
Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class PlannedMetric:
    """The predicted metric of a plan. Intervals hold 90 %.

    Attributes:
        name: the metric, the column ``metric.<name>`` of the run table.
        better: ``lower`` for an error, ``higher`` for an accuracy.
        value, low, high: predicted metric, with the interval of a new run.
        gains: (gain, low, high) by baseline, in the unit of the metric: of the difference between two new runs, paired
            over the draws of the laws. A gain above 0 means that the plan is better than the baseline, for errors and
            accuracies alike.
        warnings: reasons to doubt the prediction.
    """

    name: str
    better: str
    value: float
    low: float
    high: float
    gains: Mapping[str, Interval]
    warnings: tuple[str, ...]

    @property
    def gain(self) -> Interval:
        """Gain over size-proportional sampling: value, low, high."""
        return self.gains["proportional"]

    def to_json(self) -> dict[str, object]:
        """Return the field ``metric`` of one plan in plan.json."""
        gain, low, high = self.gain
        return {
            "name": self.name,
            "better": self.better,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "gain": gain,
            "gain_low": low,
            "gain_high": high,
            "gains": {name: list(values) for name, values in self.gains.items()},
        }


def planned(
    metric: MetricPredictor, fit: Predictor, pools: Sequence[Pool], budget: Budget, weights: Mapping[str, float]
) -> PlannedMetric:
    """Return the metric of a mixture at one budget. ``fit`` gives the order of the pools."""
    ordered = search.match(fit, pools)
    mixtures = baselines.baselines(ordered, budget.tokens)
    plan = torch.tensor([weights[pool.name] for pool in ordered], dtype=torch.float64)
    # The plan comes first, then the baselines.
    recipes = search.on_hand(ordered, [budget], torch.stack([plan, *(torch.from_numpy(w) for w in mixtures.values())]))
    values, draws = metric.values(recipes), metric.draw_values(recipes)
    own = recipes.take(torch.tensor([0]))
    low, high = metric.interval(own)
    sign = 1.0 if metric.better == "lower" else -1.0
    deviation = metric.run_deviation(recipes)
    differences = sign * (draws[:, 1:] - draws[:, :1])
    of_two_runs = torch.hypot(deviation[1:], deviation[0]).expand_as(differences)
    gain = sign * (values[1:] - values[0])
    ends = holding(mixture_ends(differences, of_two_runs, LEVEL), gain)
    gains = gain.tolist(), *(end.tolist() for end in ends)
    return PlannedMetric(
        name=metric.name,
        better=metric.better,
        value=float(values[0]),
        low=float(low),
        high=float(high),
        gains=dict(zip(mixtures, zip(*gains, strict=True), strict=True)),
        warnings=metric.warnings(own),
    )


def target_loss(metric: MetricPredictor) -> Predictor:
    """Return the mean loss to minimise for the best metric. The metric always rises, or always falls, with this loss.

    Raises:
        SchemaError: if the metric is not predicted from a loss, or the runs do not determine the direction.
    """
    loss = metric.loss
    if loss is None:
        raise SchemaError(
            f"metric.{metric.name} is predicted from {metric.reads}, which does not depend on the mixture. Choose "
            "another --target"
        )
    if metric.flat is not None:
        raise SchemaError(f"{metric.flat}. Choose another --target, or add runs that differ more")
    return loss
