"""The best share among those that were run: a check on the laws that needs no law (Que et al. 2024, first use)."""

from dataclasses import asdict, dataclass

import numpy as np

from curate.continual.question import Question
from curate.errors import Infeasible
from curate.pool.pool import Budget


@dataclass(frozen=True)
class MeasuredBest:
    """The share with the lowest measured domain loss under the ceiling, among the longest runs of one size.

    Losses are in nats per token. ``share``, ``general`` and ``domain`` are None if all runs are above the ceiling.
    """

    tolerance: float
    params: float
    tokens: float
    share: float | None
    general: float | None
    domain: float | None

    def to_json(self) -> dict[str, float | None]:
        """Return an item of the list ``measured`` of cmr.json."""
        return asdict(self)


def measured_best(question: Question) -> tuple[MeasuredBest, ...]:
    """Return the best share that was run, for every tolerance and every size that has a start."""
    sizes = np.unique(question.continued.runs.recipes().params.numpy()).tolist()
    started = [size for size in sizes if size in question.continued.starts]
    return tuple(_of_size(question, tolerance, size) for tolerance in question.tolerances for size in started)


def _of_size(question: Question, tolerance: float, size: float) -> MeasuredBest:
    """Return the best share among the longest runs of one size."""
    continued = question.continued
    recipes = continued.runs.recipes()
    tokens, params = recipes.tokens.numpy(), recipes.params.numpy()
    longest = float(tokens[params == size].max())
    rows = (params == size) & (tokens == longest)
    share_of_run = np.round(recipes.weights.numpy()[:, continued.index], 6)
    shares = np.unique(share_of_run[rows])
    # Runs that differ in their seed only count as one.
    general, domain = (
        np.array([continued.runs.loss(name)[rows & (share_of_run == share)].mean() for share in shares])
        for name in (continued.general, continued.domain)
    )
    try:
        best = best_measured(shares, general, domain, question.ceiling(Budget(longest, size), tolerance))
    except Infeasible:
        return MeasuredBest(tolerance, size, longest, None, None, None)
    return MeasuredBest(tolerance, size, longest, *best)


def best_measured(
    shares: np.ndarray, general: np.ndarray, domain: np.ndarray, ceiling: float
) -> tuple[float, float, float]:
    """Return the share of lowest domain loss among runs with general loss at or under the ceiling, and both losses.

    ``shares``, ``general``, ``domain`` (n,): runs of one budget; losses and ceiling in nats per token.

    Raises:
        Infeasible: if all runs are above the ceiling.
    """
    under = np.asarray(general) <= ceiling
    if not under.any():
        raise Infeasible(
            f"the lowest general loss, {np.min(general):.4f}, is above the ceiling {ceiling:.4f}: raise the tolerance, "
            "run smaller shares, or train longer"
        )
    i = int(np.where(under, domain, np.inf).argmin())
    return float(shares[i]), float(general[i]), float(domain[i])
