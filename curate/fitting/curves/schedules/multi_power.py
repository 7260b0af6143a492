"""Predict the loss at every training step by the multi-power law (Luo et al. 2025, arXiv 2503.12811).

L(t) = L0 + A (S1(t) + SW)^-alpha - B sum_k (eta_(k-1) - eta_k) G(eta_k^-gamma S_k(t)), G(x) = 1 - (1 + C x)^-beta.
eta_k is the learning rate of step k after warming up, and eta_0 the rate at its end. S1(t) is the sum of the rates from
step 1 to t, S_k(t) the sum from step k to t, and SW the sum over the steps of warming up. Each fall of the rate lowers
the loss by a power law of what was trained after it. A rise counts as a negative fall.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# The authors' refit of models of 100M parameters with a peak rate of 3e-4, from the tables beside their code.
PUBLISHED = {"L0": 2.651, "A": 0.601, "alpha": 0.453, "B": 437.946, "C": 2.132, "beta": 0.598, "gamma": 0.655}
PUBLISHED_PEAK = 3e-4
PARAMETERS = ("L0", "A", "alpha", "B", "C", "beta", "gamma")  # all positive, and fitted as logarithms
# How far, in log, alpha, beta and gamma of one training setup lie from those of another. The authors' three model sizes
# differ by .02 to .08, but they share all else: this is ten times as much. C has twice that, because it also changes
# with the unit of the rate.
PRIOR = {"alpha": 0.5, "C": 1.0, "beta": 0.5, "gamma": 0.5}
FLOOR_STARTS = (0.6, 0.85)  # L0 over the lowest loss
DROP_STARTS = (0.03, 0.15)  # B times the peak rate, in nats: how much a fall to 0 can lower the loss
# Falls in the last NEAR steps are summed one by one. Older falls are summed in blocks, because G changes slowly there:
# the age at the end of a block is GROWTH times the age at its start. With these values the loss differs from the full
# sum by less than 2e-4 nats for smooth, stepped and cyclic schedules (tests/fitting/test_schedule_fit.py).
NEAR = 24
GROWTH = 1.12
MOST_STEPS = 10_000_000  # of a schedule: more than any training run has, and still an array of 80 MB
SMALLEST_RATE = 1e-9  # of the peak rate: keeps eta_k^-gamma finite where a schedule ends at 0


def features(rates: np.ndarray, warmup: int, steps: np.ndarray) -> tuple[Tensor, ...]:
    """Return what the law reads of a schedule at n steps: areas (n,), and falls, areas since and log rates (n, j) each.

    ``rates`` (t,) are the learning rates of all steps, of which the first ``warmup`` warm up. ``steps`` (n,) are
    positions in ``rates``, from ``warmup`` on. j is the same for all schedules.
    """
    area = np.concatenate([[0.0], rates.cumsum()])
    falls = np.zeros(len(rates))
    falls[warmup + 1 :] = -np.diff(rates[warmup:])
    logs = np.log(np.maximum(rates, SMALLEST_RATE * rates.max()))
    # Prefix sums give the totals of any block. The place and the rate of a block are means over its falls.
    size = np.abs(falls)
    before = [np.concatenate([[0.0], values.cumsum()]) for values in (falls, size, size * area[:-1], size * logs)]
    ends = np.maximum(steps[:, None] + 1 - BLOCK_ENDS, 0)
    fall, weight, placed, rated = (sums[ends[:, :-1]] - sums[ends[:, 1:]] for sums in before)
    total = area[steps + 1]
    fallen = weight > 0
    divisor = np.where(fallen, weight, 1.0)
    since = np.where(fallen, np.maximum(total[:, None] - placed / divisor, 0.0), 0.0)
    log_rate = np.where(fallen, rated / divisor, logs.max())
    return tuple(torch.from_numpy(values) for values in (total, np.where(fallen, fall, 0.0), since, log_rate))


def curve(theta: Mapping[str, Tensor | float], area: Tensor, falls: Tensor, since: Tensor, log_rate: Tensor) -> Tensor:
    """Return the (n,) losses in nats per token; the arguments after ``theta`` are those of `features`."""
    gamma = torch.as_tensor(theta["gamma"], dtype=torch.float64)
    x = theta["C"] * torch.exp(-gamma * log_rate) * since
    drop = (falls * -torch.expm1(-theta["beta"] * torch.log1p(x))).sum(dim=-1)
    return theta["L0"] + theta["A"] * area ** -theta["alpha"] - theta["B"] * drop


def starts(area: float, loss: float, lowest: float, peak: float) -> list[list[float]]:
    """Return where to start a fit: the first point has this area and loss, ``lowest`` is the lowest loss.

    The exponents start as published, and C too, in the unit of a ``peak`` rate.
    """
    alpha, gamma = PUBLISHED["alpha"], PUBLISHED["gamma"]
    scale = PUBLISHED["C"] * (PUBLISHED_PEAK / peak) ** (1 - gamma)
    rows = []
    for share in FLOOR_STARTS:
        for drop in DROP_STARTS:
            floor = share * lowest
            reducible = max(loss - floor, 1e-3 * loss) * area**alpha
            rows.append([floor, reducible, alpha, drop / peak, scale, PUBLISHED["beta"], gamma])
    return rows


def _block_ends() -> np.ndarray:
    """Return the (j + 1,) ages in steps, from 0 on, at which the blocks of falls end."""
    ages = list(range(NEAR + 1))
    while ages[-1] < MOST_STEPS:
        ages.append(int(np.ceil(ages[-1] * GROWTH)))
    return np.array(ages)


BLOCK_ENDS = _block_ends()
