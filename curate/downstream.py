"""From loss, tokens or compute to what a user measures: error, translation quality, accuracy of a task."""

from collections.abc import Mapping

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


def error(theta: Mapping[str, Tensor | float], loss: Tensor) -> Tensor:
    """(n,) error rate eps - k exp(-gamma L) from (n,) loss in nats per token (arXiv 2403.08540, eq. 5)."""
    return theta["eps"] - theta["k"] * torch.exp(-theta["gamma"] * loss)


def translation(theta: Mapping[str, Tensor | float], tokens: Tensor) -> Tensor:
    """(n,) BLEU (ln(A D^alpha))^beta after (n,) pretraining tokens, 0 below D^alpha = 1/A (arXiv 2402.04177).

    A BLEU that does not follow it, in particular one that falls, says that the pretraining data do not fit the task.
    """
    grown = torch.log(torch.as_tensor(theta["A"], dtype=torch.float64)) + theta["alpha"] * tokens.log()
    return torch.where(grown > 0, grown.clamp_min(1e-12) ** theta["beta"], 0.0)


def accuracy(theta: Mapping[str, Tensor | float], flops: Tensor) -> Tensor:
    """(n,) accuracy g + (1 - g) exp(-a C^-b - c) of a cluster of tasks at (n,) compute (COD, arXiv 2502.17262v4).

    g: accuracy of guessing; exp(-c): the best that such a model reaches. C is in 1e21 FLOPs.
    """
    g = theta["g"]
    return g + (1 - g) * torch.exp(-theta["a"] * (flops / 1e21) ** -theta["b"] - theta["c"])
