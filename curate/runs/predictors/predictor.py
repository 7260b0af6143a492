"""Define what planning needs of a fit of losses, and of a fit of a downstream metric."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from curate.runs.discrepancy import Discrepancy
from curate.runs.recipes import Recipes


class Predictor(Protocol):
    """The interface that planning requires of a fit.

    It predicts the losses of recipes over ``pools``, with bootstrap draws and intervals.
    """

    @property
    def eval(self) -> str:
        """The name of the eval whose loss is predicted: the column ``loss.<eval>`` of the run table."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether the loss has a useful gradient in the weights. If not, a plan searches without one."""
        ...

    @property
    def noise(self) -> float:
        """Standard deviation of the log loss of a new run."""
        ...

    @property
    def discrepancy(self) -> Discrepancy | None:
        """What the laws leave open of the level of the loss; None if it was not measured."""
        ...

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names, in the order of the recipes' columns."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params and epochs of the runs that were fitted."""
        ...

    @property
    def draw_count(self) -> int:
        """The number b of bootstrap draws."""
        ...

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses in nats per token."""
        ...

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses of every draw, for differences between recipes.

        The draws differ by the law and by its parameters, not by the shift that all runs of a size share.
        """
        ...

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted losses: recipe i by the bootstrap draw of index ``draws[i]``.

        ``draws`` is (n,). The loss of recipe i is ``draw_losses(recipes)[draws[i] % draw_count, i]``: after the last
        draw, the index starts again at the first.
        """
        ...

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high ends of the loss that a new run would show."""
        ...


class MetricPredictor(Protocol):
    """The interface that planning requires of a downstream metric, such as an error rate.

    It predicts the metric of recipes from the losses of a fit, with bootstrap draws and intervals.
    """

    @property
    def name(self) -> str:
        """The name of the metric: the column ``metric.<name>`` of the run table."""
        ...

    @property
    def better(self) -> str:
        """Which values are better: ``lower`` or ``higher``."""
        ...

    @property
    def reads(self) -> str:
        """The input from which the metric is predicted, in words, such as ``loss.c4``."""
        ...

    @property
    def flat(self) -> str | None:
        """The reason if the runs do not determine how the metric depends on the loss, else None."""
        ...

    @property
    def loss(self) -> Predictor | None:
        """The mean loss whose lowest value gives the best metric, or None if the metric does not depend on a loss."""
        ...

    def values(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted values of the metric."""
        ...

    def draw_values(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted values in every bootstrap draw."""
        ...

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high ends of the metric that a new run would show."""
        ...

    def run_deviation(self, recipes: Recipes) -> Tensor:
        """Return (n,) standard deviations by which the metric differs between two runs of one recipe, over root 2."""
        ...

    def warnings(self, recipes: Recipes) -> tuple[str, ...]:
        """Return one line for each reason to doubt the predictions of these recipes, with the numbers."""
        ...
