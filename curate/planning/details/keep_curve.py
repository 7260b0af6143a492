"""Find how many bins of scored data to keep as compute grows: the best alone, or more.

In: a predictor over bins of one score, and budgets. Out: `KeepCurve` and `KeepChange`. Source: Goyal et al. (2024),
arXiv 2404.07177.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError, first_few
from curate.planning import search
from curate.planning.details import crossings
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor


@dataclass(frozen=True, repr=False)
class KeepCurve:
    """Predicted losses at m budgets if the best 1, 2, ... p bins are kept and sampled in proportion to their sizes.

    Attributes:
        bins: names, best first.
        fractions: (p,) share of all unique tokens that the kept bins hold.
        loss, low, high: (m, p) predicted loss, with the 90 % interval of a new run.
        winners: (b, m) number of bins with the lowest loss, in each bootstrap draw and at each budget.
    """

    budgets: tuple[Budget, ...]
    bins: tuple[str, ...]
    fractions: Tensor
    loss: Tensor
    low: Tensor
    high: Tensor
    winners: Tensor

    @property
    def chosen(self) -> Tensor:
        """The number of bins with the lowest predicted loss at each budget, (m,)."""
        return self.loss.argmin(dim=1) + 1

    def __repr__(self) -> str:
        """Return one line with the number of best bins at every budget."""
        best = ", ".join(
            f"{b.tokens:.2g}: {count}" for b, count in zip(self.budgets, self.chosen.tolist(), strict=True)
        )
        return f"KeepCurve(best of {len(self.bins)} bins by tokens: {best})"

    def table(self) -> pl.DataFrame:
        """Return one row for each budget and number of bins.

        Columns: tokens, params, bins, kept, loss, low, high, votes, chosen.
        """
        return pl.DataFrame(
            {
                "tokens": budget.tokens,
                "params": budget.params,
                "bins": k + 1,
                "kept": float(self.fractions[k]),
                "loss": float(self.loss[i, k]),
                "low": float(self.low[i, k]),
                "high": float(self.high[i, k]),
                "votes": float((self.winners[:, i] == k + 1).double().mean()),
                "chosen": int(self.chosen[i]) == k + 1,
            }
            for i, budget in enumerate(self.budgets)
            for k in range(len(self.bins))
        )


@dataclass(frozen=True)
class KeepChange:
    """A number of training tokens from which more bins should be kept.

    From ``tokens`` on, ``bins`` bins are best; they hold the share ``fraction`` of the unique tokens. In 90 % of the
    bootstrap draws the change lies between ``low`` and ``high`` tokens; 0 means below all budgets, inf above all.
    """

    tokens: float
    low: float
    high: float
    bins: int
    fraction: float

    def __str__(self) -> str:
        """Return the change as one line of text."""
        interval = crossings.interval_in_words(self.low, self.high)
        return f"above {self.tokens:.2g} tokens ({interval}) keep the best {self.bins} bins, {self.fraction:.0%}"


def by_score(pools: Sequence[Pool]) -> tuple[str, ...]:
    """Return the names of pools that are bins of one score, the best bin first.

    `curate pools --bins` makes such pools.

    Raises:
        SchemaError: if a pool is not a bin of one score, or the pools are bins of several scores.
    """
    edges = {}
    for pool in pools:
        if not pool.score or len(pool.score) != 1:
            raise SchemaError(
                f"pool {pool.name!r} is not a bin of one score: make pools with `curate pools --by score.NAME --bins B`"
            )
        ((column, (low, _)),) = pool.score.items()
        # The lowest bin has no lower edge.
        edges[pool.name] = (column, -inf if low is None else low)
    if len(columns := sorted({column for column, _ in edges.values()})) > 1:
        raise SchemaError(f"the pools are bins of {first_few(columns)}: a keep curve needs bins of one score")
    return tuple(sorted(edges, key=lambda name: (-edges[name][1], name)))


def curve(
    fit: Predictor,
    pools: Sequence[Pool],
    budgets: Sequence[Budget],
    *,
    best_first: Sequence[str],
    spent: float = 0.0,
) -> KeepCurve:
    """Predict the loss for every number of bins at every budget.

    ``best_first`` names all pools, the best bin first. ``spent`` is the number of training tokens that scoring costs:
    every budget trains on that many fewer. It must be smaller than every budget.

    Raises:
        SchemaError: if ``best_first`` does not name each pool of the fit once.
    """
    ordered = search.match(fit, pools)
    shares = nested_shares(ordered, best_first)
    m, p = len(budgets), len(ordered)
    trained = [replace(budget, tokens=budget.tokens - spent) for budget in budgets]
    recipes = search.on_hand(ordered, trained, shares.repeat(m, 1))
    low, high = fit.interval(recipes)
    winners = fit.draw_losses(recipes).reshape(-1, m, p).argmin(dim=2) + 1
    tokens = torch.tensor([pool.tokens for pool in ordered], dtype=torch.float64)
    fractions = ((shares > 0) * tokens).sum(dim=1) / tokens.sum()
    loss, low, high = (x.detach().reshape(m, p) for x in (fit.loss(recipes), low, high))
    return KeepCurve(tuple(budgets), tuple(best_first), fractions, loss, low, high, winners)


def nested_shares(pools: Sequence[Pool], best_first: Sequence[str]) -> Tensor:
    """Return the mixtures (p, p) of the best 1, 2, ... p bins, each bin in proportion to its tokens.

    Raises:
        SchemaError: if ``best_first`` does not name each pool once.
    """
    names = [pool.name for pool in pools]
    if sorted(best_first) != sorted(names):
        raise SchemaError(f"best_first is {first_few(best_first)}: it must name each of {first_few(names)} once")
    place = np.array([list(best_first).index(name) for name in names])
    tokens = np.array([pool.tokens for pool in pools])
    kept = (place[None] < np.arange(1, len(names) + 1)[:, None]) * tokens
    return torch.from_numpy(kept / kept.sum(axis=1, keepdims=True))


def changes(keep: KeepCurve, *, level: float = 0.9) -> tuple[KeepChange, ...]:
    """Return the training tokens from which it is better to keep more bins than at any smaller budget.

    ``level`` is the share of bootstrap draws between the ends of each interval.

    Raises:
        SchemaError: if the tokens of the budgets do not rise.
    """
    tokens = np.array([budget.tokens for budget in keep.budgets])
    if not (np.diff(tokens) > 0).all():
        raise SchemaError("a keep curve needs budgets whose tokens rise: sort them, and give each once")
    # Only a new maximum counts: a dip back to fewer bins is noise between two nearly equal losses.
    most = np.maximum.accumulate(keep.chosen.numpy())
    result = []
    for i in np.flatnonzero(np.diff(most)).tolist():
        bins = int(most[i + 1])
        places = np.sort([_first_true(row >= bins, tokens) for row in keep.winners.numpy()])
        low, high = (float(places[round(q * (len(places) - 1))]) for q in ((1 - level) / 2, (1 + level) / 2))
        # The change lies somewhere between two budgets; the geometric mean is its middle on the axis of a chart.
        middle = float(np.sqrt(tokens[i] * tokens[i + 1]))
        result.append(KeepChange(middle, low, high, bins, float(keep.fractions[bins - 1])))
    return tuple(result)


def _first_true(condition: np.ndarray, tokens: np.ndarray) -> float:
    """Return the tokens at which a condition (m,) first holds: the geometric mean of the two budgets around it.

    0 if it holds at the first budget; inf if it never holds.
    """
    if not condition.any():
        return np.inf
    i = int(condition.argmax())
    return 0.0 if i == 0 else float(np.sqrt(tokens[i - 1] * tokens[i]))
