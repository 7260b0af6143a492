"""Find the Pareto front of two evals: mixtures of which none is better for both.

In: a predictor of several evals, pools, a budget, limits. Out: plans along the front.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate.errors import SchemaError
from curate.planning import aims, plan
from curate.planning.aims import Worst
from curate.planning.limits import NO_LIMITS, Limits
from curate.planning.plan import STARTS, Plan
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor

POINTS = 9  # mixtures on a front
SAME_LOSS = 1e-9  # nats: a loss lower by less is not lower


def front(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    limits: Limits = NO_LIMITS,
    *,
    evals: tuple[str, str],
    points: int = POINTS,
    starts: int = STARTS,
    seed: int = 0,
) -> tuple[Plan, ...]:
    """Return up to ``points`` mixtures on the Pareto front of two evals.

    The first is the best for the first eval, and the last is the best for the second. In between, the larger of the two
    excesses over their bests is minimised, at weights that slant from one to the other (Chebyshev scalarisation).
    Unlike weighted sums, it also finds the hollow parts of a front. Mixtures that are no better than another for either
    eval are left out. ``evals`` of a plan are those two; its ``loss``, ``losses`` and ``gains`` are of their mean.

    Raises:
        SchemaError: for two equal evals, an eval that the fit lacks, or fewer than 2 points.
    """
    if evals[0] == evals[1] or points < 2:
        raise SchemaError(
            f"a front of {evals[0]} and {evals[1]} in {points} points: give two evals and at least 2 points"
        )
    mean = aims.weighted(fit, {name: 1.0 for name in evals})
    both = aims.evals(mean)
    best_for_each = [plan.optimize(part, pools, budget, limits, starts=starts, seed=seed) for part in both]
    ends = [plan.evaluate(mean, pools, budget, end.weights) for end in best_for_each]
    lowest = [ends[k].evals[evals[k]][0] for k in range(2)]
    highest = [ends[1 - k].evals[evals[k]][0] for k in range(2)]
    plans = [ends[0]]
    for slant in np.arange(1, points - 1) / (points - 1):
        # An excess is measured in units of what the other end of the front costs this eval.
        scales = tuple(
            float(share) / max(high - low, 1e-12)
            for share, high, low in zip((1 - slant, slant), highest, lowest, strict=True)
        )
        target = Worst(both, (lowest[0], lowest[1]), scales, " and ".join(evals))
        solution = plan.optimize(target, pools, budget, limits, starts=starts, seed=seed)
        mixture = plan.evaluate(mean, pools, budget, solution.weights)
        plans.append(replace(mixture, warnings=solution.warnings, residual=solution.residual))
    return _undominated([*plans, ends[1]], evals)


def _undominated(plans: Sequence[Plan], evals: tuple[str, str]) -> tuple[Plan, ...]:
    losses = np.array([[plan.evals[name][0] for name in evals] for plan in plans])
    kept = [
        i
        for i, loss in enumerate(losses)
        if not any((other <= loss).all() and (other < loss - SAME_LOSS).any() for other in losses)
    ]
    return tuple(sorted((plans[i] for i in kept), key=lambda plan: plan.evals[evals[0]][0]))
