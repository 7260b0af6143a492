"""How much of scored data to keep as compute grows: the best bins alone or ever more (Goyal et al., 2404.07177)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import search
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor


@dataclass(frozen=True)
class Keep:
    """Keeping the best 1 ... p bins, every one sampled by size, over m budgets.

    ``bins``: names, best first. ``fractions`` (p,): unique tokens kept. ``loss``, ``low``, ``high`` (m, p): predicted,
    with the interval of a new run. ``winners`` (b, m): how many bins are best in every bootstrap draw.
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
        """(m,) how many bins have the lowest predicted loss."""
        return self.loss.argmin(dim=1) + 1

    def table(self) -> pl.DataFrame:
        """Return one row a budget and number of bins: tokens, params, bins, kept, loss, low, high, votes, chosen."""
        return pl.DataFrame(
            {"tokens": budget.tokens, "params": budget.params, "bins": k + 1, "kept": float(self.fractions[k]),
             "loss": float(self.loss[i, k]), "low": float(self.low[i, k]), "high": float(self.high[i, k]),
             "votes": float((self.winners[:, i] == k + 1).double().mean()), "chosen": int(self.chosen[i]) == k + 1}
            for i, budget in enumerate(self.budgets)
            for k in range(len(self.bins))
        )  # fmt: skip


@dataclass(frozen=True)
class Change:
    """From ``tokens`` on keep ``bins`` bins, the ``fraction`` of the unique tokens; 90 % of the draws change between
    ``low`` and ``high``, 0 or inf where that is outside the budgets looked at."""

    tokens: float
    low: float
    high: float
    bins: int
    fraction: float

    def __str__(self) -> str:
        """Say it in one line."""
        low = "below the range" if self.low == 0 else f"{self.low:.2g}"
        high = "above the range" if self.high == np.inf else f"{self.high:.2g}"
        return f"above {self.tokens:.2g} tokens ({low} to {high}) keep the best {self.bins} bins, {self.fraction:.0%}"


def by_score(pools: Sequence[Pool]) -> tuple[str, ...]:
    """Return the names of score bins, best first: bins of one score column, which `curate pools --bins` makes."""
    edges = {}
    for pool in pools:
        if not pool.score or len(pool.score) != 1:
            raise SchemaError(
                f"pool {pool.name!r} is not a bin of one score: make pools with `curate pools --by score.NAME --bins B`"
            )
        ((column, (low, _)),) = pool.score.items()
        edges[pool.name] = (column, -inf if low is None else low)
    if len(columns := sorted({column for column, _ in edges.values()})) > 1:
        raise SchemaError(f"the pools are bins of {', '.join(columns)}: bins of one score can be kept best first")
    return tuple(sorted(edges, key=lambda name: (-edges[name][1], name)))


def curve(fit: Predictor, pools: Sequence[Pool], budgets: Sequence[Budget], *, best_first: Sequence[str]) -> Keep:
    """Predict every number of bins at every budget; ``best_first`` names all pools."""
    ordered = search.match(fit, pools)
    names = [pool.name for pool in ordered]
    if sorted(best_first) != sorted(names):
        raise SchemaError(f"best first {', '.join(best_first)}: it must name each of {', '.join(names)} once")
    m, p = len(budgets), len(names)
    place = np.array([list(best_first).index(name) for name in names])
    tokens = np.array([pool.tokens for pool in ordered])
    kept = (place[None] < np.arange(1, p + 1)[:, None]) * tokens  # (bins kept, p)
    weights = torch.from_numpy(kept / kept.sum(axis=1, keepdims=True)).repeat(m, 1)
    recipes = search.on_hand(ordered, budgets, weights)
    low, high = fit.interval(recipes)
    winners = fit.draw_losses(recipes).reshape(-1, m, p).argmin(dim=2) + 1
    fractions = torch.from_numpy(kept.sum(axis=1) / tokens.sum())
    loss, low, high = (x.detach().reshape(m, p) for x in (fit.loss(recipes), low, high))
    return Keep(tuple(budgets), tuple(best_first), fractions, loss, low, high, winners)


def changes(found: Keep, *, level: float = 0.9) -> tuple[Change, ...]:
    """Return where more bins than at all smaller budgets become best; the budgets of ``found`` must rise in tokens."""
    tokens = np.array([budget.tokens for budget in found.budgets])
    if not (np.diff(tokens) > 0).all():
        raise SchemaError("a keep curve needs budgets whose tokens rise: sort them, and give each once")
    most = np.maximum.accumulate(found.chosen.numpy())
    result = []
    for i in np.flatnonzero(np.diff(most)).tolist():
        bins = int(most[i + 1])
        reached = np.sort([_first(row >= bins, tokens) for row in found.winners.numpy()])
        low, high = (float(reached[round(q * (len(reached) - 1))]) for q in ((1 - level) / 2, (1 + level) / 2))
        at = float(np.sqrt(tokens[i] * tokens[i + 1]))
        result.append(Change(at, low, high, bins, float(found.fractions[bins - 1])))
    return tuple(result)


def _first(there: np.ndarray, tokens: np.ndarray) -> float:
    """Between which budgets (m,) something is first there; 0 where it is from the start, inf where it never is."""
    if not there.any():
        return np.inf
    i = int(there.argmax())
    return 0.0 if i == 0 else float(np.sqrt(tokens[i - 1] * tokens[i]))
