"""From loss, tokens or compute to what a user measures: an error rate, translation quality, accuracy of a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting import least_squares
from curate.fitting.coordinates import Coordinates
from curate.laws import Param

# Average top-1 error over 46 and 17 tasks from C4-eval loss (Gadre et al. 2024, arXiv 2403.08540), by training corpus.
PUBLISHED = {
    46: {
        "c4": {"k": 1.289, "gamma": 0.972, "eps": 0.759},
        "redpajama": {"k": 1.323, "gamma": 0.891, "eps": 0.761},
        "refinedweb": {"k": 1.128, "gamma": 0.822, "eps": 0.768},
    },
    17: {
        "c4": {"k": 2.079, "gamma": 0.756, "eps": 0.850},
        "redpajama": {"k": 2.206, "gamma": 0.715, "eps": 0.857},
        "refinedweb": {"k": 2.215, "gamma": 0.707, "eps": 0.865},
    },
}
NOISE = 0.01  # of the metric, in its own unit: how firmly the priors hold
FOLLOWS = 0.5  # a curve that explains a smaller share of the variance says that the metric does not follow it
PLAIN = 1e3  # Huber's delta: beyond any residual of a metric, so that this is plain least squares


def error(theta: Mapping[str, Tensor | float], loss: Tensor) -> Tensor:
    """Return the (n,) error rates eps - k exp(-gamma L) at (n,) losses in nats per token (arXiv 2403.08540)."""
    return theta["eps"] - theta["k"] * torch.exp(-theta["gamma"] * loss)


def translation(theta: Mapping[str, Tensor | float], tokens: Tensor) -> Tensor:
    """Return the (n,) BLEU scores (ln(A D^alpha))^beta after (n,) pretraining tokens D (arXiv 2402.04177).

    It is 0 below D^alpha = 1/A. A BLEU that does not follow this, in particular one that falls, says that the
    pretraining data do not fit the task.
    """
    grown = torch.log(torch.as_tensor(theta["A"], dtype=torch.float64)) + theta["alpha"] * tokens.log()
    return torch.where(grown > 0, grown.clamp_min(1e-12) ** theta["beta"], 0.0)


def accuracy(theta: Mapping[str, Tensor | float], flops: Tensor) -> Tensor:
    """Return the (n,) accuracies g + (1 - g) exp(-a C^-b - c) at (n,) compute (COD, arXiv 2502.17262v4).

    g is the accuracy of guessing, exp(-c) the best that such a model reaches. C is in 1e21 FLOPs.
    """
    g = theta["g"]
    return g + (1 - g) * torch.exp(-theta["a"] * (flops / 1e21) ** -theta["b"] - theta["c"])


@dataclass(frozen=True)
class MetricKind:
    """A form of curve: its function of x, its parameters, and what x is."""

    function: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    params: tuple[Param, ...]
    x: str


# ``likely`` spans the published constants.
KINDS: Mapping[str, MetricKind] = {
    "error": MetricKind(
        error,
        (
            Param("eps", 0.01, 2.0, likely=(0.75, 0.9)),
            Param("k", 0.01, 100.0, likely=(1.0, 3.0)),
            Param("gamma", 0.05, 5.0, likely=(0.5, 1.1)),
        ),
        "loss",
    ),
    "translation": MetricKind(
        translation,
        (
            Param("A", 1e-12, 1e12, likely=(1e-3, 1e3)),
            Param("alpha", 0.01, 20.0, likely=(0.3, 3.0)),
            Param("beta", 0.05, 10.0, likely=(0.5, 2.0)),
        ),
        "tokens",
    ),
    "accuracy": MetricKind(
        accuracy,
        (
            Param("g", 1e-3, 0.9, likely=(0.02, 0.4)),
            Param("a", 1e-3, 1e3, likely=(0.1, 10.0)),
            Param("b", 0.05, 3.0, likely=(0.2, 1.0)),
            Param("c", 1e-4, 5.0, likely=(0.02, 0.5)),
        ),
        "flops",
    ),
}


@dataclass(frozen=True, repr=False)
class MetricCurve:
    """A fitted curve from x to a metric.

    ``theta`` holds its parameters, ``draws`` (b, each) their bootstrap copies. ``rmse`` is in the metric's unit,
    ``explained`` a share of variance; ``misaligned`` says why the data do not seem to serve the task, or is None.
    ``on`` names the loss that a curve of kind ``error`` reads.
    """

    kind: str
    theta: Mapping[str, Tensor]
    draws: Mapping[str, Tensor]
    rmse: float
    explained: float
    misaligned: str | None
    on: str | None = None

    def __repr__(self) -> str:
        """Return the kind, the parameters and the error on one line."""
        values = ", ".join(f"{name} {float(value):.4g}" for name, value in self.theta.items())
        return f"MetricCurve({self.kind}: {values}; rmse {self.rmse:.4g})"

    def metric(self, x: Tensor) -> Tensor:
        """Return the (n,) predicted values of the metric."""
        return KINDS[self.kind].function(self.theta, x)

    def interval(self, x: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high ends: the curve over the bootstrap draws, and its residual scatter around."""
        values = torch.func.vmap(lambda theta: KINDS[self.kind].function(theta, x))(dict(self.draws))
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = torch.quantile(values, tails, dim=0)
        return low - self.rmse, high + self.rmse


