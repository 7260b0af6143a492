"""How near a target point finds its nearest of k draws from a mixture: transport with the mixture's marginal left free.

Balanced transport asks every example of a mixture to serve the target; a learner asks only that something near has been
seen. Transport of the target onto k draws with free marginal on the draws (semi-relaxed) moves every point to its
nearest draw; over the draws its expectation has a closed form. In our trials (`benchmarks/selection/transport.py`) a
line in it predicts the accuracy of skewed mixtures with about half of the error of a line in the balanced distance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from curate.transport.distance import attach
from curate.transport.ground_cost import TransportProblem

POINTS = 1 << 20  # cells of (point of the pool, point of the target) at a time


@dataclass(frozen=True, eq=False)
class Order:
    """Pool points by their cost from every target point: ``gaps`` (n, q) from one cost to the next, the last 0;
    ``first`` (q,) the lowest costs; ``within`` (p, n, q) share of each source at or under a cost, float32."""

    gaps: Tensor
    first: Tensor
    within: Tensor


def order(problem: TransportProblem) -> Order:
    """Sort the costs once; all mixtures and numbers of draws share it. Memory: (p + 3) n q floats."""
    costs, at = problem.across.dense().sort(dim=0)
    source = problem.source[at]
    gaps = torch.cat([costs[1:] - costs[:-1], torch.zeros_like(costs[:1])])
    within = torch.stack(
        [(source == i).cumsum(dim=0).float() / problem.counts[i].float() for i in range(len(problem.names))]
    )
    return Order(gaps, costs[0], within)


def reach(problem: TransportProblem, weights: Tensor, draws: float, *, sorted_: Order | None = None) -> Tensor:
    """(m,) mean over the target of the expected cost to the nearest of ``draws`` from mixtures ``weights`` (m, p).

    With F_i the mixture's mass among the i nearest: c_1 + sum_i (c_(i+1) - c_i) (1 - F_i)^draws. In units of the
    problem's scale; differentiable in the weights, which are scaled to sum 1. Give ``order`` of the same problem to
    sort only once.
    """
    shares = weights.detach().double().clamp_min(0)
    w = (shares / shares.sum(dim=1, keepdim=True)).float()
    found = sorted_ or order(problem)
    n, q = found.gaps.shape
    p, m = len(problem.names), len(w)
    value = found.first.double().mean().repeat(m)
    slope = value.new_zeros(m, p)
    gaps, within = found.gaps.reshape(-1), found.within.reshape(p, -1)
    step = max(1, POINTS // m)
    for start in range(0, n * q, step):
        cells = slice(start, start + step)
        left = (1 - w @ within[:, cells]).clamp(0, 1)
        power = left ** (draws - 1) * gaps[cells]
        value += (power * left).double().sum(dim=1) / q
        slope -= draws * (power @ within[:, cells].T).double() / q
    along = slope - (slope * w.double()).sum(dim=1, keepdim=True)
    return attach(weights, value, along)
