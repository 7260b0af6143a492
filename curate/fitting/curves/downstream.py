"""The published forms of a downstream metric: as a function of losses, of training tokens, or of compute."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

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

Theta = Mapping[str, Tensor | float]


def error(theta: Theta, losses: Tensor) -> Tensor:
    """Return the (n,) values eps - k exp(-gamma L) of a metric (arXiv 2403.08540).

    For one eval, ``losses`` is L (n,) in nats per token, and gamma is a number. For e evals, ``losses`` is (n, e),
    ``gamma`` is (e,), and gamma L stands for the sum of gamma_j L_j. With k above 0 the metric is an error: it rises
    with the loss towards eps. With k below 0 it is an accuracy: it falls with the loss towards eps.
    """
    gamma = torch.as_tensor(theta["gamma"], dtype=torch.float64)
    scaled = (gamma * losses).sum(dim=-1) if gamma.ndim else gamma * losses
    return theta["eps"] - theta["k"] * torch.exp(-scaled)


def translation(theta: Theta, tokens: Tensor) -> Tensor:
    """Return the (n,) BLEU scores (ln(A D^alpha))^beta after (n,) pretraining tokens D (arXiv 2402.04177).

    It is 0 below D^alpha = 1/A. A BLEU that does not follow this, in particular one that falls, says that the
    pretraining data do not fit the task.
    """
    grown = torch.log(torch.as_tensor(theta["A"], dtype=torch.float64)) + theta["alpha"] * tokens.log()
    return torch.where(grown > 0, grown.clamp_min(1e-12) ** theta["beta"], 0.0)


def accuracy(theta: Theta, flops: Tensor) -> Tensor:
    """Return the (n,) accuracies g + (1 - g) exp(-a C^-b - c) at (n,) compute (COD, arXiv 2502.17262v4).

    g is the accuracy of guessing, exp(-c) the best that such a model reaches. C is in 1e21 FLOPs.
    """
    g = theta["g"]
    return g + (1 - g) * torch.exp(-theta["a"] * (flops / 1e21) ** -theta["b"] - theta["c"])


@dataclass(frozen=True)
class MetricKind:
    """A form of curve: its function of x, the names of its parameters, and what x is."""

    function: Callable[[Theta, Tensor], Tensor]
    params: tuple[str, ...]
    x: str


KINDS: Mapping[str, MetricKind] = {
    "error": MetricKind(error, ("eps", "k", "gamma"), "loss"),
    "translation": MetricKind(translation, ("A", "alpha", "beta"), "tokens"),
    "accuracy": MetricKind(accuracy, ("g", "a", "b", "c"), "flops"),
}


def metric_values(kind: str, theta: Theta, x: Tensor) -> Tensor:
    """Return the (n,) values of a metric by the form ``kind`` at x (n, e)."""
    return KINDS[kind].function(theta, x if kind == "error" else x[:, 0])
