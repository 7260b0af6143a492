"""The forms of curves of a downstream metric, in parameters that suit the solver."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from curate.fitting.curves.downstream import KINDS
from curate.fitting.solver import least_squares
from curate.fitting.solver.coordinates import Coordinates
from curate.laws import Param

# ``likely`` spans the published constants and about a factor of two beyond. The metric is standardised before the fit
# (see `StandardisedForm`), so its unit does not matter.
LOSS_PARAMS = (
    Param("eps", -100.0, 100.0, likely=(-2.0, 4.0), positive=False),
    Param("size", 1e-4, 1e4, likely=(0.3, 3.0)),
)
GAMMA = Param("gamma", 1e-3, 20.0, likely=(0.4, 1.4), per_pool=True)
TYPICAL_GAMMA = 0.75  # the median of the published values
OTHER_PARAMS: Mapping[str, tuple[Param, ...]] = {
    "translation": (
        Param("A", 1e-12, 1e12, likely=(1e-3, 1e3)),
        Param("alpha", 0.01, 20.0, likely=(0.3, 3.0)),
        Param("beta", 0.05, 10.0, likely=(0.5, 2.0)),
    ),
    "accuracy": (
        Param("g", 1e-3, 0.9, likely=(0.02, 0.4)),
        Param("a", 1e-3, 1e3, likely=(0.1, 10.0)),
        Param("b", 0.05, 3.0, likely=(0.2, 1.0)),
        Param("c", 1e-4, 5.0, likely=(0.02, 0.5)),
    ),
}

Theta = dict[str, Tensor]


@dataclass(frozen=True)
class StandardisedForm:
    """A form of curve, written in standardised parameters for the solver.

    A curve of losses is y = middle + unit (sign eps - sign size exp(-gamma (L - centre))). Written like this, the
    parameters are nearly independent of each other and do not depend on the unit of the metric. ``sign`` is 1 for an
    error and -1 for an accuracy. ``centre`` (e,) are the mean losses of the runs.
    """

    kind: str
    sign: float
    middle: float
    unit: float
    centre: Tensor

    @cached_property
    def coordinates(self) -> Coordinates:
        """The coordinates of the parameters in which the solver works."""
        evals = len(self.centre)
        if self.kind != "error":
            return Coordinates(OTHER_PARAMS[self.kind], 0)
        # With e losses each prior is divided by e, so that the gammas sum to what one gamma would be.
        low, high = GAMMA.likely
        return Coordinates((*LOSS_PARAMS, replace(GAMMA, likely=(low / evals, high / evals))), evals)

    def theta(self, u: Tensor) -> Theta:
        """Return the parameters of the published form at coordinates ``u`` (k,)."""
        theta = self.coordinates.theta(u)
        if self.kind != "error":
            return theta
        gamma, signed = theta["gamma"], self.sign * self.unit
        k = signed * theta["size"] * torch.exp((gamma * self.centre).sum())
        return {"eps": self.middle + signed * theta["eps"], "k": k, "gamma": gamma}

    def predict(self, u: Tensor, row: least_squares.Rows) -> Tensor:
        """Return the metric at one row of x (e,), for coordinates ``u`` (k,)."""
        if self.kind != "error":
            return KINDS[self.kind].function(self.coordinates.theta(u), row[0][0])
        theta = self.coordinates.theta(u)
        fall = torch.exp(-(theta["gamma"] * (row[0] - self.centre)).sum())
        return self.middle + self.sign * self.unit * (theta["eps"] - theta["size"] * fall)


def forms_of(kind: str, x: Tensor, metric: Tensor) -> tuple[StandardisedForm, ...]:
    """Return the forms to fit to the metric (n,) at x (n, e). One of them will fit best."""
    if kind != "error":
        return (StandardisedForm(kind, 1.0, 0.0, 1.0, x.mean(dim=0)),)
    # The size of the exponential at which the curve has a typical slope over the range of the mean loss.
    spread = metric.std() / (TYPICAL_GAMMA * x.mean(dim=1).std()).clamp_min(1e-12)
    unit = max(float(spread), 1e-12)
    # The slope decides between an error and an accuracy: both are fitted.
    return tuple(StandardisedForm(kind, sign, float(metric.mean()), unit, x.mean(dim=0)) for sign in (1.0, -1.0))


def size(kind: str, evals: int) -> int:
    """Return the number of parameters of a curve."""
    return len(LOSS_PARAMS) + evals if kind == "error" else len(OTHER_PARAMS[kind])
