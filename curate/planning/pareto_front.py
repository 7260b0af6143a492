"""The Pareto front of two evals: mixtures of which none is better at both."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate.errors import SchemaError
from curate.planning import aims, plan
from curate.planning.aims import Aim, Worst
from curate.planning.limits import Limits
from curate.planning.plan import STARTS, Plan
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor

POINTS = 9


def front(
    fit: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    limits: Limits = Limits(),  # noqa: B008
    *,
    evals: tuple[str, str],
    points: int = POINTS,
    starts: int = STARTS,
    seed: int = 0,
) -> tuple[Plan, ...]:
    """Return up to ``points`` mixtures from the best for the first of ``evals`` to the best for the second.

    In between, the larger of the two excesses over their bests, each in units of what the other end costs it, is
    minimised at slanted weights (Chebyshev scalarisation): it also finds the hollow parts of a front, which weighted
    sums jump over. ``losses`` of a plan are those of both evals; its ``loss`` and ``gains`` are of their mean. Mixtures
    that another is not worse than are left out.
    """
    if evals[0] == evals[1] or points < 2:
        raise SchemaError(
            f"a front of {evals[0]} and {evals[1]} in {points} points: give two evals and at least 2 points"
        )
    mean = aims.weighted(fit, {name: 1.0 for name in evals})
    both = aims.evals(mean)
    ends = [plan.optimize(one, pools, budget, limits, starts=starts, seed=seed) for one in both]
    ends = [plan.evaluate(mean, pools, budget, end.weights) for end in ends]
    best = [ends[k].losses[evals[k]][0] for k in range(2)]
    worst = [ends[1 - k].losses[evals[k]][0] for k in range(2)]
    found = [ends[0]]
    for slant in np.arange(1, points - 1) / (points - 1):
        scales = tuple(float(s) / max(w - b, 1e-12) for s, w, b in zip((1 - slant, slant), worst, best, strict=True))
        between = Worst(both, (best[0], best[1]), scales, " and ".join(evals))
        one = plan.optimize(between, pools, budget, limits, aim=Aim(), starts=starts, seed=seed)
        found.append(replace(plan.evaluate(mean, pools, budget, one.weights), limits=one.limits, residual=one.residual))
    return _undominated([*found, ends[1]], evals)


def _undominated(found: Sequence[Plan], evals: tuple[str, str]) -> tuple[Plan, ...]:
    losses = np.array([[one.losses[name][0] for name in evals] for one in found])
    kept = [
        i for i, mine in enumerate(losses) if not any((o <= mine).all() and (o < mine - 1e-9).any() for o in losses)
    ]
    return tuple(sorted((found[i] for i in kept), key=lambda one: one.losses[evals[0]][0]))
