"""The sizes of runs, and how the losses of mixtures change between them.

In: runs of several sizes. Out: groups of runs, and a `Change` for each size but the anchor. What evals have in common
(how much differences stretch, and how much is new) is learned from all evals together: a few large runs of one eval
would not tell. Source: Kennedy and O'Hagan 2000 (Biometrika 87); Le Gratiet and Garnier 2014 (arXiv 1210.0686).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from curate.fitting.gaussian.kernel import Kernel, surprise, value_and_slope
from curate.fitting.gaussian.process import Change, Points, Process, reaches
from curate.runs.discrepancy import SAME_SIZE
from curate.runs.recipes import Recipes

# Sorted by compute, runs that follow each other by less than this step of its logarithm are of one group.
SAME_COMPUTE = math.log(SAME_SIZE)
# Centres and standard deviations of the priors of what changes with size. Measured on the public tables with two sizes:
# differences stretch by -13 to +14 %, by 4 to 16 % more or less for each eval, and 5 to 40 % of them are new.
PRIORS = {
    "stretch": (0.0, 0.5),
    "log doubt": (math.log(0.15), 1.0),
    "log fresh": (math.log(0.2), 1.0),
    "log noise": (0.0, 0.7),
}
STEPS = 60  # of the minimiser over these four numbers


@dataclass(frozen=True)
class Size:
    """A size of runs: the log of tokens times parameters, the tokens and the parameters of its middle run."""

    compute: float
    tokens: float
    params: float


def group(recipes: Recipes) -> tuple[tuple[Size, ...], np.ndarray]:
    """Return the sizes of n runs in the order of compute, and the (n,) index of the size of each run."""
    tokens, params = recipes.tokens.numpy(), recipes.params.numpy()
    compute = np.log(tokens * params)
    order = np.argsort(compute, kind="stable")
    steps = np.diff(compute[order]) > SAME_COMPUTE
    codes = np.empty(len(compute), dtype=int)
    codes[order] = np.concatenate([[0], np.cumsum(steps)])
    middles = [order[codes[order] == code] for code in range(codes.max() + 1)]
    rows = [members[len(members) // 2] for members in middles]
    return tuple(Size(float(compute[i]), float(tokens[i]), float(params[i])) for i in rows), codes


def chain(anchor: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return pairs (size, its neighbour nearer to the anchor) of ``count`` sizes, from the anchor outwards."""
    return (*((j, j - 1) for j in range(anchor + 1, count)), *((j, j + 1) for j in range(anchor - 1, -1, -1)))


@dataclass(frozen=True)
class EvalRuns:
    """The n runs of one eval.

    Attributes:
        shares: (n, p).
        values: (n,) log losses minus those of the base law.
        codes: (n,) index of the size of each run.
        kernel: of the anchor.
        noise: standard deviation of log loss of a run of the anchor's size.
        unseen: root mean square error of log loss of the anchor's runs, each left out in turn.
        structure: (n, j) centred log losses that each change stretches.
        changes: of the sizes that are learned so far; the others have their defaults.
    """

    shares: Tensor
    values: Tensor
    codes: np.ndarray
    kernel: Kernel
    noise: float
    unseen: float
    structure: Tensor
    changes: tuple[Change, ...]

    def points(self, computes: Sequence[float]) -> Points:
        """Return the runs as points, with the log compute of each size."""
        compute = torch.tensor([computes[code] for code in self.codes], dtype=torch.float64)
        return Points(self.shares, reaches(compute, self.changes), self.structure)


def learn_changes(evals: Sequence[EvalRuns], sizes: Sequence[Size], anchor: int) -> tuple[tuple[Change, ...], ...]:
    """Return the changes of each eval, learned from the anchor outwards by marginal likelihood.

    What is learned for all evals together: the stretch, its doubt, the part of new differences and of noise.
    """
    for j in range(len(sizes) - 1):
        likelihoods = [f for runs in evals if (f := _likelihood(runs, sizes, anchor, j)) is not None]
        stretch, log_doubt, log_fresh, log_noise = _most_likely(likelihoods)
        learned = []
        for runs in evals:
            change = replace(
                runs.changes[j],
                stretch=stretch,
                doubt=math.exp(log_doubt),
                fresh=math.exp(2 * log_fresh) * _scale(runs, j, anchor),
                noise=math.exp(log_noise) * runs.noise,
            )
            learned.append(replace(runs, changes=(*runs.changes[:j], change, *runs.changes[j + 1 :])))
        evals = learned
    return tuple(runs.changes for runs in evals)


def _scale(runs: EvalRuns, j: int, anchor: int) -> float:
    """Return the variance between the anchor's mixtures over the kernel's variance.

    With long length scales the kernel's variance is mostly common to all mixtures, so that it says little about
    differences.
    """
    rows = torch.from_numpy(runs.codes == anchor)
    prior = runs.kernel.covariance(runs.shares[rows], runs.shares[rows]).diagonal().mean()
    return float(runs.structure[rows, j].var() / prior)


Likelihood = Callable[[Tensor], Tensor]  # (4,) stretch, log doubt, log fresh, log noise -> minus log likelihood


def _likelihood(runs: EvalRuns, sizes: Sequence[Size], anchor: int, j: int) -> Likelihood | None:
    """Return minus the log likelihood of the runs of change j's size, given the runs that are nearer to the anchor.

    It is None if the eval has no run of that size.
    """
    codes = [anchor, *(code for code, _ in chain(anchor, len(sizes)))]
    nearer = dict(zip(codes[: j + 1], (runs.noise, *(change.noise for change in runs.changes)), strict=False))
    new, old = torch.from_numpy(runs.codes == codes[j + 1]), torch.from_numpy(np.isin(runs.codes, list(nearer)))
    if not bool(new.any()):
        return None
    points = runs.points([size.compute for size in sizes])
    noise = torch.tensor([nearer.get(code, runs.noise) for code in runs.codes], dtype=torch.float64)
    # The process without this change: its neighbour's. Later changes do not reach these runs.
    before = replace(runs.changes[j], stretch=0.0, doubt=0.0, fresh=0.0)
    prior = Process(runs.kernel, (*runs.changes[:j], before, *runs.changes[j + 1 :]))
    neighbour = prior.conditioned(points.take(old), runs.values[old], noise[old])
    rows = points.take(new)
    structure = rows.structure[:, j]
    residual = runs.values[new] - neighbour.mean(rows)
    # The common shift of the size is already in this covariance.
    certain = neighbour.covariance(rows)
    fresh = runs.kernel.covariance(rows.shares, rows.shares) * _scale(runs, j, anchor)
    stretched = torch.outer(structure, structure)
    identity = torch.eye(len(residual), dtype=residual.dtype)

    def likelihood(point: Tensor) -> Tensor:
        stretch, (doubt, part, noise) = point[0], point[1:].exp() ** 2
        covariance = certain + doubt * stretched + part * fresh + noise * runs.noise**2 * identity
        return surprise(covariance, residual - stretch * structure)

    return likelihood


def _most_likely(likelihoods: Sequence[Likelihood]) -> list[float]:
    """Return the four numbers of the largest likelihood of all evals together, times the priors."""
    centres, widths = torch.tensor(list(PRIORS.values()), dtype=torch.float64).T

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.tensor(x, requires_grad=True)
        value = 0.5 * (((point - centres) / widths) ** 2).sum()
        for likelihood in likelihoods:
            value = value + likelihood(point)
        return value_and_slope(value, point)

    bounds = np.stack([centres - 6 * widths, centres + 6 * widths], axis=1)
    end = minimize(objective, centres.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return [float(x) for x in end.x]
