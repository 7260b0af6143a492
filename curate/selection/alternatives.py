"""Simple ways to split a purchase over the sources, to compare with. None needs a training."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from curate.planning import scipy_solvers
from curate.planning.regions import Region
from curate.pool import baselines
from curate.pool.pool import Pool
from curate.selection.mixture_distance import MixtureDistance
from curate.transport import distance
from curate.transport.ground_cost import TransportProblem

UNITS = 10  # of the mixture, which forward selection hands out one by one
RANDOM = 16  # mixtures drawn evenly over the simplex; their mean is shown
RIDGE = 1e-2  # of the mean second moment, in the information matrix of the optimal design


def alternatives(measure: MixtureDistance, pools: Sequence[Pool], *, seed: int = 0) -> dict[str, Tensor]:
    """Return mixtures (k, p) by name. k is 1, except for the random mixtures, which stand for their mean."""
    problem = measure.problem
    p = len(problem.names)
    fixed = baselines.fixed(pools)
    corners = torch.eye(p, dtype=torch.float64)
    single = int(measure(corners).argmin())
    random = np.random.default_rng(seed).dirichlet(np.ones(p), size=RANDOM)
    return {
        "uniform": torch.from_numpy(fixed["uniform"])[None],
        "proportional": torch.from_numpy(fixed["proportional"])[None],
        "best single": corners[single][None],
        "random": torch.from_numpy(random),
        "greedy": greedy(measure, single)[None],
        "values": by_value(problem)[None],
        "design": design(problem)[None],
    }


def greedy(measure: MixtureDistance, first: int) -> Tensor:
    """Return the mixture (p,) of forward selection.

    The first unit is of source number ``first``. Each further unit goes to the source that brings the mixture nearest
    to the target.
    """
    p = len(measure.problem.names)
    units = torch.zeros(p, dtype=torch.float64)
    units[first] = 1
    for _ in range(UNITS - 1):
        trials = units + torch.eye(p, dtype=torch.float64)
        units = trials[int(measure(trials / trials.sum(dim=1, keepdim=True)).argmin())]
    return units / units.sum()


def by_value(problem: TransportProblem) -> Tensor:
    """Return the even mixture (p,) of the better half of the sources, by the mean value of their samples.

    Values are calibrated dual potentials at the uniform mixture (LAVA; Just et al. 2023). They rank the sources, and
    say nothing of ratios.
    """
    p = len(problem.names)
    solution = distance.solve(problem, torch.full((1, p), 1 / p, dtype=torch.float64)).require()
    kept = solution.gradient[0].argsort(stable=True)[: max(1, p // 2)]
    shares = torch.zeros(p, dtype=torch.float64)
    shares[kept] = 1 / len(kept)
    return shares


def design(problem: TransportProblem) -> Tensor:
    """Return the mixture (p,) that leaves the target least uncertain in a linear model, as DAVED (Lu et al. 2024).

    It minimises tr(T M(w)^-1), a V-optimal design. M(w) = sum_i w_i S_i + ridge, with second moments S_i of the sources
    and T of the target. Labels are not used.
    """
    x, y = problem.pool.features.double().cpu().numpy(), problem.target.features.double().cpu().numpy()
    source, p = problem.source.cpu().numpy(), len(problem.names)
    moments = np.stack([x[source == i].T @ x[source == i] / (source == i).sum() for i in range(p)])
    goal = y.T @ y / len(y)
    ridge = RIDGE * float(np.trace(goal)) / len(goal) * np.eye(len(goal))

    def value_and_gradient(w: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = np.linalg.inv(np.tensordot(w, moments, axes=1) + ridge)
        both = inverse @ goal @ inverse
        return float((inverse * goal).sum()), -np.einsum("kij,ij->k", moments, both)

    simplex = Region.box(torch.zeros(1, p, dtype=torch.float64), torch.ones(1, p, dtype=torch.float64))
    solution = scipy_solvers.slsqp(value_and_gradient, np.full(p, 1 / p), simplex)
    shares = np.clip(solution, 0, 1)
    return torch.from_numpy(shares / shares.sum())
