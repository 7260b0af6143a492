"""Find where pools enter and leave the mixture as compute grows.

In: a predictor, pools, rising budgets, limits. Out: `PlannedShares` and `PoolCrossing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import search, solve
from curate.planning.aims import PREDICTED_LOSS, Aim
from curate.planning.limits import NO_LIMITS, Limits
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor

IN_USE = 0.01  # a pool is in the mixture from this share on
POINTS = 8  # budgets a decade
STEPS, TOLERANCE = 150, 1e-6  # of the descent under each draw; shares are needed to a percent


@dataclass(frozen=True, repr=False)
class PlannedShares:
    """Planned shares over m rising budgets: ``point`` (m, p) by the fit, ``draws`` (b, m, p) by each bootstrap draw."""

    pools: tuple[str, ...]
    budgets: tuple[Budget, ...]
    point: Tensor
    draws: Tensor

    def __repr__(self) -> str:
        """Return one line with the pools and the numbers of budgets and draws."""
        return f"PlannedShares({', '.join(self.pools)} at {len(self.budgets)} budgets, {len(self.draws)} draws)"

    def table(self, level: float = 0.9) -> pl.DataFrame:
        """Return one row a budget and pool: tokens, params, pool, weight, and low and high over the draws."""
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = torch.quantile(self.draws, tails, dim=0)
        return pl.DataFrame(
            {
                "tokens": budget.tokens,
                "params": budget.params,
                "pool": pool,
                "weight": float(self.point[i, k]),
                "low": float(low[i, k]),
                "high": float(high[i, k]),
            }
            for i, budget in enumerate(self.budgets)
            for k, pool in enumerate(self.pools)
        )


@dataclass(frozen=True)
class PoolCrossing:
    """A pool that enters or leaves the mixture at ``tokens``; 90 % of the draws say so from ``low`` to ``high``.

    A draw in which the pool is already in (or out) at the smallest budget counts as 0, and one in which it is not yet
    at the largest budget as inf. Draws that have crossings of the other kind alone do not count. ``seen`` is the share
    of all draws that show the crossing between the budgets.
    """

    pool: str
    enters: bool
    tokens: float
    low: float
    high: float
    seen: float

    def __str__(self) -> str:
        """Return the crossing as one line of text."""
        verb = "add" if self.enters else "drop"
        words = f"{verb} {self.pool} above {self.tokens:.2g} tokens"
        if not self.seen:
            return f"{words} (no bootstrap draw shows this between the planned budgets)"
        seen = f"{self.seen:.0%} of the draws show it between the planned budgets"
        return f"{words} ({interval_in_words(self.low, self.high)}; {seen})"


def interval_in_words(low: float, high: float) -> str:
    """Return the 90 % interval of a token count; an end of 0 or inf lies outside the planned budgets."""
    start = "less than all planned budgets" if low == 0 else f"{low:.2g}"
    end = "more than all planned budgets" if high == np.inf else f"{high:.2g}"
    return f"90 % interval: {start} to {end}"


def paths(
    fit: Predictor,
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    limits: Limits = NO_LIMITS,
    *,
    aim: Aim = PREDICTED_LOSS,
    draws: int = 40,
    starts: int = 24,
    seed: int = 0,
) -> PlannedShares:
    """Plan every budget by the fit and by its first ``draws`` bootstrap draws.

    A draw's plan starts from the fit's mixture and from the baselines.

    Raises:
        SchemaError: if the law has no gradient, or the aim is the worst of several evals.
    """
    if not fit.differentiable:
        raise SchemaError("shares under every draw need a law with a gradient; boosted trees have none")
    if aim.worst is not None:
        raise SchemaError(
            "shares under every draw need one loss or a weighted sum, not the worst of several evals: choose a target"
        )
    # A quantile is over all draws; a plan under one draw has no use for it.
    problem = search.problem(fit, pools, budgets, limits, replace(aim, quantile=None))
    point = solve.solve(search.problem(fit, pools, budgets, limits, aim), starts=starts, seed=seed).best
    m, p = point.shape
    # A fit may have fewer draws than were asked for.
    draws = min(draws, len(fit.draw_losses(search.on_hand(problem.pools, problem.budgets, point))))
    first = torch.cat([point[:, None], search.baselines(problem)], dim=1)  # (m, s, p)
    s = first.shape[1]
    batch = replace(problem, budgets=problem.budgets * draws, region=problem.region.tile(draws))
    # The batch runs over draws, budgets and starts, in this order; every row knows its draw.
    draw_of_row = torch.arange(draws).repeat_interleave(m * s)
    result = solve.descend(
        batch,
        [lambda recipes, rows: fit.drawn(recipes, draw_of_row[rows])],
        first.repeat(draws, 1, 1),
        steps=STEPS,
        tol=TOLERANCE,
    )
    names = tuple(pool.name for pool in problem.pools)
    return PlannedShares(names, problem.budgets, point, result.best.reshape(draws, m, p))


def between(low: Budget, high: Budget, *, points: int = POINTS) -> tuple[Budget, ...]:
    """Return budgets from one to the other, evenly in logarithms, ``points`` a decade of tokens."""
    count = max(2, round(points * np.log10(high.tokens / low.tokens)) + 1)
    tokens = np.geomspace(low.tokens, high.tokens, count).tolist()
    params = np.geomspace(low.params, high.params, count).tolist()
    return tuple(Budget(t, n) for t, n in zip(tokens, params, strict=True))


def crossings(shares: PlannedShares, *, level: float = 0.9) -> tuple[PoolCrossing, ...]:
    """Return where pools enter (reach 1 % of the mixture) and leave, by rising compute.

    Raises:
        SchemaError: if the tokens of the budgets do not rise.
    """
    tokens = np.array([budget.tokens for budget in shares.budgets])
    if not (np.diff(tokens) > 0).all():
        raise SchemaError("crossings need budgets whose tokens rise: sort them, and give each once")
    result = []
    for k, pool in enumerate(shares.pools):
        drawn = shares.draws[:, :, k].numpy()
        for enters, place in _places(shares.point[:, k].numpy(), tokens):
            places = [_nearest(row, tokens, enters, place) for row in drawn]
            counted = np.sort([x for x in places if x is not None])
            # Without a draw that counts, nothing is known about the place.
            low, high = 0.0, np.inf
            if len(counted):
                tails = ((1 - level) / 2, (1 + level) / 2)
                low, high = (float(counted[round(q * (len(counted) - 1))]) for q in tails)
            seen = float(np.mean([x is not None and 0 < x < np.inf for x in places]))
            result.append(PoolCrossing(pool, enters, place, low, high, seen))
    return tuple(sorted(result, key=lambda crossing: (crossing.tokens, crossing.pool)))


def _places(shares: np.ndarray, tokens: np.ndarray) -> list[tuple[bool, float]]:
    """Return where shares (m,) pass IN_USE: (upwards, tokens)."""
    inside, logs = shares >= IN_USE, np.log(tokens)
    places = []
    for i in np.flatnonzero(inside[1:] != inside[:-1]).tolist():
        enters = bool(inside[i + 1])
        out, first, second = (i, i + 1, i + 2) if enters else (i + 1, i, i - 1)  # outside, inside, further inside
        places.append((enters, float(np.exp(_log_tokens_of_crossing(shares, logs, out, first, second)))))
    return places


def _log_tokens_of_crossing(shares: np.ndarray, logs: np.ndarray, out: int, first: int, second: int) -> float:
    """Return log tokens where a share is IN_USE between budgets ``out`` and ``first``.

    A share is flat at 0 outside and then about linear in log tokens, so the line is drawn through the two budgets
    inside. Where that leaves the cell, the line is drawn through the cell's ends.
    """
    if shares[out] < IN_USE / 10 and 0 <= second < len(shares) and shares[second] > shares[first]:
        slope = (shares[second] - shares[first]) / (logs[second] - logs[first])
        place = logs[first] - (shares[first] - IN_USE) / slope
        if min(logs[out], logs[first]) <= place <= max(logs[out], logs[first]):
            return float(place)
    part = (IN_USE - shares[out]) / (shares[first] - shares[out])
    return float(logs[out] + part * (logs[first] - logs[out]))


def _nearest(shares: np.ndarray, tokens: np.ndarray, enters: bool, place: float) -> float | None:
    """Return the crossing of one draw's shares (m,) of the same kind nearest to ``place``.

    It is 0 or inf where the draw crosses outside the budgets, and None where it has crossings of the other kind alone.
    """
    places = _places(shares, tokens)
    same_kind = [other for kind, other in places if kind == enters]
    if same_kind:
        return min(same_kind, key=lambda other: abs(np.log(other / place)))
    if places:
        return None
    return 0.0 if (shares[0] >= IN_USE) == enters else np.inf
