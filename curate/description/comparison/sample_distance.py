"""Measure the optimal-transport distance of two samples, and what chance alone would give.

In: vectors of two samples. Out: their distance, and that of random halves of both together.
"""

from dataclasses import dataclass

import numpy as np

MOST_ROWS = 500  # of each sample: the exact solution then takes about 0.1 CPU-seconds
SPLITS = 20  # random halves; the largest of their distances is exceeded by chance once in 21 times
SOLVER_STEPS = 10**6  # ten times POT's default: the solution is exact


@dataclass(frozen=True)
class SampleDistance:
    """The distance of two samples of ``rows`` rows each, in units of the mean squared distance of two rows of both.

    ``chance`` is the mean and ``chance_high`` the largest distance of random halves of the two samples together.
    """

    distance: float
    chance: float
    chance_high: float
    rows: int


def sample_distance(first: np.ndarray, second: np.ndarray, seed: int) -> SampleDistance:
    """Return the exact transport cost of moving one sample, (n, d), to the other, (m, d), by squared distance.

    The first rows of each are used, the same number of both. Even two samples of one data set lie apart if they are
    this small. So the distance is shown beside that of random halves of all rows.
    """
    n = min(len(first), len(second), MOST_ROWS)
    both = np.concatenate([first[:n], second[:n]]).astype(np.float64)
    squares = (both**2).sum(axis=1)
    costs = np.maximum(squares[:, None] + squares - 2 * both @ both.T, 0.0)
    scale = costs.mean() or 1.0
    rng = np.random.default_rng(seed)
    splits = [rng.permutation(2 * n) for _ in range(SPLITS)]
    by_chance = [_transport(costs, order[:n], order[n:]) / scale for order in splits]
    distance = _transport(costs, np.arange(n), np.arange(n, 2 * n)) / scale
    return SampleDistance(distance, float(np.mean(by_chance)), float(np.max(by_chance)), n)


def _transport(costs: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    # Importing POT takes 2.5 to 6 seconds, so it is imported only where it is used.
    import ot  # type: ignore[import-untyped]

    masses = np.full(len(rows), 1 / len(rows))
    return float(ot.emd2(masses, masses, np.ascontiguousarray(costs[np.ix_(rows, columns)]), numItermax=SOLVER_STEPS))
