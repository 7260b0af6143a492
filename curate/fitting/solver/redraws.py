"""Draw bootstrap samples of runs. Many runs are resampled by training; few runs are all kept, and get new noise.

In: the trainings of n rows and the number of parameters. Out: for each draw, weights of the rows and changes of losses.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor

# Runs are resampled only if there are at least this many per parameter. A resample holds 63 % of the runs on average,
# so with fewer runs many draws would hold hardly more runs than the law has parameters. With 2 instead of 3, the 90 %
# intervals of 7 runs held only 87 % of new runs.
RUNS_PER_PARAMETER = 3


@dataclass(frozen=True)
class Redraws:
    """How b bootstrap draws change n rows.

    ``counts`` (b, n): how often each row counts. ``errors`` (b, n): the noise that is added to the log losses, in
    standard deviations. ``levels`` (b,) in (0, 1): the quantile of the standard deviation in each draw, because a few
    rows determine it poorly. ``levels`` is None if the standard deviation counts as known.
    """

    counts: Tensor
    errors: Tensor
    levels: Tensor | None

    @property
    def few(self) -> bool:
        """Whether the rows were too few to be resampled."""
        return self.levels is not None

    def scales(self, free: Tensor) -> Tensor:
        """Return (m, b) multiples of the noise for m evals with ``free`` (m,) degrees of freedom.

        The variance of the noise is estimated from the residuals. Given this estimate, the true variance is
        distributed as estimate * free / X, where X is a chi-square variable with ``free`` degrees of freedom. So the
        intervals of these draws are those of Student's t.
        """
        if self.levels is None:
            return torch.ones(len(free), len(self.counts), dtype=torch.float64)
        half = np.asarray(free, dtype=np.float64)[:, None] / 2
        # A chi-square variable with 2 a degrees of freedom is twice a gamma variable of shape a.
        return torch.from_numpy(np.sqrt(half / gammaincinv(half, self.levels.numpy()[None])))


def redraw(
    clusters: np.ndarray,
    parameters: int,
    draws: int,
    seed: int,
    *,
    runs: int | None = None,
    tokens: np.ndarray | None = None,
) -> Redraws:
    """Return how to redraw n rows for the bootstrap of a law with this number of parameters.

    ``clusters`` (n,) are codes of trainings, and ``runs`` is the number of independent runs that the rows count for, by
    default n. If there are many, whole trainings are resampled. If there are few, every draw keeps all rows and adds
    normal noise to their losses. The noise goes to rows in the order of their codes, and within a training of their
    ``tokens`` (n,), so that the draws do not depend on the order of the rows.
    """
    if (len(clusters) if runs is None else runs) >= RUNS_PER_PARAMETER * parameters:
        counts = resample(clusters, draws, seed)
        return Redraws(counts, torch.zeros_like(counts), None)
    _, codes, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    # The checkpoints of a training are not independent: together they count as one run.
    order = np.lexsort((np.zeros(len(codes)) if tokens is None else tokens, codes))
    errors = rng.standard_normal((draws, len(clusters)))[:, np.argsort(order)] * np.sqrt(sizes[codes])
    # The levels are the middles of equal parts of (0, 1), in random order. A random level near 0 would give a draw with
    # a huge noise.
    levels = (rng.permutation(draws) + 0.5) / draws
    return Redraws(torch.ones(draws, len(clusters), dtype=torch.float64), *map(torch.from_numpy, (errors, levels)))


def resample(clusters: np.ndarray, draws: int, seed: int) -> Tensor:
    """Return (draws, n) counts: how often the cluster of each row is drawn, with replacement.

    ``clusters`` (n,) are codes of trainings. Checkpoints of one training are drawn together, since their losses are
    not independent.
    """
    names, codes = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return torch.from_numpy(counts[:, codes].astype(np.float64))