def fit(
    kind: str, x: np.ndarray, metric: np.ndarray, *, starts: int = 32, draws: int = 200, seed: int = 0
) -> MetricCurve:
    """Fit a curve of one of KINDS to (n,) points, with a bootstrap over rows.

    Least squares in the metric's unit, with weak priors. A curve that explains under half of the variance, or a metric
    that falls where it should rise, is reported as a misalignment of the data with the task (arXiv 2402.04177).

    Raises:
        FitError: if there are not more points than parameters.
    """
    function = KINDS[kind].function
    coordinates = Coordinates(KINDS[kind].params, 0)
    n, k = len(x), coordinates.size
    if n <= k:
        raise FitError(f"{n} rows cannot determine the {k} parameters of {kind}: give at least {k + 1}")
    points = torch.from_numpy(np.asarray(x, dtype=np.float64))
    target = torch.from_numpy(np.asarray(metric, dtype=float))
    centre, width = coordinates.prior()

    def predict(u: Tensor, row: least_squares.Rows) -> Tensor:
        return function(coordinates.theta(u), row[0])

    def solve(start: Tensor, weights: Tensor, middle: Tensor) -> least_squares.LeastSquaresSolution:
        b = len(start)
        problems = least_squares.LeastSquaresProblems(
            start=start,
            target=target.expand(b, n),
            weights=weights,
            delta=torch.full((b,), PLAIN, dtype=torch.float64),
            centre=middle,
            precision=((NOISE / width) ** 2).expand(b, k),
        )
        return least_squares.least_squares(predict, (points,), problems)

    ones = torch.ones(starts, n, dtype=torch.float64)
    best = solve(coordinates.starts(starts, seed), ones, centre.expand(starts, k)).best
    rng = np.random.default_rng(seed)
    counts = torch.from_numpy(rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64))
    # Prior centres vary as widely as the prior, so that parameters that the rows leave open do too.
    centres = centre + width * torch.from_numpy(rng.standard_normal((draws, k)))
    refits = solve(best.expand(draws, k), counts, centres)
    theta = coordinates.theta(best)
    residual = function(theta, points) - target
    explained = 1 - float((residual**2).sum() / ((target - target.mean()) ** 2).sum().clamp_min(1e-300))
    return MetricCurve(
        kind=kind,
        theta=theta,
        draws=torch.func.vmap(coordinates.theta)(refits.point),
        rmse=float((residual**2).mean().sqrt()),
        explained=explained,
        misaligned=_misaligned(kind, np.asarray(x), np.asarray(metric), explained),
    )


def _misaligned(kind: str, x: np.ndarray, metric: np.ndarray, explained: float) -> str | None:
    """Return why the data do not seem to serve the task, or None."""
    order = np.argsort(x, kind="stable")
    trend = float(np.corrcoef(np.arange(len(x)), np.argsort(np.argsort(metric[order], kind="stable")))[0, 1])
    name = KINDS[kind].x
    if trend < 0:  # all three metrics rise with their x: error with loss, BLEU with tokens, accuracy with compute
        return f"the metric falls with {name} (rank correlation {trend:.2f}): the data do not seem to serve this task"
    if explained < FOLLOWS:
        return f"the curve explains {explained:.0%} of the metric's variance: the metric does not follow {name} here"
    return None
