"""The covariance of log losses between mixtures, and its parameters by marginal likelihood.

In: shares and log losses of runs of one size. Out: `Kernel` and the noise of a run. Source: Rasmussen and Williams
2006, Gaussian Processes for Machine Learning, chapters 2 and 5.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from curate.errors import FitError

# Added to a share under the root. Published shares are rounded to three digits. It also keeps the slope at share 0
# finite, which a plan needs.
SHARE_FLOOR = 1e-3
# Rows that decide the parameters of the kernel; all rows decide the predictions. With all of the 512 RegMix runs it
# costs three times as much, and the mean rank correlation on unseen mixtures is .993 either way.
ROWS_FOR_KERNEL = 256
STEPS = 40  # of the minimiser: later steps change the predictions of the RegMix runs by less than the noise
# Standard deviation of the common level of all mixtures, in standard deviations of the fitted log losses. It is so
# large that the runs decide the level.
LEVEL = 20.0
# Log parameters stay so near to the centres of their priors, in standard deviations: every covariance stays finite.
REACH = 8.0
JITTER = 1e-10  # relative, added to the diagonal before a Cholesky factor is taken
TINY = 1e-12  # under a root, so that its slope at distance 0 is finite
# Centres and standard deviations of the priors of log parameters, for log losses of variance 1. Length scales are in
# medians of the distances between mixtures. All are a factor of 3 to 7 wide: the runs decide.
PRIORS = {
    "scales": (math.log(2.0), 1.0),
    "amplitude": (0.0, 2.0),
    "slope": (-1.0, 2.0),
    "noise": (math.log(0.01), 2.0),
}
STARTS = (math.log(0.01), math.log(0.1))  # log noise variances from which the minimiser starts


@dataclass(frozen=True)
class Kernel:
    """The covariance of the log loss between two mixtures of p pools.

    It is level + amplitude M(r) + slope (h - centre).(h' - centre) with Matern's function of smoothness 5/2, M(r) = (1
    + sqrt 5 r + 5 r^2 / 3) exp(-sqrt 5 r). The distance is r^2 = sum_i ((sqrt h_i - sqrt h'_i) / scale_i)^2. With equal
    scales it is Hellinger's. A large scale means that the share of the pool hardly matters beyond the linear part.

    Attributes:
        level: variance of the common level of all mixtures, so large that the runs decide it.
        scales: (p,) length scales of the roots of shares.
        amplitude: variance of log loss.
        slope: variance of the coefficients of the shares, in log loss.
        centre: (p,) mean shares of the fitted runs.
    """

    level: float
    scales: Tensor
    amplitude: float
    slope: float
    centre: Tensor

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the (n, m) covariances between mixtures a (n, p) and b (m, p), without the common level."""
        distance = squared_distances(roots(a) / self.scales, roots(b) / self.scales)
        return self.amplitude * matern(distance) + self.slope * ((a - self.centre) @ (b - self.centre).T)


def roots(shares: Tensor) -> Tensor:
    """Return the roots of shares (n, p), with a finite slope at 0."""
    return torch.sqrt(shares + SHARE_FLOOR)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the (n, m) squared distances between the rows of a (n, p) and b (m, p)."""
    return ((a**2).sum(dim=1)[:, None] + (b**2).sum(dim=1) - 2 * a @ b.T).clamp_min(0.0)


def matern(squared: Tensor) -> Tensor:
    """Return Matern's function of smoothness 5/2 of squared distances."""
    r = (5 * squared + TINY).sqrt()
    return (1 + r + 5 * squared / 3) * torch.exp(-r)


def factor(covariance: Tensor) -> Tensor:
    """Return the Cholesky factor of a covariance (n, n).

    Raises:
        FitError: if it is not positive definite even with a small addition to the diagonal.
    """
    jitter = JITTER * covariance.diagonal().mean()
    result = torch.linalg.cholesky_ex(covariance + jitter * torch.eye(len(covariance), dtype=covariance.dtype))
    if int(result.info):
        raise FitError("the covariance of the runs is singular: leave out runs of equal mixtures, or fit a law")
    lower: Tensor = result.L
    return lower


def learn(shares: Tensor, target: Tensor, *, seed: int) -> tuple[Kernel, float]:
    """Return the kernel and the noise (standard deviation of log loss) that explain log losses best.

    ``shares`` (n, p) and ``target`` (n,) are of runs of one size. The marginal likelihood times weak priors is
    maximised from two starts, on at most ROWS_FOR_KERNEL rows.

    Raises:
        FitError: if all mixtures or all losses are equal.
    """
    if len(target) > ROWS_FOR_KERNEL:
        rows = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(len(target))[:ROWS_FOR_KERNEL]))
        shares, target = shares[rows], target[rows]
    unit, centre = float(target.std()), shares.mean(dim=0)
    apart = squared_distances(roots(shares), roots(shares))[*torch.triu_indices(len(shares), len(shares), 1)]
    distance = float(apart[apart > TINY].median().sqrt()) if bool((apart > TINY).any()) else 0.0
    if not unit > 0 or not distance > 0:
        raise FitError("gaussian needs runs of several mixtures with different losses: all are equal here")
    p = shares.shape[1]
    spread = float((shares - centre).pow(2).sum(dim=1).mean())
    scaled = (target - target.mean()) / unit

    def kernel_of(point: Tensor) -> tuple[Tensor, Tensor]:
        """Return the covariance of the rows, and the variance of their noise, at a point (p + 3,) of log parameters."""
        scales, (amplitude, slope, noise) = point[:p].exp() * distance, point[p:].exp()
        linear = (shares - centre) @ (shares - centre).T / spread
        shape = matern(squared_distances(roots(shares) / scales, roots(shares) / scales))
        return LEVEL**2 + amplitude * shape + slope * linear, noise

    priors = [PRIORS["scales"]] * p + [PRIORS[name] for name in ("amplitude", "slope", "noise")]
    centres, widths = torch.tensor(priors, dtype=torch.float64).T
    bounds = np.stack([centres - REACH * widths, centres + REACH * widths], axis=1)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.tensor(x, requires_grad=True)
        covariance, noise = kernel_of(point)
        value = surprise(covariance + noise * torch.eye(len(scaled), dtype=scaled.dtype), scaled)
        value = value + 0.5 * (((point - centres) / widths) ** 2).sum()
        return value_and_slope(value, point)

    starts = [np.append(centres[:-1].numpy(), noise) for noise in STARTS]
    options = {"maxiter": STEPS}
    ends = [minimize(objective, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for x in starts]
    point = torch.from_numpy(min(ends, key=lambda end: float(end.fun)).x)
    amplitude, slope, noise = (point[p:].exp() * unit**2).tolist()
    kernel = Kernel((LEVEL * unit) ** 2, point[:p].exp() * distance, amplitude, slope / spread, centre)
    return kernel, math.sqrt(noise)


def value_and_slope(value: Tensor, point: Tensor) -> tuple[float, np.ndarray]:
    """Return a value and its slope at a point, as scipy's minimisers expect them."""
    (slope,) = torch.autograd.grad(value, point)
    return value.item(), slope.numpy()


def surprise(covariance: Tensor, residual: Tensor) -> Tensor:
    """Return minus the log density of a residual (n,) with mean 0 and a covariance (n, n), up to a constant."""
    lower = factor(covariance)
    white: Tensor = torch.linalg.solve_triangular(lower, residual[:, None], upper=False)[:, 0]
    return (white**2).sum() / 2 + torch.log(lower.diagonal()).sum()
