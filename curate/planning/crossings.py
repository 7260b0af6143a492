"""Which pools enter and leave the mixture as compute grows, and where; the shares that every draw would plan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import search
from curate.planning.aims import Aim
from curate.planning.limits import Limits
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor

IN_USE = 0.01  # a pool is in the mixture from this share on
POINTS = 8  # budgets a decade
STEPS = 150


@dataclass(frozen=True)
class Paths:
    """Planned shares over rising budgets: ``point`` (m, p) by the fit, ``draws`` (b, m, p) by each bootstrap draw."""

    pools: tuple[str, ...]
    budgets: tuple[Budget, ...]
    point: Tensor
    draws: Tensor

    def table(self, level: float = 0.9) -> pl.DataFrame:
        """Return one row a budget and pool: tokens, params, pool, weight, low, high over the draws."""
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = torch.quantile(self.draws, tails, dim=0)
        return pl.DataFrame(
            {"tokens": budget.tokens, "params": budget.params, "pool": pool, "weight": float(self.point[i, k]),
             "low": float(low[i, k]), "high": float(high[i, k])}
            for i, budget in enumerate(self.budgets)
            for k, pool in enumerate(self.pools)
        )  # fmt: skip


@dataclass(frozen=True)
class Crossing:
    """``pool`` enters or leaves the mixture at ``tokens``; 90 % of the draws do so from ``low`` to ``high``.

    A draw in which the pool is already in (or out) at the smallest budget counts as 0, one in which it is not yet at
    the largest as inf; draws with crossings of the other kind alone do not count. ``seen``: which share of all draws
    shows it between the budgets looked at.
    """

    pool: str
    enters: bool
    tokens: float
    low: float
    high: float
    seen: float

    def __str__(self) -> str:
        """Say it in one line."""
        named = {0.0: "below the range", np.inf: "above the range"}
        low, high = (named.get(x, f"{x:.2g}") for x in (self.low, self.high))
        verb = "add" if self.enters else "drop"
        return f"{verb} {self.pool} above {self.tokens:.2g} tokens ({low} to {high}, in {self.seen:.0%} of the draws)"


def paths(
    fit: Predictor,
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    limits: Limits = Limits(),  # noqa: B008
    *,
    aim: Aim = Aim(),  # noqa: B008
    draws: int = 40,
    starts: int = 24,
    seed: int = 0,
) -> Paths:
    """Plan every budget by the fit and by its first ``draws`` bootstrap draws, each from the fit's mixtures and the
    baselines."""
    if not fit.differentiable:
        raise SchemaError("shares under every draw need a law with a gradient; trees alone have none")
    if aim.worst is not None:
        raise SchemaError(
            "shares under every draw are of one loss or a weighted sum, not of the worst of several evals"
        )
    once = search.problem(fit, pools, budgets, limits, replace(aim, quantile=None))
    point = search.solve(search.problem(fit, pools, budgets, limits, aim), starts=starts, seed=seed).best
    m, p = point.shape
    draws = min(draws, len(fit.draw_losses(search.on_hand(once.pools, once.budgets, point))))
    first = torch.cat([point[:, None], search.baselines(once)], dim=1)  # (m, s, p)
    s = first.shape[1]
    many = replace(once, budgets=once.budgets * draws, region=once.region.tile(draws))
    which = torch.arange(draws).repeat_interleave(m * s)
    found = search.descend(
        many, [lambda recipes, rows: fit.drawn(recipes, which[rows])], first.repeat(draws, 1, 1), steps=STEPS, tol=1e-6
    )
    return Paths(tuple(pool.name for pool in once.pools), once.budgets, point, found.best.reshape(draws, m, p))


def between(low: Budget, high: Budget, *, points: int = POINTS) -> tuple[Budget, ...]:
    """Return budgets from one to the other, ``points`` a decade of tokens."""
    count = max(2, round(points * np.log10(high.tokens / low.tokens)) + 1)
    tokens = np.geomspace(low.tokens, high.tokens, count).tolist()
    params = np.geomspace(low.params, high.params, count).tolist()
    return tuple(Budget(t, n) for t, n in zip(tokens, params, strict=True))


def crossings(found: Paths, *, level: float = 0.9) -> tuple[Crossing, ...]:
    """Return where pools enter (reach 1 % of the mixture) and leave, by rising compute; budgets must rise."""
    tokens = np.array([budget.tokens for budget in found.budgets])
    if not (np.diff(tokens) > 0).all():
        raise SchemaError("crossings need budgets whose tokens rise: sort them, and give each once")
    result = []
    for k, pool in enumerate(found.pools):
        mine = found.point[:, k].numpy()
        others = [_places(row, tokens) for row in found.draws[:, :, k].numpy()]
        for enters, at in _places(mine, tokens):
            same = [
                _nearest(places, enters, at, row, tokens)
                for places, row in zip(others, found.draws[:, :, k].numpy(), strict=True)
            ]
            known = np.sort([x for x in same if x is not None])
            low, high = 0.0, np.inf
            if len(known):
                low, high = (float(known[round(q * (len(known) - 1))]) for q in ((1 - level) / 2, (1 + level) / 2))
            seen = float(np.mean([x is not None and 0 < x < np.inf for x in same]))
            result.append(Crossing(pool, enters, at, low, high, seen))
    return tuple(sorted(result, key=lambda one: (one.tokens, one.pool)))


def _places(shares: np.ndarray, tokens: np.ndarray) -> list[tuple[bool, float]]:
    """Where (m,) shares pass IN_USE: (upwards, tokens)."""
    inside, logs = shares >= IN_USE, np.log(tokens)
    found = []
    for i in np.flatnonzero(inside[1:] != inside[:-1]).tolist():
        enters = bool(inside[i + 1])
        out, first, second = (i, i + 1, i + 2) if enters else (i + 1, i, i - 1)  # outside, inside, further inside
        found.append((enters, float(np.exp(_cut(shares, logs, out, first, second)))))
    return found


def _cut(shares: np.ndarray, logs: np.ndarray, out: int, first: int, second: int) -> float:
    """Log tokens where a share is IN_USE between budgets ``out`` and ``first``.

    A share is flat at 0 outside and then about linear in log tokens, so the line is drawn through the two budgets
    inside; where that leaves the cell, through its ends.
    """
    if shares[out] < IN_USE / 10 and 0 <= second < len(shares) and shares[second] > shares[first]:
        slope = (shares[second] - shares[first]) / (logs[second] - logs[first])
        at = logs[first] - (shares[first] - IN_USE) / slope
        if min(logs[out], logs[first]) <= at <= max(logs[out], logs[first]):
            return float(at)
    part = (IN_USE - shares[out]) / (shares[first] - shares[out])
    return float(logs[out] + part * (logs[first] - logs[out]))


def _nearest(
    places: list[tuple[bool, float]], enters: bool, at: float, shares: np.ndarray, tokens: np.ndarray
) -> float | None:
    """The draw's crossing of the same kind nearest to ``at``; 0 or inf where it lies outside the budgets; else None."""
    same = [place for kind, place in places if kind == enters]
    if same:
        return min(same, key=lambda place: abs(np.log(place / at)))
    if places:
        return None
    return 0.0 if (shares[0] >= IN_USE) == enters else np.inf
