"""Find critical ratios from runs of one model size and one training length, at a few shares of the domain.

Such runs cannot determine a law of tokens or size. So laws of the share alone are compared on held-out shares. The
answer holds only for the budget of the runs.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate.continual.critical_ratio import CriticalRatio
from curate.continual.question import Question
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget
from curate.runs.continued_runs import Continued

# Laws of the share alone: the power law of Gu et al. 2024, a law linear in the logarithm of the share (after Ibrahim et
# al. 2024), and the exponential of Ye et al. 2024.
LAWS = ("cmr", "share_logarithm", "share_exponential")
FEWEST = 4  # shares: with one held out, three remain, and these laws have three parameters
# Relative difference up to which sizes and lengths count as equal: token counts are rounded to whole steps and batches.
SAME = 0.01
# A law is a rival if its error on held-out shares is at most this many times the smallest. The interval also covers
# the critical shares of rivals. The source is the F distribution: five runs leave two degrees of freedom, and the ratio
# of two such errors is above 10 with a probability of 1 %.
RIVAL = 10.0


def budget_of(continued: Continued) -> Budget | None:
    """Return the budget of the longest run if all runs have (nearly) the same budget, else None."""
    recipes = continued.runs.recipes()
    tokens, params = recipes.tokens.numpy(), recipes.params.numpy()
    if any(np.ptp(values) > SAME * values.max() for values in (tokens, params)):
        return None
    return Budget(float(tokens.max()), float(params.max()))


def check(question: Question, budget: Budget, *, limited: bool) -> None:
    """Check that runs of one budget can answer: enough shares, and no question about another budget.

    Raises:
        SchemaError: if the question is about another budget, or ``limited`` is set, which compares lengths of training.
        FitError: if there are fewer than FEWEST shares. The message gives the two shares around the ceiling.
    """
    runs = f"all runs have {budget.tokens:.3g} tokens and {budget.params:.3g} parameters"
    for other in question.budgets:
        if abs(other.tokens / budget.tokens - 1) > SAME or abs(other.params / budget.params - 1) > SAME:
            raise SchemaError(
                f"{runs}: they cannot answer for a budget of {other.tokens:.3g} tokens and {other.params:.3g} "
                "parameters. Leave out --budget, or add runs of another length"
            )
    if limited:
        raise SchemaError(f"{runs}: --limited compares lengths of training. Leave it out, or add runs of other lengths")
    if (count := len(question.continued.shares)) < FEWEST:
        brackets = "; ".join(_bracket(question, budget, tolerance) for tolerance in question.tolerances)
        raise FitError(
            f"{count} shares at one budget are too few to choose a law of the share: {FEWEST} are needed. {brackets}"
        )


def _bracket(question: Question, budget: Budget, tolerance: float) -> str:
    """Say between which two measured shares the general loss passes the ceiling, and what to run next."""
    continued, ceiling = question.continued, question.ceiling(budget, tolerance)
    share_of_run = np.round(continued.runs.recipes().weights.numpy()[:, continued.index], 6)
    losses = [continued.runs.loss(continued.general)[share_of_run == share].mean() for share in continued.shares]
    under = [i for i, loss in enumerate(losses) if loss <= ceiling]
    last = under[-1] if under else -1
    if last + 1 == len(losses):
        return f"General loss is under the ceiling {ceiling:.4f} up to the largest share, {continued.shares[-1]:.3g}"
    low = continued.shares[last] if under else 0.0
    high = continued.shares[last + 1]
    return (
        f"General loss passes the ceiling {ceiling:.4f} between the shares {low:.3g} and {high:.3g}. Run shares "
        f"between these two, such as {(low + high) / 2:.3g}"
    )


def widened(ratio: CriticalRatio, rivals: Sequence[CriticalRatio]) -> CriticalRatio:
    """Widen the interval of a ratio so that it also covers the critical shares of rival laws of the general loss."""
    if not rivals:
        return ratio
    # Infinity means that the loss never reaches the ceiling; 0 means that it is above the ceiling already at share 0.
    ends = [np.inf if end is None else end for end in (ratio.low, ratio.high)]
    shares = [0.0 if rival.never_under else np.inf if rival.share is None else rival.share for rival in rivals]
    low, high = min(ends[0], *shares), max(ends[1], *shares)
    safe = None if ratio.safe is None or any(rival.never_under for rival in rivals) else min(ratio.safe, *shares)
    return replace(ratio, low=None if np.isinf(low) else low, high=None if np.isinf(high) else high, safe=safe)


def advice(continued: Continued) -> str:
    """Return words that ask about one budget of several, with the condition; empty if it has too few shares.

    It is the longest budget of the largest size.
    """
    recipes, index = continued.runs.recipes(), continued.index
    params, tokens = recipes.params.numpy(), recipes.tokens.numpy()
    largest = params >= params.max() * (1 - SAME)
    longest = largest & (tokens >= tokens[largest].max() * (1 - SAME))
    shares = len(np.unique(np.round(recipes.weights.numpy()[longest, index], 6)))
    if shares < FEWEST:
        return ""
    # The start row has no tokens; the loss before training is needed for every budget.
    condition = f"(tokens = 0 OR tokens >= {tokens[longest].min():.0f})"
    if not largest.all():
        condition += f" AND params >= {params[largest].min():.0f}"
    return (
        f"ask about the {shares} shares at {tokens[longest].max():.3g} tokens alone, for which a law in the share "
        f'is enough: --where "{condition}"'
    )


def warning(budget: Budget) -> str:
    """Return the warning that runs of one budget answer for that budget only."""
    return (
        f"the runs have one budget, {budget.tokens:.3g} tokens and {budget.params:.3g} parameters: the ratios hold for "
        "this budget only. Run some shares at a second length to learn how the ratio changes with the length of "
        "training"
    )
