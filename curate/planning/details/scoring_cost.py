"""Find out whether scoring the data pays: what scoring costs against what the choice of data gains.

In: a predictor over bins of one score, budgets, and the cost of scoring. Out: `ScoringGain`, one a budget.
Scoring takes a part of the compute, so that fewer tokens are trained on. Source: Goyal et al. (2024), arXiv 2404.07177.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.planning import aims, search
from curate.planning.details import keep_curve
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.intervals import holding, mixture_ends
from curate.runs.predictors.predictor import Predictor

LEVEL = 0.9  # probability that a gain lies within its interval
# Numbers of training tokens at which the cost that just pays is looked for: from all of the budget down to a thousandth
# of it, in steps of 6 %. Between them the loss is interpolated in the logarithm of the tokens.
STEPS, LEAST_SHARE = 121, 1e-3


@dataclass(frozen=True)
class ScoringCost:
    """What it costs to score the data.

    Attributes:
        relative: compute of scoring a token over that of training on it once.
        tokens: number of tokens that are scored, with those of rows that are in no pool.
    """

    relative: float
    tokens: float

    def __post_init__(self) -> None:
        """Refuse a cost that is no cost."""
        if not (isfinite(self.relative) and self.relative >= 0):
            raise SchemaError(
                f"--score-cost {self.relative:g} must be 0 or more: the compute of scoring a token over that of "
                "training on it once, such as 0.05"
            )
        if not (isfinite(self.tokens) and self.tokens > 0):
            raise SchemaError(f"--scored-tokens {self.tokens:g} must be above 0: the number of tokens that are scored")

    @property
    def training_tokens(self) -> float:
        """The training tokens that could be paid for with the compute of scoring."""
        return self.relative * self.tokens


@dataclass(frozen=True)
class ScoringGain:
    """What scoring gains at one budget over training on all bins, unscored, in proportion to their sizes.

    Attributes:
        tokens: training tokens of the budget, before scoring is paid for.
        params: parameters of the model.
        spent: training tokens that the compute of scoring would pay for.
        bins: number of best bins with the lowest loss after scoring is paid for. 0 if scoring costs the whole budget.
        scored: predicted loss of these bins on the tokens that remain, None if none remain.
        unscored: predicted loss of all bins on all tokens.
        gain: ``unscored`` - ``scored``, with the 90 % interval ``low`` to ``high`` of the difference of two runs.
        break_even: the largest relative cost of scoring that still pays; 0 if scoring does not pay even at no cost.
    """

    tokens: float
    params: float
    spent: float
    bins: int
    scored: float | None
    unscored: float
    gain: float | None
    low: float | None
    high: float | None
    break_even: float

    def __str__(self) -> str:
        """Return whether scoring pays, in one line."""
        start = f"at {self.tokens:.2g} tokens scoring"
        if self.gain is None or self.low is None or self.high is None:
            return f"{start} costs as much as training on {self.spent:.3g} tokens: nothing remains to train with"
        verdict = "it pays" if self.gain > 0 else "it does not pay"
        if self.low <= 0 <= self.high:
            verdict = "these runs cannot tell whether it pays"
        limit = f"It pays up to a cost of {self.break_even:.3g}" if self.break_even > 0 else "No cost is low enough"
        sign, word = (1.0, "lower") if self.gain >= 0 else (-1.0, "higher")
        low, high = sorted((sign * self.low, sign * self.high))
        return (
            f"{start} costs {self.spent / self.tokens:.2g} of the compute, and {verdict}: the loss is "
            f"{sign * self.gain:.4f} ({low:.4f} to {high:.4f}) {word} than with all data, unscored. {limit}"
        )

    def to_json(self) -> dict[str, object]:
        """Return the fields and the line of text as an entry of plan.json."""
        return asdict(self) | {"text": str(self)}


def gains(
    fit: Predictor, pools: Sequence[Pool], budgets: Sequence[Budget], best_first: Sequence[str], cost: ScoringCost
) -> tuple[ScoringGain, ...]:
    """Compare scoring with training on everything, unscored, at every budget.

    ``best_first`` names all pools, the best bin first.
    """
    ordered = search.match(fit, pools)
    return tuple(_gain(fit, ordered, budget, best_first, cost) for budget in budgets)


def _gain(
    fit: Predictor, pools: Sequence[Pool], budget: Budget, best_first: Sequence[str], cost: ScoringCost
) -> ScoringGain:
    shares, spent = keep_curve.nested_shares(pools, best_first), cost.training_tokens
    unscored = float(fit.loss(search.on_hand(pools, [budget], shares[-1:])).detach())
    limit = _break_even(fit, pools, budget, shares, unscored) / cost.tokens
    fields = (budget.tokens, budget.params, spent)
    if budget.tokens <= spent:
        return ScoringGain(*fields, 0, None, unscored, None, None, None, limit)
    bins = int(keep_curve.curve(fit, pools, [budget], best_first=best_first, spent=spent).chosen)
    trained = [replace(budget, tokens=budget.tokens - spent), budget]
    both = search.on_hand(pools, trained, shares[[bins - 1, -1]])
    losses, deviations = fit.loss(both).detach(), aims.run_deviation(fit, both)
    # Draws are paired: what shifts both losses alike cancels.
    draws = fit.draw_losses(both).detach()
    difference, spread = draws[:, 1:] - draws[:, :1], torch.hypot(deviations[1:], deviations[:1])
    gain = losses[1:] - losses[:1]
    low, high = holding(mixture_ends(difference, spread.expand_as(difference), LEVEL), gain)
    return ScoringGain(*fields, bins, float(losses[0]), unscored, float(gain), float(low), float(high), limit)


def _break_even(fit: Predictor, pools: Sequence[Pool], budget: Budget, mixtures: Tensor, unscored: float) -> float:
    """Return the most training tokens of a budget that scoring may cost so that its loss is not above ``unscored``.

    ``mixtures`` (p, p) are those of the best 1, 2, ... p bins.
    """
    shares = np.geomspace(1, LEAST_SHARE, STEPS)
    remaining = [replace(budget, tokens=budget.tokens * share) for share in shares.tolist()]
    p = len(mixtures)
    losses = fit.loss(search.on_hand(pools, remaining, mixtures.repeat(STEPS, 1))).detach().reshape(STEPS, p)
    # Of the last bin nothing is chosen by the score, so it is not what scoring gives.
    best = losses[:, : max(1, p - 1)].amin(dim=1).numpy()
    worse = best > unscored
    if worse[0]:
        return 0.0
    if not worse.any():
        # Below the least share nothing is computed.
        return float(budget.tokens * (1 - LEAST_SHARE))
    last = int(worse.argmax())
    share = np.exp(np.interp(unscored, best[last - 1 : last + 1], np.log(shares[last - 1 : last + 1])))
    return float(budget.tokens * (1 - share))


@dataclass(frozen=True)
class PayingRange:
    """The training tokens at which scoring pays, from ``low`` to ``high``.

    0 means less than all budgets, and infinity means more than all.
    """

    low: float
    high: float

    def __str__(self) -> str:
        """Return the range in one line."""
        start = "the smallest budget" if self.low == 0 else f"{self.low:.2g}"
        end = "the largest budget" if self.high == inf else f"{self.high:.2g} training tokens, and stops paying there"
        return f"scoring pays from {start} to {end}"


def paying_range(scored: Sequence[ScoringGain]) -> PayingRange | None:
    """Return where scoring pays among rising budgets, or None if it pays at none.

    An end between two budgets is at their geometric mean.
    """
    pays = np.array([entry.gain is not None and entry.gain > 0 for entry in scored])
    if not pays.any():
        return None
    tokens = np.array([entry.tokens for entry in scored])
    first, last = int(pays.argmax()), len(pays) - 1 - int(pays[::-1].argmax())
    low = 0.0 if first == 0 else float(np.sqrt(tokens[first - 1] * tokens[first]))
    high = inf if last == len(pays) - 1 else float(np.sqrt(tokens[last] * tokens[last + 1]))
    return PayingRange(low, high)
