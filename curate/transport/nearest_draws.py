"""Measure how near each target point finds its nearest of k draws from a mixture.

In: `TransportProblem`, mixtures and k. Out: mean distances, differentiable in the shares.

Balanced transport asks every example of a mixture to serve the target; a learner asks only that something near has been
seen. So the marginal on the mixture is left free (semi-relaxed transport): every target point moves to its nearest
draw. The expectation over the draws has a closed form. In our trials (`benchmarks/selection/transport.py`), a line in
this distance predicts the accuracy of skewed mixtures with about half of the error of a line in the balanced one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.transport.distance import attach
from curate.transport.ground_cost import TransportProblem

CELLS = 1 << 20  # pairs of a pool point and a target point that are treated at a time


@dataclass(frozen=True, eq=False, repr=False)
class Order:
    """Pool points sorted by their cost from every target point.

    Attributes:
        gaps: (n, q) from one cost to the next; the last is 0.
        first: (q,) lowest costs.
        within: (p, n, q) share of each source at or under a cost, float32.
    """

    gaps: Tensor
    first: Tensor
    within: Tensor


def order(problem: TransportProblem) -> Order:
    """Sort the costs once; all mixtures and numbers of draws share the order. It takes (p + 3) n q floats of memory."""
    costs, position = problem.across.dense().sort(dim=0)
    source = problem.source[position]
    gaps = torch.cat([costs[1:] - costs[:-1], torch.zeros_like(costs[:1])])
    within = torch.stack(
        [(source == i).cumsum(dim=0).float() / problem.counts[i].float() for i in range(len(problem.names))]
    )
    return Order(gaps, costs[0], within)


def reach(problem: TransportProblem, weights: Tensor, draws: float, *, sorted_: Order | None = None) -> Tensor:
    """Return the mean (m,) over the target of the expected cost to the nearest of ``draws`` from mixtures (m, p).

    With F_i the mixture's mass among the i nearest, it is c_1 + sum_i (c_(i+1) - c_i) (1 - F_i)^draws, in units of the
    problem's scale. It is differentiable in the weights, which are scaled to sum to 1. Give the `order` of the same
    problem as ``sorted_`` to sort only once.
    """
    shares = weights.detach().double().clamp_min(0)
    w = (shares / shares.sum(dim=1, keepdim=True)).float()
    ordered = sorted_ or order(problem)
    n, q = ordered.gaps.shape
    p, m = len(problem.names), len(w)
    value = ordered.first.double().mean().repeat(m)
    slope = value.new_zeros(m, p)
    gaps, within = ordered.gaps.reshape(-1), ordered.within.reshape(p, -1)
    step = max(1, CELLS // m)
    for start in range(0, n * q, step):
        cells = slice(start, start + step)
        beyond = (1 - w @ within[:, cells]).clamp(0, 1)  # the mixture's mass that is farther than this cost
        power = beyond ** (draws - 1) * gaps[cells]
        value += (power * beyond).double().sum(dim=1) / q
        slope -= draws * (power @ within[:, cells].T).double() / q
    along_simplex = slope - (slope * w.double()).sum(dim=1, keepdim=True)
    return attach(weights, value, along_simplex)
