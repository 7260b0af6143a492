"""Predict a metric in two steps: laws predict losses from recipes, and a curve predicts the metric from the losses."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.fitting.curves.metric_curve import Better, MetricCurve
from curate.runs import fitted_size
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.intervals import holding, level_deviation
from curate.runs.predictors.paired_draws import stacked_draws
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

CHUNK = 1024  # recipes whose intervals are computed at a time; this bounds the memory


@dataclass(frozen=True)
class ChainedMetric:
    """A metric as a function of recipes. ``parts`` predict the losses that ``curve`` reads, in the order of the curve.

    The methods are those of `curate.runs.predictors.predictor.MetricPredictor`.
    """

    curve: MetricCurve
    parts: tuple[Predictor, ...]

    @property
    def name(self) -> str:
        """The name of the metric: the column ``metric.<name>`` of the run table."""
        return self.curve.name

    @property
    def better(self) -> Better:
        """Whether a lower or a higher value is better."""
        return self.curve.better

    @property
    def reads(self) -> str:
        """What the curve reads, in words."""
        return self.curve.x

    @property
    def flat(self) -> str | None:
        """The reason if the runs do not determine how the metric depends on the loss, else None."""
        return self.curve.flat

    @property
    def loss(self) -> Predictor | None:
        """The weighted mean loss on which the metric depends, or None if it depends on tokens or compute alone.

        The weights come from the curve. The mixture with the lowest mean loss has the best metric.
        """
        if not self.parts:
            return None
        if len(self.parts) == 1:
            return self.parts[0]
        weights, drawn = self.curve.weights
        return Blend(self.parts, tuple(weights.tolist()), f"losses of {self.name}", drawn)

    def values(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted values of the metric, differentiable in the recipes."""
        return self.curve.metric(self._x(recipes))

    def draw_values(self, recipes: Recipes) -> Tensor:
        """Return (b, n) values in every bootstrap draw: each draw has its own laws and its own curve."""
        if not self.parts:
            return self.curve.draw_metrics(self._x(recipes))
        return self.curve.draw_metrics(stacked_draws(self.parts, recipes).movedim(0, -1))

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the low (n,) and high (n,) ends of the metric that a new run would show.

        The interval covers the uncertainty of the laws and of the curve, the noise of a run's loss, and the scatter of
        the metric around the curve.
        """
        parts = [self._interval(recipes.take(rows), level) for rows in torch.split(torch.arange(len(recipes)), CHUNK)]
        low, high = zip(*parts, strict=True)
        return torch.cat(low), torch.cat(high)

    def run_deviation(self, recipes: Recipes) -> Tensor:
        """Return (n,) standard deviations of a new run's metric: by the noise of its losses, and around the curve.

        What shifts the losses or the curve alike for all recipes is not part of it.
        """
        x = self._x(recipes).detach()
        deviation = torch.full((len(x),), self.curve.noise, dtype=torch.float64)
        if not self.parts:
            return deviation
        noise = torch.stack([fitted_size.relative_run_deviation(part, recipes) for part in self.parts], dim=1)  # (n, e)
        moved = (self.curve.metric(x * torch.exp(noise)) - self.curve.metric(x * torch.exp(-noise))) / 2
        return torch.hypot(moved, deviation)

    def warnings(self, recipes: Recipes) -> tuple[str, ...]:
        """Return a line for each loss outside the range of the fitted runs, and reasons to doubt the curve itself."""
        return self.curve.warnings(self._x(recipes))

    def _x(self, recipes: Recipes) -> Tensor:
        """Return the inputs of the curve for n recipes: (n, e) losses, or (n, 1) tokens or FLOPs."""
        if self.parts:
            return torch.stack([part.loss(recipes) for part in self.parts], dim=1)
        tokens = recipes.tokens[:, None]
        return tokens if self.curve.kind == "translation" else 6 * tokens * recipes.params[:, None]

    def _interval(self, recipes: Recipes, level: float) -> tuple[Tensor, Tensor]:
        x = self._x(recipes)
        if not self.parts:
            return self.curve.interval(x, level)
        noise = torch.stack([level_deviation(part, recipes) for part in self.parts], dim=1)  # (n, e)
        losses = stacked_draws(self.parts, recipes).movedim(0, -1)  # (b, n, e)
        # The change of the metric when the levels of the losses change by one standard deviation. That of all evals is
        # perfectly correlated, as in a blend: a bad run is bad on all of them.
        worse = self.curve.draw_metrics(losses * torch.exp(noise))
        moved = (worse - self.curve.draw_metrics(losses * torch.exp(-noise))) / 2
        deviation = (moved**2 + self.curve.scatter(x) ** 2).sqrt()
        ends = self.curve.ends(self.curve.draw_metrics(losses), deviation, level)
        return holding(ends, self.curve.metric(x).detach())


def chain(curve: MetricCurve, fit: Predictor, source: str) -> ChainedMetric:
    """Return the metric of ``curve`` as a function of recipes; ``source`` names the fit in an error message.

    Raises:
        SchemaError: if the fit does not predict a loss that the curve reads.
    """
    available: Mapping[str, Predictor] = fit.parts() if isinstance(fit, Blend) else {fit.eval: fit}
    if missing := [name for name in curve.on if name not in available]:
        raise SchemaError(
            f"metric.{curve.name} is predicted from {curve.x}, but {source} has no law for loss.{missing[0]}. Fit law "
            f"and curve together: curate fit RUNS --law LAW --eval {','.join(curve.on)} --metric {curve.name}"
        )
    return ChainedMetric(curve, tuple(available[name] for name in curve.on))
