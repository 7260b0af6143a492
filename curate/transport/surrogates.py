"""Measure cheap distances of a mixture to a target: sliced Wasserstein and the energy distance.

In: `TransportProblem` and mixtures. Out: distances. `benchmarks/selection/transport.py` measures what they lose against
transport, and `benchmarks/transport/transport_engine.py` what they save.

Labels enter by geometry. A sample is followed by the mean and the standard deviation of its class in its source, axis
by axis, so that squared distances are those of `curate.transport.ground_cost` with diagonal Gaussians for the classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.transport.cost import Cloud
from curate.transport.ground_cost import TransportProblem

DIRECTIONS = 64  # of projection, the same for every mixture


@dataclass(frozen=True, eq=False, repr=False)
class Slices:
    """k one-dimensional projections of the samples.

    Attributes:
        order: (k, n) sorts the pool along each direction.
        points: (k, n) its sorted projections.
        goal: (k, q) sorted projections of the target.
        below: (k, q + 1) running sums of ``goal`` over q.
        width: d.
    """

    order: Tensor
    points: Tensor
    goal: Tensor
    below: Tensor
    width: int


def slices(problem: TransportProblem, *, directions: int = DIRECTIONS, seed: int = 0) -> Slices:
    """Project and sort the samples once; all mixtures share the result."""
    x, y = vectors(problem.pool), vectors(problem.target)
    drawn = np.random.default_rng(seed).standard_normal((x.shape[1], directions))
    units = torch.from_numpy(drawn / np.linalg.norm(drawn, axis=0)).to(x)
    points, order = (x @ units).T.sort(dim=1)
    goal = (y @ units).T.sort(dim=1).values
    below = torch.cat([torch.zeros_like(goal[:, :1]), goal.cumsum(dim=1) / goal.shape[1]], dim=1)
    return Slices(order, points, goal, below, x.shape[1])


def sliced(problem: TransportProblem, weights: Tensor, *, slices_: Slices | None = None) -> Tensor:
    """Return sliced squared 2-Wasserstein distances (m,) of mixtures (m, p), in units of the problem's scale.

    In one dimension transport has a closed form. With A_i the mixture's mass up to point x_i and G^-1 the target's
    quantiles, W2^2 = sum_i int_(A_i-1)^A_i (x_i - G^-1)^2 (Bonneel et al. 2015). The mean over directions is multiplied
    by the width d. It is differentiable in the weights, which are scaled to sum to 1. Give the `slices` of the same
    problem to sort only once.
    """
    projections = slices_ or slices(problem)
    mass = _sum_to_1(weights) / problem.counts
    mass = mass[:, problem.source]
    q = projections.goal.shape[1]
    total = mass.new_zeros(len(mass))
    directions = (projections.order, projections.points, projections.goal, projections.below)
    for order, x, y, below in zip(*directions, strict=True):
        sorted_mass = mass[:, order]
        # Rounding may carry the cumulated mass beyond 1, where the target has no quantile.
        up_to = sorted_mass.cumsum(dim=1).clamp_max(1.0)
        quantile = (up_to.detach() * q).long().clamp_max(q - 1)
        # The integral of the target's quantiles up to each mass, and then between one mass and the next.
        area = below[quantile] + (up_to - quantile / q) * y[quantile]
        pieces = torch.diff(area, dim=1, prepend=torch.zeros_like(area[:, :1]))
        total = total + (sorted_mass * x**2).sum(dim=1) - 2 * (pieces * x).sum(dim=1) + (y**2).mean()
    return total * projections.width / len(projections.order)


@dataclass(frozen=True, eq=False, repr=False)
class Energies:
    """Mean distances |x - x'|: ``within`` (p, p) of sources, ``across`` (p,) to the target, ``inside`` the target's."""

    within: Tensor
    across: Tensor
    inside: float


def energies(problem: TransportProblem) -> Energies:
    """Compare all pairs of samples once; all mixtures share the result."""
    x, y = vectors(problem.pool), vectors(problem.target)
    parts = [x[problem.source == i] for i in range(len(problem.names))]
    within = torch.stack([torch.stack([_mean_distance(a, b) for b in parts]) for a in parts])
    across = torch.stack([_mean_distance(a, y) for a in parts])
    return Energies(within, across, float(_mean_distance(y, y)))


def energy(problem: TransportProblem, weights: Tensor, *, energies_: Energies | None = None) -> Tensor:
    """Return energy distances (m,) of mixtures (m, p) to the target.

    The distance is 2 E|X - Y| - E|X - X'| - E|Y - Y'|. It is quadratic in the shares, and the squared maximum mean
    discrepancy of the kernel -|x - x'| (Sejdinovic et al. 2013). The unit is the root of the problem's scale. Give the
    `energies` of the same problem to compare pairs only once.
    """
    pairs = energies_ or energies(problem)
    w = _sum_to_1(weights)
    return 2 * w @ pairs.across - ((w @ pairs.within) * w).sum(dim=1) - pairs.inside


def vectors(cloud: Cloud) -> Tensor:
    """Return the features (n, d), or with labels (n, 3 d): features, class means and deviations over the root of 2."""
    x = cloud.features.double()
    if cloud.group is None:
        return x
    # A class is described by 2 d numbers; the root of 2 makes squared distances half features, half classes.
    centre = np.stack([part.mean(axis=0, dtype=np.float64) for part in cloud.members])
    spread = np.stack([part.std(axis=0, dtype=np.float64) for part in cloud.members])
    table = torch.from_numpy(np.hstack([centre, spread])).to(x)
    return torch.cat([x, table[cloud.group]], dim=1) / 2**0.5


def _sum_to_1(weights: Tensor) -> Tensor:
    w = weights.double()
    return w / w.sum(dim=1, keepdim=True)


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of |x - x'|. A sample is never compared with itself, which would bias the mean."""
    pairs = len(a) * (len(b) - 1 if a is b else len(b))
    return torch.cdist(a, b).sum() / pairs
