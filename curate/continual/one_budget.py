"""Critical ratios from the commonest table: runs of one size and one length, at a handful of shares.

Such runs cannot determine a law of tokens or size. They choose among laws in the share alone, by leaving shares out,
and they answer for their own budget only.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate.continual.critical_ratio import CriticalRatio
from curate.continual.question import Question
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget
from curate.runs.continued_runs import Continued

# Gu et al. 2024; a line in the logarithm of replay's share (or the domain's); the notebook of Ye et al. 2024.
LAWS = ("cmr", "share_logarithm", "share_exponential")
FEWEST = 4  # shares: without one, as many runs are left as such a law has parameters
SAME = 0.01  # sizes and lengths that differ by less are one: steps and batches round token counts
# Another law whose error on left-out shares is up to so many times that of the best may be the right one too, and the
# interval covers the critical shares of both. Five runs leave two degrees of freedom; the ratio of two such errors
# passes 10 once in a hundred times by chance alone (the F distribution).
RIVAL = 10.0


def budget_of(continued: Continued) -> Budget | None:
    """Return the budget that all runs have, that of the longest; None if they have several."""
    recipes = continued.runs.recipes()
    tokens, params = recipes.tokens.numpy(), recipes.params.numpy()
    if any(np.ptp(values) > SAME * values.max() for values in (tokens, params)):
        return None
    return Budget(float(tokens.max()), float(params.max()))


def check(question: Question, budget: Budget, *, limited: bool) -> None:
    """Check that runs of one budget can answer: enough shares, and no question about another budget.

    Raises:
        SchemaError: if another budget is asked about, directly or by ``limited``.
        FitError: if there are fewer than FEWEST shares, with what the measured losses say by themselves.
    """
    runs = f"all runs have {budget.tokens:.3g} tokens and {budget.params:.3g} parameters"
    for other in question.budgets:
        if abs(other.tokens / budget.tokens - 1) > SAME or abs(other.params / budget.params - 1) > SAME:
            raise SchemaError(
                f"{runs}: they say nothing about a budget of {other.tokens:.3g} tokens and {other.params:.3g} "
                "parameters. Leave out --budget, or add runs of another length"
            )
    if limited:
        raise SchemaError(f"{runs}: --limited compares lengths of training. Leave it out, or add runs of other lengths")
    if (count := len(question.continued.shares)) < FEWEST:
        brackets = "; ".join(_bracket(question, budget, tolerance) for tolerance in question.tolerances)
        raise FitError(
            f"{count} shares at one budget are too few to choose a curve between them: it takes {FEWEST}. {brackets}"
        )


def _bracket(question: Question, budget: Budget, tolerance: float) -> str:
    """Return in words between which measured shares the general loss passes the ceiling, and what to run."""
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
        f"General loss passes the ceiling {ceiling:.4f} between the shares {low:.3g} and {high:.3g}. Run others "
        f"between them, such as {(low + high) / 2:.3g}"
    )


def widened(ratio: CriticalRatio, rivals: Sequence[CriticalRatio]) -> CriticalRatio:
    """Return the ratio with an interval that also holds the critical shares by rival laws of the general loss."""
    if not rivals:
        return ratio
    # Above all shares: the ceiling is not reached. Below all: share 0 is over it already.
    ends = [np.inf if end is None else end for end in (ratio.low, ratio.high)]
    shares = [0.0 if rival.never_under else np.inf if rival.share is None else rival.share for rival in rivals]
    low, high = min(ends[0], *shares), max(ends[1], *shares)
    safe = None if ratio.safe is None or any(rival.never_under for rival in rivals) else min(ratio.safe, *shares)
    return replace(ratio, low=None if np.isinf(low) else low, high=None if np.isinf(high) else high, safe=safe)


def advice(continued: Continued) -> str:
    """Return the condition that asks about one budget of several, to add to an error; empty if it has too few shares.

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
        f". Or ask about the {shares} shares at {tokens[longest].max():.3g} tokens alone, for which a law in the share "
        f'is enough: --where "{condition}"'
    )


def warning(budget: Budget) -> str:
    """Return what runs of one budget cannot answer."""
    return (
        f"the runs have one budget, {budget.tokens:.3g} tokens and {budget.params:.3g} parameters: the ratios hold for "
        "it alone. Run some shares at a second length to learn how the ratio changes with training"
    )
