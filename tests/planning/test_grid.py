"""The grid around the plans: its token counts, that it is as good as plans from many starts, and what it omits."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from problems import FOUR, FOUR_POOLS, MIXING, RANGES, REPEATED, SCARCE, THREE, THREE_POOLS, TWO_POOLS, planted, pools

from curate.fitting.plan_job import plan as plan_job
from curate.planning import plan
from curate.planning.details import grid
from curate.planning.limits import NO_LIMITS, Group, Limits
from curate.planning.request import PlanOptions, PlanRequest
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.blend import Blend

SHAPE = {"a": 4.0, "d": 0.8, "n0": 1e4, "tau": [3.0, 6.0, 9.0]}
CODE = replace(planted("utility_smooth", "abc", {**SHAPE, "b": [0.2, 0.1, 0.12]}), eval="code")
WEB = replace(planted("utility_smooth", "abc", {**SHAPE, "b": [0.1, 0.2, 0.14]}), eval="web")
BOTH = Blend((CODE, WEB), (0.5, 0.5), "code+web")
LARGE = pools(a=2e9, b=2e9, c=1e12)
PRICED = (Pool("a", 2e9, 1, cost_per_token=1.0), Pool("b", 2e9, 1, cost_per_token=0.5), Pool("c", 1e12, 1))


def test_a_grid_has_16_token_counts_at_each_size():
    budgets = grid.budgets([Budget(2e10, 1e9), Budget(1e9, 3e8), Budget(4e9, 1e9)])
    assert [budget.params for budget in budgets] == [3e8] * 16 + [1e9] * 16
    tokens = np.array([budget.tokens for budget in budgets]).reshape(2, 16)
    assert (tokens[0] == tokens[1]).all()
    assert tokens[0, [0, -1]] == pytest.approx([1e9 / 3, 6e10], rel=1e-12)
    assert np.diff(np.log(tokens[0])) == pytest.approx(np.log(180) / 15)


@pytest.mark.parametrize(
    ("fit", "listed", "limits", "options"),
    [
        (SCARCE, TWO_POOLS, NO_LIMITS, {}),
        (THREE, THREE_POOLS, NO_LIMITS, {"robust": 0.9}),
        (FOUR, FOUR_POOLS, Limits(groups=(Group(("a", "b"), high=0.4),)), {}),
        (MIXING, THREE_POOLS, NO_LIMITS, {"prior": {"a": 0.2, "b": 0.4, "c": 0.4}, "strength": 0.05}),
        (REPEATED, THREE_POOLS, Limits(min_weight={"c": 0.3}), {}),
        (CODE, PRICED, Limits(money=2.2e9), {}),
        (BOTH, LARGE, NO_LIMITS, {"target": "worst"}),
        (BOTH, LARGE, NO_LIMITS, {"target": "worst:loss"}),
        (BOTH, LARGE, NO_LIMITS, {"target": {"code": 2.0, "web": 1.0}}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_points_are_as_good_as_plans_from_many_starts(fit, listed, limits, options):
    budgets = (Budget(1e10, 1e9), Budget(1e11, 1e9))
    request = PlanRequest(fit, tuple(listed), budgets, limits, PlanOptions(**options), 0)
    plans = plan.frontier(request.fit, listed, budgets, limits, aim=request.aim)
    points = grid.grid(request, plans)
    assert len(points.plans) == 16
    assert not points.omitted
    for point in points.plans[::5]:
        best = plan.optimize(request.fit, listed, point.budget, limits, aim=request.aim, starts=12)
        assert point.loss <= best.loss + 1e-6
        assert point.losses == pytest.approx(best.losses, abs=1e-6)


@dataclass(frozen=True)
class TwoValleys:
    """A loss with valleys at 10 % and at 90 % of pool a. From 1e10 tokens on the second is deeper."""

    eval: str = "x"
    differentiable: bool = True
    noise: float = 0.0
    discrepancy: None = None
    pools: tuple[str, ...] = ("a", "b")
    ranges = {**RANGES, "share of a": (0.0, 1.0), "share of b": (0.0, 1.0)}

    def loss(self, recipes):
        share, slope = recipes.weights[:, 0], (recipes.tokens / 1e10).log()
        return 3 + 10 * (share - 0.1) ** 2 * (share - 0.9) ** 2 - 0.02 * slope * share

    def draw_losses(self, recipes):
        return self.loss(recipes)[None]

    def drawn(self, recipes, draws):
        return self.loss(recipes)

    def interval(self, recipes, level=0.9):
        return self.loss(recipes), self.loss(recipes)


def test_a_valley_that_no_plan_lies_in_is_reached():
    fit, listed, budgets = TwoValleys(), pools(a=1e12, b=1e12), (Budget(5e9, 1e9),)
    plans = plan.frontier(fit, listed, budgets)
    assert plans[0].weights["a"] < 0.2
    points = grid.grid(PlanRequest(fit, listed, budgets, NO_LIMITS, PlanOptions(), 0), plans).plans
    assert [point.weights["a"] > 0.8 for point in points] == [point.budget.tokens > 1e10 for point in points]


def test_budgets_that_the_limits_forbid_are_omitted_with_the_reason():
    plans = plan_job(FOUR, FOUR_POOLS, "1e10:1e9", limits=Limits(max_epochs=4.0), within=0, draws=0)
    record = plans.record()
    omitted, kept = record["grid_omitted"], record["grid"]
    assert len(omitted) + len(kept) == 16
    # The pools have 5.2e9 unique tokens, so four passes give 2.08e10.
    assert all(point["budget"]["tokens"] > 2.08e10 for point in omitted)
    assert all(point["budget"]["tokens"] < 2.08e10 for point in kept)
    assert "Raise --max-epochs" in omitted[0]["reason"]
    assert all(max(point["epochs"].values()) <= 4 + 1e-9 for point in kept)


@dataclass(frozen=True)
class NoLossBeyond(TwoValleys):
    """A predictor without a finite loss above 1e10 tokens."""

    def loss(self, recipes):
        return torch.where(recipes.tokens > 1e10, torch.nan, super().loss(recipes))


def test_budgets_without_a_finite_loss_are_omitted_with_the_reason():
    fit, listed, budgets = NoLossBeyond(), pools(a=1e12, b=1e12), (Budget(5e9, 1e9),)
    request = PlanRequest(fit, listed, budgets, NO_LIMITS, PlanOptions(), 0)
    points = grid.grid(request, plan.frontier(fit, listed, budgets))
    assert max(point.budget.tokens for point in points.plans) < 1e10
    assert min(point.budget.tokens for point in points.omitted) > 1e10
    assert len(points.plans) + len(points.omitted) == 16
    assert "no finite loss" in points.omitted[0].reason


def test_the_record_has_the_fitted_range_and_points_with_the_fields_of_plans():
    record = plan_job(BOTH, LARGE, ["1e9:1e9", "1e11:1e8"], within=0, draws=0).record()
    assert len(record["grid"]) == 32
    assert set(record["grid"][0]) == set(record["plans"][0])
    assert record["fitted"] == {"tokens": [1e6, 1e13], "params": [1e6, 1e12]}
    for entry in (*record["plans"], *record["grid"]):
        assert set(entry["losses"]) == set(entry["gains"])
        for name, loss in entry["losses"].items():
            assert loss - entry["loss"] == pytest.approx(entry["gains"][name][0], abs=1e-12)
        assert set(entry["evals"]) == {"code", "web"}
