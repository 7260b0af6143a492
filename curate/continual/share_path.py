"""Mixtures along the share of one pool: what fills the rest, by size, as given, or what forgets least."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import minimise
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

KNOTS = 21  # shares at which the rest is optimised; linear between them
AHEAD = 0.98  # proportion of the pool in front in a start
BEST = "best"


@dataclass(frozen=True)
class Path:
    """Mixtures at one ``budget`` as pool number ``pool`` goes from share 0 to 1, and (p,) ``unique`` tokens on hand.

    ``rest`` (k, p): proportions of the other pools at k even shares, rows sum to 1, 0 for the pool itself.
    """

    budget: Budget
    pool: int
    unique: Tensor
    rest: Tensor

    def recipes(self, shares: Tensor) -> Recipes:
        """(g,) shares of the pool to g recipes."""
        knots = np.linspace(0.0, 1.0, len(self.rest))
        columns = [np.interp(shares.numpy(), knots, column) for column in self.rest.numpy().T]
        mixtures = (1 - shares)[:, None] * torch.from_numpy(np.stack(columns, axis=1))
        mixtures[:, self.pool] = shares
        return _recipes(mixtures, self.budget, self.unique)


def path(
    general: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    *,
    pool: str,
    proportions: Mapping[str, float] | str | None = None,
) -> Path:
    """Return the mixtures along the share of ``pool``; see ``curate.continual.critical_ratio.critical_ratio`` for the
    other arguments.

    A pool that is not among ``pools`` is not limiting: unique tokens inf. By size, the pools that are not limiting
    share the rest evenly.
    """
    names = general.pools
    unique = on_hand(names, pools)
    if len(names) < 2:
        raise SchemaError(f"the fit knows one pool, {pool}: a critical ratio needs another one to replay")
    i = names.index(pool)
    given = proportions if isinstance(proportions, Mapping) else None
    made = Path(budget, i, unique, _rest(names, pool, unique, given)[None])
    if isinstance(proportions, str) and proportions != BEST:
        raise SchemaError(f"replay proportions {proportions!r}: give shares by pool, {BEST!r}, or nothing (by size)")
    return _optimised(general, made) if proportions == BEST and len(names) > 2 else made


def on_hand(names: Sequence[str], pools: Sequence[Pool]) -> Tensor:
    """(p,) unique tokens in the order of ``names``; a pool that is not among ``pools`` is not limiting: inf."""
    sizes = {one.name: one.tokens for one in pools}
    if unknown := sorted(set(sizes) - set(names)):
        raise SchemaError(f"no pool {unknown[0]!r} in the fit: it knows {', '.join(names)}; name the pools alike")
    return torch.tensor([sizes.get(name, torch.inf) for name in names], dtype=torch.float64)


def _rest(names: Sequence[str], pool: str, unique: Tensor, proportions: Mapping[str, float] | None) -> Tensor:
    """(p,) proportions of the other pools."""
    if proportions is not None:
        if odd := sorted(set(proportions) ^ (set(names) - {pool})):
            raise SchemaError(f"replay proportions: {', '.join(odd)} on one side only; give one for each other pool")
        rest = torch.tensor([proportions.get(name, 0.0) for name in names], dtype=torch.float64)
    else:
        unlimited = torch.isinf(unique)
        unlimited[names.index(pool)] = False
        rest = unlimited.double() if bool(unlimited.any()) else unique.clone()
    rest[names.index(pool)] = 0.0
    if not (bool((torch.isfinite(rest) & (rest >= 0)).all()) and float(rest.sum()) > 0):
        raise SchemaError(f"replay proportions {proportions}: they must be 0 or more and not all 0")
    return rest / rest.sum()


def _optimised(general: Predictor, first: Path) -> Path:
    """Return the path with the proportions that give the lowest predicted general loss at each of KNOTS shares.

    Each is searched from the first path's, from even ones, and from nearly all of one pool; the best is kept.
    """
    knots = torch.linspace(0.0, 1.0, KNOTS, dtype=torch.float64)
    p = len(first.unique)
    even = torch.ones(p, p, dtype=torch.float64) / (p - 1)
    tries = torch.cat([first.rest, even[:1], AHEAD * torch.eye(p, dtype=torch.float64) + (1 - AHEAD) * even])
    tries = tries[[i for i in range(len(tries)) if i != 2 + first.pool]]  # (s, p)
    tries[:, first.pool] = 0.0
    tries = tries / tries.sum(dim=1, keepdim=True)
    starts = (1 - knots)[:, None, None] * tries  # (k, s, p)
    starts[:, :, first.pool] = knots[:, None]
    start = starts.flatten(0, 1)
    low, high = torch.zeros_like(start), torch.ones_like(start)
    low[:, first.pool] = high[:, first.pool] = knots.repeat_interleave(len(tries))

    def objective(points: Tensor, rows: Tensor) -> Tensor:
        return general.loss(_recipes(points, first.budget, first.unique))

    solve = minimise.minimize if general.differentiable else minimise.search
    found = solve(objective, start, Region.box(low, high))
    best = found.value.reshape(KNOTS, -1).argmin(dim=1)
    rest = found.point.reshape(KNOTS, -1, p)[torch.arange(KNOTS), best]
    rest[:, first.pool] = 0.0
    total = rest.sum(dim=1, keepdim=True)
    return replace(first, rest=torch.where(total > 0, rest / total.clamp_min(1e-300), first.rest))


def _recipes(mixtures: Tensor, budget: Budget, unique: Tensor) -> Recipes:
    full = torch.ones(len(mixtures), dtype=torch.float64)
    return Recipes(mixtures, budget.tokens * full, budget.params * full, unique.expand(len(mixtures), -1))
