"""A Gaussian process over mixtures and sizes: its covariance, its posterior, and draws of whole functions.

The log loss at one size, the anchor, has the covariance of a `Kernel`. At every other size a change is added to that of
its neighbour nearer to the anchor: a shift, a stretch of the differences between mixtures, and new differences. This is
the autoregressive model of Kennedy and O'Hagan 2000 (Biometrika 87), in the form of one process over all sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor

from curate.fitting.gaussian.kernel import Kernel, factor, roots

# Waves of each draw, with random frequencies of its own (Rahimi and Recht 2007). If all draws shared 512 frequencies,
# the standard deviations between runs would be off by up to 25 %.
WAVES = 64
BLOCK = 4_000_000  # waves of all points that are in memory at once: 32 MB
SMOOTHNESS = 5  # degrees of freedom of the spectrum of Matern's function of smoothness 5/2


@dataclass(frozen=True)
class Change:
    """How the log losses of mixtures change from one size to the next, farther from the anchor.

    Attributes:
        compute: log of tokens times parameters of the size.
        parent: the same of its neighbour nearer to the anchor.
        tokens: training tokens of the size.
        params: model parameters of the size.
        centre: mean over the anchor's runs of the log losses that are stretched.
        stretch: expected relative change of the differences between mixtures.
        doubt: standard deviation of that change.
        fresh: variance of new differences, relative to that of the kernel.
        noise: standard deviation of log loss of a run of this size.
    """

    compute: float
    parent: float
    tokens: float
    params: float
    centre: float
    stretch: float
    doubt: float
    fresh: float
    noise: float


@dataclass(frozen=True)
class Points:
    """n mixtures at sizes: ``shares`` (n, p), and for j changes ``reach`` (n, j) and ``structure`` (n, j).

    ``reach`` says which part of each change applies, from 0 at its parent's size to 1 at its own size and beyond.
    ``structure`` is the centred log loss of the mixture that each change stretches.
    """

    shares: Tensor
    reach: Tensor
    structure: Tensor

    def take(self, rows: Tensor) -> "Points":
        """Return the points where a mask (n,) is true."""
        return Points(self.shares[rows], self.reach[rows], self.structure[rows])


def anchor_points(shares: Tensor) -> Points:
    """Return mixtures at the anchor, which no change reaches."""
    none = shares[:, :0]
    return Points(shares, none, none)


def reaches(compute: Tensor, changes: Sequence[Change]) -> Tensor:
    """Return which part of each of j changes applies at log compute (n,): (n, j) between 0 and 1."""
    if not changes:
        return compute.new_zeros((len(compute), 0))
    parts = [(compute - change.parent) / (change.compute - change.parent) for change in changes]
    return torch.stack(parts, dim=1).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Process:
    """The process before any run is known."""

    kernel: Kernel
    changes: tuple[Change, ...]

    def mean(self, a: Points) -> Tensor:
        """Return the (n,) expected log losses."""
        return (a.reach * a.structure) @ self._each("stretch", a)

    def covariance(self, a: Points, b: Points) -> Tensor:
        """Return the (n, m) covariances of log losses."""
        level = 1 + a.reach @ b.reach.T
        shape = 1 + (a.reach * self._each("fresh", a)) @ b.reach.T
        stretch = (a.reach * a.structure * self._each("doubt", a) ** 2) @ (b.reach * b.structure).T
        return self.kernel.level * level + shape * self.kernel.covariance(a.shares, b.shares) + stretch

    def _each(self, name: str, like: Points) -> Tensor:
        return like.shares.new_tensor([getattr(change, name) for change in self.changes])

    def conditioned(self, rows: Points, values: Tensor, noise: Tensor) -> "Posterior":
        """Return the process after runs: n points with log losses (n,) and noise (n,), a standard deviation."""
        lower = factor(self.covariance(rows, rows) + torch.diag(noise**2))
        weights = torch.cholesky_solve((values - self.mean(rows))[:, None], lower)[:, 0]
        return Posterior(self, rows, noise, lower, weights)


@dataclass(frozen=True)
class Posterior:
    """The process after n runs.

    Attributes:
        prior: the process before.
        rows: the n points of the runs.
        noise: (n,) standard deviations of the noise.
        lower: (n, n) Cholesky factor of the covariance of the runs.
        weights: (n,) of the runs in the mean.
    """

    prior: Process
    rows: Points
    noise: Tensor
    lower: Tensor
    weights: Tensor

    def mean(self, points: Points) -> Tensor:
        """Return the (m,) expected log losses at points."""
        return torch.addmv(self.prior.mean(points), self.prior.covariance(points, self.rows), self.weights)

    def covariance(self, points: Points) -> Tensor:
        """Return the (m, m) covariances of log losses at points, without the noise of a run."""
        cross: Tensor = torch.linalg.solve_triangular(self.lower, self.prior.covariance(self.rows, points), upper=False)
        return self.prior.covariance(points, points) - cross.T @ cross

    def left_out(self) -> Tensor:
        """Return the (n,) errors of log loss of the runs, each left out in turn.

        Source: Rasmussen and Williams 2006, equation 5.12.
        """
        return self.weights / torch.cholesky_inverse(self.lower).diagonal()

    def draws(self, values: Tensor, seed: int) -> "Draws":
        """Return one function for each row of values (b, n): draws of the process given these log losses of the runs.

        A draw of the prior is made of random features, and then corrected by the runs (Wilson et al. 2020,
        arXiv 2002.09309). So the differences between mixtures within a draw are right, too.
        """
        rng, count = np.random.default_rng(seed), len(values)
        features = _Features.random(self.prior, count, rng)
        noise = self.noise * torch.from_numpy(rng.standard_normal(values.shape))
        missing = values - features.values(self.rows) - noise
        return Draws(self, features, torch.cholesky_solve(missing.T, self.lower).T)


@dataclass(frozen=True)
class _Features:
    """b functions drawn from a prior, as weights of random waves.

    ``frequencies`` (b, f, p) and ``phases`` (b, f) are of the waves; ``waves`` (b, 1 + j, f), ``slopes`` (b, 1 + j, p)
    and ``levels`` (b, 1 + j) are weights of the anchor and of the j changes; ``stretches`` (b, j) are of the changes.
    """

    prior: Process
    frequencies: Tensor
    phases: Tensor
    waves: Tensor
    slopes: Tensor
    levels: Tensor
    stretches: Tensor

    @staticmethod
    def random(prior: Process, count: int, rng: np.random.Generator) -> "_Features":
        kernel, j, p = prior.kernel, len(prior.changes), len(prior.kernel.centre)
        # The spectrum of Matern's function is Student's distribution: a normal one over the root of a chi-squared one.
        # Each wave has its own part of the latter, because a draw with several very short waves would be an outlier.
        part = (np.arange(WAVES) + rng.uniform(size=(count, WAVES))) / WAVES
        wide = np.sqrt(2 * gammaincinv(SMOOTHNESS / 2, part) / SMOOTHNESS)[:, :, None]
        fresh = torch.tensor([1.0, *(change.fresh for change in prior.changes)], dtype=torch.float64).sqrt()
        doubt = torch.tensor([change.doubt for change in prior.changes], dtype=torch.float64)
        stretch = torch.tensor([change.stretch for change in prior.changes], dtype=torch.float64)

        def normal(*shape: int) -> Tensor:
            return torch.from_numpy(rng.standard_normal((count, *shape)))

        return _Features(
            prior=prior,
            frequencies=normal(WAVES, p) / torch.from_numpy(wide) / kernel.scales,
            phases=torch.from_numpy(rng.uniform(0, 2 * np.pi, (count, WAVES))),
            waves=normal(1 + j, WAVES) * fresh[:, None] * (2 * kernel.amplitude / WAVES) ** 0.5,
            slopes=normal(1 + j, p) * fresh[:, None] * kernel.slope**0.5,
            levels=normal(1 + j) * kernel.level**0.5,
            stretches=stretch + doubt * normal(j),
        )

    def values(self, points: Points) -> Tensor:
        """Return the (b, m) values of all functions at m points."""
        size = max(1, BLOCK // self.phases.numel())
        blocks = [slice(start, start + size) for start in range(0, len(points.shares), size)]
        parts = [Points(points.shares[b], points.reach[b], points.structure[b]) for b in blocks]
        return torch.cat([self._values(part) for part in parts], dim=1)

    def _values(self, points: Points) -> Tensor:
        angles = torch.einsum("bfp,mp->bfm", self.frequencies, roots(points.shares)) + self.phases[:, :, None]
        shares = points.shares - self.prior.kernel.centre
        each = self.waves @ angles.cos() + self.slopes @ shares.T + self.levels[:, :, None]  # (b, 1 + j, m)
        stretched = self.stretches @ (points.reach * points.structure).T
        return (each * _with_anchor(points.reach).T).sum(dim=1) + stretched

    def paired(self, points: Points, draws: Tensor) -> Tensor:
        """Return the (m,) values of function ``draws[i]`` at point i."""
        angles = torch.einsum("mfp,mp->mf", self.frequencies[draws], roots(points.shares)) + self.phases[draws]
        shares = points.shares - self.prior.kernel.centre
        each = (
            torch.einsum("mjf,mf->mj", self.waves[draws], angles.cos())
            + torch.einsum("mjp,mp->mj", self.slopes[draws], shares)
            + self.levels[draws]
        )
        stretched = (self.stretches[draws] * points.reach * points.structure).sum(dim=1)
        return (each * _with_anchor(points.reach)).sum(dim=1) + stretched


def _with_anchor(reach: Tensor) -> Tensor:
    """Return the part (n, 1 + j) of the anchor, which is always whole, and of each change that applies."""
    return torch.cat([reach.new_ones((len(reach), 1)), reach], dim=1)


@dataclass(frozen=True)
class Draws:
    """b functions drawn from a posterior: draws ``features`` of the prior, and weights (b, n) of the runs."""

    posterior: Posterior
    features: _Features
    weights: Tensor

    def values(self, points: Points) -> Tensor:
        """Return the (b, m) log losses of all functions at m points."""
        cross = self.posterior.prior.covariance(self.posterior.rows, points)
        return self.features.values(points) + self.weights @ cross

    def paired(self, points: Points, draws: Tensor) -> Tensor:
        """Return the (m,) log losses of function ``draws[i]`` at point i."""
        cross = self.posterior.prior.covariance(points, self.posterior.rows)
        return self.features.paired(points, draws) + (cross * self.weights[draws]).sum(dim=1)
