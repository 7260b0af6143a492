"""Loss over training steps from the learning-rate schedule (Tissue et al. 2024, arXiv 2408.11029).

L(t) = L0 + A S1(t)^-alpha - C S2(t): S1 is the area under the learning rate, S2 how much it has annealed, with memory.
It reads a schedule and gives a curve, not a loss a recipe: functions, not a law of ``curate.laws``.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting import least_squares

# Refit of the 40 official points: 20k steps, peak learning rate 2e-4.
PUBLISHED = {"L0": 2.6278, "A": 0.42967, "C": 0.41077, "alpha": 0.54985}
MEMORY = 0.999  # lambda of the paper
DELTA = 1e-3  # Huber's, on log loss, as in the paper
STARTS = ((0.5, 0.3), (0.5, 1.0), (0.8, 0.3), (0.8, 1.0))  # (L0 over the lowest loss, alpha)


def s1_s2(learning_rates: Tensor, memory: float = MEMORY, *, warmup: int = 0) -> tuple[Tensor, Tensor]:
    """(t,) S1 and S2 after each step of (t,) learning rates; the first ``warmup`` steps count at the peak.

    S1 = sum eta_i; S2 = sum m_i, m_i = memory m_(i-1) + (eta_(i-1) - eta_i).
    """
    rates = learning_rates.numpy().astype(np.float64)
    rates[:warmup] = rates.max()
    falls = -np.diff(rates, prepend=rates[:1])
    momentum = np.empty_like(falls)
    carried = 0.0
    for i, fall in enumerate(falls):
        carried = memory * carried + fall
        momentum[i] = carried
    return torch.from_numpy(rates.cumsum()), torch.from_numpy(momentum.cumsum())


def curve(theta: Mapping[str, Tensor | float], s1: Tensor, s2: Tensor) -> Tensor:
    """(t,) loss in nats per token."""
    return theta["L0"] + theta["A"] * s1 ** -theta["alpha"] - theta["C"] * s2


def fit(s1: Tensor, s2: Tensor, loss: Tensor) -> dict[str, float]:
    """Fit L0, A, C, alpha to (t,) losses by Huber on log loss; t >= 5. The steps of one curve may be thinned first."""
    if len(loss) < 5:
        raise FitError(f"{len(loss)} losses cannot determine the 4 parameters of a schedule: give at least 5 steps")
    names = ("L0", "A", "C", "alpha")
    starts = []
    for part, alpha in STARTS:
        floor = part * float(loss.min())
        scale = (float(loss[0]) - floor) * float(s1[0]) ** alpha
        starts.append([floor, max(scale, 1e-6), 0.3, alpha])

    def predict(u: Tensor, step: least_squares.Rows) -> Tensor:
        return curve(dict(zip(names, u.exp(), strict=True)), *step).clamp_min(1e-6).log()

    first = torch.tensor(starts, dtype=torch.float64).log()
    target, free = loss.log().expand(len(first), -1), torch.zeros_like(first)
    delta = torch.full((len(first),), DELTA, dtype=torch.float64)
    found = least_squares.least_squares(
        predict,
        (s1, s2),
        least_squares.Problems(first, target, torch.ones_like(target), delta, centre=first, precision=free),
    )
    best = found.point[found.objective.argmin()].exp()
    return dict(zip(names, best.tolist(), strict=True))
