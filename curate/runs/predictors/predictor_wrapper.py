"""Forward the properties of a predictor, for predictors that change only its losses."""

from collections.abc import Mapping
from dataclasses import dataclass

from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors.predictor import Predictor


@dataclass(frozen=True, eq=False)
class PredictorWrapper:
    """A wrapper around the predictor ``fit`` that forwards everything but its losses."""

    fit: Predictor

    @property
    def eval(self) -> str:
        """The name of the eval whose loss is predicted."""
        return self.fit.eval

    @property
    def differentiable(self) -> bool:
        """Whether the loss has a useful gradient in the weights. If not, a plan searches without one."""
        return self.fit.differentiable

    @property
    def noise(self) -> float:
        """Standard deviation of the log loss of a new run."""
        return self.fit.noise

    @property
    def discrepancy(self) -> Discrepancy | None:
        """What the law leaves open of the level of the loss; None if it was not measured."""
        return self.fit.discrepancy

    @property
    def draw_count(self) -> int:
        """The number b of bootstrap draws."""
        return self.fit.draw_count

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names, in the order of the recipes' columns."""
        return self.fit.pools

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params, epochs and shares of the fitted runs."""
        return self.fit.ranges
