"""Cheap distances of a mixture to a target: sliced Wasserstein and the energy distance. What they lose against
transport is measured in `benchmarks/selection/transport.py`, and what they save in
`benchmarks/transport/transport_engine.py`.

Labels enter by geometry: a sample is followed by the mean and the standard deviation of its class in its source, axis
by axis, so that squared distances are those of `curate.transport.ground_cost` with class distances of diagonal
Gaussians.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.transport.ground_cost import Cloud, TransportProblem

DIRECTIONS = 64  # of projection, the same for every mixture


@dataclass(frozen=True, eq=False)
class Slices:
    """k projections: ``order`` (k, n) sorts the pool along each, ``points`` (k, n) are its sorted projections;
    ``goal`` (k, q) those of the target, ``below`` (k, q + 1) their running mean sums, times d the width."""

    order: Tensor
    points: Tensor
    goal: Tensor
    below: Tensor
    width: int


def slices(problem: TransportProblem, *, directions: int = DIRECTIONS, seed: int = 0) -> Slices:
    """Project and sort once; all mixtures share it."""
    x, y = vectors(problem.pool), vectors(problem.target)
    drawn = np.random.default_rng(seed).standard_normal((x.shape[1], directions))
    ways = torch.from_numpy(drawn / np.linalg.norm(drawn, axis=0)).to(x)
    points, order = (x @ ways).T.sort(dim=1)
    goal = (y @ ways).T.sort(dim=1).values
    below = torch.cat([torch.zeros_like(goal[:, :1]), goal.cumsum(dim=1) / goal.shape[1]], dim=1)
    return Slices(order, points, goal, below, x.shape[1])


def sliced(problem: TransportProblem, weights: Tensor, *, slices_: Slices | None = None) -> Tensor:
    """(m,) sliced squared 2-Wasserstein distances of mixtures (m, p), times the width: in units of the problem's scale.

    One-dimensional transport in closed form: with A_i the mixture's mass up to point x_i and G^-1 the target's
    quantiles, W2^2 = sum_i int_(A_i-1)^A_i (x_i - G^-1)^2. Differentiable in the weights, scaled to sum 1 (Bonneel et
    al. 2015). Give ``slices`` of the same problem to sort only once.
    """
    cut = slices_ or slices(problem)
    mass = _normal(weights) / problem.counts
    mass = mass[:, problem.source]
    q = cut.goal.shape[1]
    total = mass.new_zeros(len(mass))
    for order, x, y, below in zip(cut.order, cut.points, cut.goal, cut.below, strict=True):
        each = mass[:, order]
        up_to = each.cumsum(dim=1).clamp_max(1.0)
        at = (up_to.detach() * q).long().clamp_max(q - 1)
        area = below[at] + (up_to - at / q) * y[at]
        pieces = torch.diff(area, dim=1, prepend=torch.zeros_like(area[:, :1]))
        total = total + (each * x**2).sum(dim=1) - 2 * (pieces * x).sum(dim=1) + (y**2).mean()
    return total * cut.width / len(cut.order)


@dataclass(frozen=True, eq=False)
class Energies:
    """Mean distances |x - x'|: ``within`` (p, p) of sources, ``across`` (p,) to the target, ``inside`` the target's."""

    within: Tensor
    across: Tensor
    inside: float


def energies(problem: TransportProblem) -> Energies:
    """Compare all pairs once; all mixtures share it. A sample is never compared with itself: no bias."""
    x, y = vectors(problem.pool), vectors(problem.target)
    parts = [x[problem.source == i] for i in range(len(problem.names))]
    within = torch.stack([torch.stack([_mean(a, b) for b in parts]) for a in parts])
    across = torch.stack([_mean(a, y) for a in parts])
    return Energies(within, across, float(_mean(y, y)))


def energy(problem: TransportProblem, weights: Tensor, *, energies_: Energies | None = None) -> Tensor:
    """(m,) energy distances 2 E|X - Y| - E|X - X'| - E|Y - Y'| of mixtures (m, p): the squared maximum mean discrepancy
    of the kernel -|x - x'| (Sejdinovic et al. 2013), quadratic in the shares, in units of the root of the scale."""
    known = energies_ or energies(problem)
    w = _normal(weights)
    return 2 * w @ known.across - ((w @ known.within) * w).sum(dim=1) - known.inside


def vectors(cloud: Cloud) -> Tensor:
    """(n, d) features, or (n, 3 d) with the class's mean and deviations, over the root of 2, float64."""
    x = cloud.features.double()
    if cloud.group is None:
        return x
    centre = np.stack([part.mean(axis=0, dtype=np.float64) for part in cloud.members])
    spread = np.stack([part.std(axis=0, dtype=np.float64) for part in cloud.members])
    table = torch.from_numpy(np.hstack([centre, spread])).to(x)
    return torch.cat([x, table[cloud.group]], dim=1) / 2**0.5


def _normal(weights: Tensor) -> Tensor:
    w = weights.double()
    return w / w.sum(dim=1, keepdim=True)


def _mean(a: Tensor, b: Tensor) -> Tensor:
    pairs = len(a) * (len(b) - 1 if a is b else len(b))
    return torch.cdist(a, b).sum() / pairs
