"""Build the mixtures in which one pool's share goes from 0 to 1 and the other pools fill the rest.

In: a predictor of the general loss, pools and a budget. Out: a `SharePath`. The other pools fill the rest in proportion
to their sizes, in given proportions, or in those with the lowest predicted general loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError, first_few
from curate.planning import minimise
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

KNOTS = 21  # shares at which the rest is optimised; proportions between two of them are interpolated
NEARLY_ALL = 0.98  # of the rest for one pool, in a start near a corner; from the corner itself slopes can be infinite
BEST = "best"


@dataclass(frozen=True)
class SharePath:
    """The mixtures at one budget in which the share of pool number ``pool`` goes from 0 to 1.

    ``unique`` (p,): unique tokens of each pool. ``rest`` (k, p): proportions of the other pools at k evenly spaced
    shares of ``pool``; each row sums to 1, and has 0 for ``pool`` itself.
    """

    budget: Budget
    pool: int
    unique: Tensor
    rest: Tensor

    def recipes(self, shares: Tensor) -> Recipes:
        """Return one recipe for each of g shares of the pool; ``shares`` is (g,), in [0, 1]."""
        knots = np.linspace(0.0, 1.0, len(self.rest))
        columns = [np.interp(shares.numpy(), knots, column) for column in self.rest.numpy().T]
        mixtures = (1 - shares)[:, None] * torch.from_numpy(np.stack(columns, axis=1))
        mixtures[:, self.pool] = shares
        return _recipes(mixtures, self.budget, self.unique)

    def recipe(self, share: float) -> Recipes:
        """Return the recipe in which the pool has this share, as `Recipes` with n = 1."""
        return self.recipes(torch.tensor([share], dtype=torch.float64))


def share_path(
    general: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    *,
    pool: str,
    proportions: Mapping[str, float] | str | None = None,
) -> SharePath:
    """Return the mixtures in which the share of ``pool`` goes from 0 to 1 at one budget.

    Args:
        general: predictor of the general loss.
        pools: give the unique tokens; a pool of the fit that is not among them never runs out.
        budget: tokens and parameters of every mixture.
        pool: the name of the pool whose share changes.
        proportions: how the other pools fill the rest. A mapping gives their proportions by name; "best" takes those
            with the lowest general loss; None takes their sizes. If some of them never run out, None divides the rest
            evenly among these.

    Raises:
        SchemaError: if the fit knows only one pool, or the proportions do not name all others.
    """
    names = general.pools
    unique = unique_tokens(names, pools)
    if len(names) < 2:
        raise SchemaError(f"the fit knows one pool, {pool}: a critical ratio needs another one to replay")
    if isinstance(proportions, str) and proportions != BEST:
        raise SchemaError(f"replay proportions {proportions!r}: give shares by pool, {BEST!r}, or nothing to use sizes")
    fixed = proportions if isinstance(proportions, Mapping) else None
    path = SharePath(budget, names.index(pool), unique, _rest(names, pool, unique, fixed)[None])
    # With two pools there is nothing to choose: the other pool is the rest.
    return _optimised(general, path) if proportions == BEST and len(names) > 2 else path


def unique_tokens(names: Sequence[str], pools: Sequence[Pool]) -> Tensor:
    """Return (p,) unique tokens in the order of ``names``; infinite for a pool that is not among ``pools``.

    Raises:
        SchemaError: if a pool is not among ``names``.
    """
    sizes = {pool.name: pool.tokens for pool in pools}
    if unknown := sorted(set(sizes) - set(names)):
        raise SchemaError(
            f"no pool {unknown[0]!r} in the fit: it knows {first_few(names, near=unknown[0])}. Use the "
            f"same names in pools and fit"
        )
    return torch.tensor([sizes.get(name, torch.inf) for name in names], dtype=torch.float64)


def _rest(names: Sequence[str], pool: str, unique: Tensor, proportions: Mapping[str, float] | None) -> Tensor:
    """Return (p,) proportions of the other pools, which sum to 1; 0 for ``pool`` itself."""
    if proportions is not None:
        if unmatched := sorted(set(proportions) ^ (set(names) - {pool})):
            raise SchemaError(
                f"replay proportions: {first_few(unmatched)} on one side only, the proportions or the fit. Give one "
                f"proportion for each pool of the fit except {pool}"
            )
        rest = torch.tensor([proportions.get(name, 0.0) for name in names], dtype=torch.float64)
    else:
        unlimited = torch.isinf(unique)
        unlimited[names.index(pool)] = False
        rest = unlimited.double() if bool(unlimited.any()) else unique.clone()
    rest[names.index(pool)] = 0.0
    if not (bool((torch.isfinite(rest) & (rest >= 0)).all()) and float(rest.sum()) > 0):
        raise SchemaError(f"replay proportions {proportions}: they must be 0 or more and not all 0")
    return rest / rest.sum()


def _optimised(general: Predictor, path: SharePath) -> SharePath:
    """Return the path with the proportions of lowest predicted general loss at each of KNOTS shares.

    Each search starts from the proportions of ``path``, from even ones, and from nearly all of one pool. The best
    solution is kept.
    """
    knots = torch.linspace(0.0, 1.0, KNOTS, dtype=torch.float64)
    p = len(path.unique)
    proportions = _starts(path)  # (s, p)
    starts = (1 - knots)[:, None, None] * proportions  # (k, s, p)
    starts[:, :, path.pool] = knots[:, None]
    start = starts.flatten(0, 1)
    low, high = torch.zeros_like(start), torch.ones_like(start)
    # Equal bounds hold the pool's own share, so that only the rest moves.
    low[:, path.pool] = high[:, path.pool] = knots.repeat_interleave(len(proportions))

    def objective(points: Tensor, rows: Tensor) -> Tensor:
        return general.loss(_recipes(points, path.budget, path.unique))

    solve = minimise.minimize if general.differentiable else minimise.search
    solution = solve(objective, start, Region.box(low, high))
    best = solution.value.reshape(KNOTS, -1).argmin(dim=1)
    rest = solution.point.reshape(KNOTS, -1, p)[torch.arange(KNOTS), best]
    rest[:, path.pool] = 0.0
    total = rest.sum(dim=1, keepdim=True)
    # At share 1 nothing is left for the rest: any proportions will do.
    return replace(path, rest=torch.where(total > 0, rest / total.clamp_min(1e-300), path.rest))


def _starts(path: SharePath) -> Tensor:
    """Return (s, p) proportions of the other pools from which the search starts."""
    p = len(path.unique)
    even = torch.ones(p, p, dtype=torch.float64) / (p - 1)
    corners = NEARLY_ALL * torch.eye(p, dtype=torch.float64) + (1 - NEARLY_ALL) * even
    proportions = torch.cat([path.rest, even[:1], corners])
    # Rows 0 and 1 are the path's and the even ones; the corner of the pool itself is no start.
    proportions = proportions[[i for i in range(len(proportions)) if i != 2 + path.pool]]
    proportions[:, path.pool] = 0.0
    return proportions / proportions.sum(dim=1, keepdim=True)


def _recipes(mixtures: Tensor, budget: Budget, unique: Tensor) -> Recipes:
    ones = torch.ones(len(mixtures), dtype=torch.float64)
    return Recipes(mixtures, budget.tokens * ones, budget.params * ones, unique.expand(len(mixtures), -1))
