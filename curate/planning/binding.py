"""Say which limits shaped a plan, and what else its reader should know before trusting it.

In: a problem and its solution for one budget. Out: lines of text, the `warnings` of a plan.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from curate.errors import first_few
from curate.planning import aims, extrapolation, feasible, search
from curate.planning.search import PlanningProblem

AT_LIMIT = 1e-6  # shares this near to a limit are at it


def warnings(problem: PlanningProblem, i: int, w: Tensor, baselines: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the warnings of the mixture ``w`` (p,) that is planned for budget number ``i``.

    There is one line for each limit that the mixture has reached, and one for each number outside the runs. Further
    lines warn of harmful repeats, and of ``baselines`` that the limits rule out.
    """
    recipe = search.on_hand(problem.pools, [problem.budgets[i]], w[None])
    return (
        *_shares_at_bounds(problem, i, w),
        *_linear_limits_reached(problem, i, w),
        *_money_spent(problem, i, w),
        *extrapolation.warnings(aims.leaves(problem.fit), recipe),
        *_excluded_baselines(problem, i, baselines),
    )


def _shares_at_bounds(problem: PlanningProblem, i: int, w: Tensor) -> list[str]:
    low, high, lines = problem.region.low[i], problem.region.high[i], []
    for k, pool in enumerate(problem.pools):
        # A maximum of 1 or a minimum of 0 is no limit of the user's.
        if w[k] >= high[k] - AT_LIMIT and high[k] < 1:
            kind = "fixed" if high[k] == low[k] else "maximum"
            lines.append(f"{pool.name} is at its {kind} share {float(high[k]):.3g}")
        elif w[k] <= low[k] + AT_LIMIT and low[k] > 0:
            lines.append(f"{pool.name} is at its minimum share {float(low[k]):.3g}")
    return lines


def _linear_limits_reached(problem: PlanningProblem, i: int, w: Tensor) -> list[str]:
    rows, right_sides, lines = problem.region.rows[i], problem.region.limits[i], []
    for k, name in enumerate(feasible.names(problem.limits)):
        # An order between two pools that both have no share is reached, but shapes nothing.
        has_share = bool(rows[k].abs() @ w > AT_LIMIT)
        if has_share and float(rows[k] @ w - right_sides[k]) >= -AT_LIMIT:
            lines.append(f"the limit is reached: {name}")
    return lines


def _money_spent(problem: PlanningProblem, i: int, w: Tensor) -> list[str]:
    money = problem.limits.money
    if money is None:
        return []
    weights = dict(zip([pool.name for pool in problem.pools], w.tolist(), strict=True))
    cost = feasible.paid(problem.pools, problem.budgets[i], weights)
    return [f"all of the money, {money:g}, is spent"] if cost >= money * (1 - AT_LIMIT) else []


def _excluded_baselines(problem: PlanningProblem, i: int, baselines: Mapping[str, np.ndarray]) -> list[str]:
    region = problem.region.take(torch.tensor([i]))
    pools, budget, limits = problem.pools, problem.budgets[i], problem.limits
    excluded = [
        name
        for name, shares in baselines.items()
        if not feasible.keeps(pools, budget, limits, region, torch.from_numpy(shares))
    ]
    if not excluded:
        return []
    return [f"these baselines break the limits, so the gain over them can be negative: {first_few(excluded)}"]


def no_difference(losses: Tensor) -> tuple[str, ...]:
    """Return a warning if the plan (first) and all baselines have equal losses (5,), otherwise nothing."""
    if float(losses.max() - losses.min()) > search.EQUAL:
        return ()
    return ("the fit predicts the same loss for the plan and all baselines, so it cannot say which is better",)
