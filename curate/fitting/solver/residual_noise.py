"""Estimate the noise of a run from the residuals of a fit. The noise weighs the prior and widens intervals.

In: residuals of log loss and the number of fitted parameters. Out: standard deviations of log loss.
"""

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

MAD_TO_SIGMA = 1.4826  # the standard deviation of a Gaussian over its median absolute deviation
FIRST_NOISE = 0.01  # of log loss, before the residuals of a first pass say better; also that pass's delta
NOISE_FLOOR = 1e-5  # of log loss: a prior keeps some weight when a law fits exactly
TAIL = 0.95  # the quantile of a 90 % interval, at which Student's and the normal distribution are compared
KNOWN = 1e6  # degrees of freedom that stand for a known noise: Student's t is then the normal distribution
ROUNDING = 1e-6  # tolerance for rounding errors in a number of degrees of freedom


def robust_noise(residuals: Tensor, parameters: int) -> Tensor:
    """Return (m,) robust estimates of the noise from (m, n) residuals of laws with k ``parameters``.

    A residual is NaN where the loss was not measured. The estimate is the median of the n - k + 1 largest absolute
    residuals, scaled to a standard deviation. The k - 1 smallest are left out, because a fit can make them 0 whatever
    the noise is. If n <= k, the estimate is FIRST_NOISE.
    """
    sizes = residuals.abs().sort(dim=1).values  # NaN comes last
    rows = torch.isfinite(sizes).sum(dim=1)
    middle = ((rows + parameters - 2) // 2).clamp(0, sizes.shape[1] - 1)
    scale = MAD_TO_SIGMA * sizes.gather(1, middle[:, None])[:, 0]
    return torch.where(rows > parameters, scale, FIRST_NOISE).clamp_min(NOISE_FLOOR)


def noise_of_residuals(residuals: Tensor, parameters: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (m,) standard deviations of the noise behind (m, n) residuals, and their (m,) degrees of freedom.

    ``weights`` (n,) say how many independent runs each row counts for; the rows of one training count for one run
    together. ``parameters`` (m,) is the number of parameters that the runs determine; each uses one degree of freedom.
    If less than one degree of freedom is left, the residuals hold no information, and the noise is FIRST_NOISE.
    """
    free = (torch.isfinite(residuals) * weights).sum(dim=1) - parameters
    # Rounding errors can make the number of parameters slightly too large.
    enough = free > 1 - ROUNDING
    scale = (torch.nansum(weights * residuals**2, dim=1) / free.clamp_min(1)).sqrt()
    return torch.where(enough, scale, FIRST_NOISE).clamp_min(NOISE_FLOOR), torch.where(enough, free, KNOWN)


def as_normal(noise: Tensor, free: Tensor) -> Tensor:
    """Return the (m,) standard deviations of normal distributions whose 90 % intervals are those of Student's t.

    ``noise`` (m,) was estimated with ``free`` (m,) degrees of freedom. With one degree of freedom, a 90 % interval is
    3.8 times as wide as with a known noise; with ten it is 1.1 times as wide.
    """
    ratio = stdtrit(np.asarray(free, dtype=np.float64), TAIL) / stdtrit(KNOWN, TAIL)
    return noise * torch.from_numpy(ratio)
