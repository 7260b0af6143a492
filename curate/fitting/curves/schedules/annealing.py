"""Predict the loss at every training step from the learning-rate schedule (Tissue et al. 2024, arXiv 2408.11029).

L(t) = L0 + A S1(t)^-alpha - C S2(t). S1 is the area under the learning rate. S2 says how far and how long ago the rate
has fallen. The input is a schedule and the output a curve, not one loss for each recipe, so this is not a law.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from curate.runs.trainings import annealing_areas
from curate.runs.trainings.annealing_areas import MEMORY

# Our refit of the 40 official points: 20k steps, peak learning rate 2e-4.
PUBLISHED = {"L0": 2.6278, "A": 0.42967, "C": 0.41077, "alpha": 0.54985}
PARAMETERS = ("L0", "A", "C", "alpha")  # all positive, and fitted as logarithms
PRIOR = {"alpha": 0.5}  # as in `multi_power`
DELTA = 1e-3  # of Huber's loss on log loss, as in the paper
FLOOR_STARTS = (0.5, 0.8)  # L0 over the lowest loss
EXPONENT_STARTS = (0.3, 1.0)  # alpha
DROP_START = 0.06  # nats by which a fall of the rate from its peak to 0 lowers the loss in the end
SMALLEST_LOSS = 1e-6  # keeps the logarithm finite while the solver passes through negative losses


def s1_s2(learning_rates: Tensor, memory: float = MEMORY, *, warmup: int = 0) -> tuple[Tensor, Tensor]:
    """Return the areas S1 (t,) and S2 (t,) after each step of (t,) learning rates.

    S1 is the sum of the rates eta_i. S2 is the sum of m_i = memory m_(i-1) + (eta_(i-1) - eta_i) (Eq. 1). The first
    ``warmup`` steps count as if they had the peak rate.
    """
    rates = learning_rates.numpy().astype(np.float64)
    rates[:warmup] = rates.max()
    s1, s2 = annealing_areas.s1_s2(rates, memory)
    return torch.from_numpy(s1), torch.from_numpy(s2)


def curve(theta: Mapping[str, Tensor | float], s1: Tensor, s2: Tensor) -> Tensor:
    """Return the (t,) losses after each training step, in nats per token.

    ``theta`` holds L0, A, C and alpha; ``s1`` (t,) and ``s2`` (t,) are the areas of `s1_s2`.
    """
    return theta["L0"] + theta["A"] * s1 ** -theta["alpha"] - theta["C"] * s2


def features(rates: np.ndarray, warmup: int, steps: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the areas S1 (n,) and S2 (n,) after n steps of a schedule.

    ``rates`` (t,) are the learning rates of all steps, of which the first ``warmup`` warm up. ``steps`` (n,) are
    positions in ``rates``.
    """
    s1, s2 = s1_s2(torch.from_numpy(rates), warmup=warmup)
    return s1[steps], s2[steps]


def starts(area: float, loss: float, lowest: float, peak: float) -> list[list[float]]:
    """Return where to start a fit: the first point has this area and loss, ``lowest`` is the lowest loss.

    ``peak`` is the highest rate.
    """
    rows = []
    for share in FLOOR_STARTS:
        for alpha in EXPONENT_STARTS:
            floor = share * lowest
            # The scale at which the curve passes through its first point.
            scale = max(loss - floor, 1e-3 * loss) * area**alpha
            rows.append([floor, scale, DROP_START * (1 - MEMORY) / peak, alpha])
    return rows
