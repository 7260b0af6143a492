"""The planner against brute force on planted problems, its constraints, and what it says."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import FOUR, FOUR_POOLS, MIXING, PROBLEMS, SCARCE, THREE, THREE_POOLS, TWO_POOLS, pools

from curate.errors import FitError, Infeasible, SchemaError
from curate.planning import plan
from curate.planning.limits import Limits
from curate.pool.pool import Budget

HUGE = Budget(1e10, 1e9)


@pytest.fixture(scope="module", params=PROBLEMS, ids=lambda problem: problem.name)
def solved(request):
    problem = request.param
    return problem, plan.optimize(problem.fit, problem.pools, problem.budget, Limits(**problem.caps))


def test_beats_the_grid(solved):
    problem, best = solved
    assert best.loss <= problem.best()[0] + 1e-9


def test_the_mixture_is_feasible(solved):
    problem, best = solved
    w = np.array(list(best.weights.values()))
    low, high = problem.box()
    assert abs(w.sum() - 1) < 1e-9
    assert (w >= low - 1e-12).all()
    assert (w <= high + 1e-12).all()
    assert (w >= 0).all(), "a negative share, however small, breaks samplers downstream"


def test_it_is_stationary(solved):
    problem, best = solved
    assert best.residual < 1e-4


def test_the_record_is_consistent(solved):
    problem, best = solved
    w = torch.tensor([list(best.weights.values())], dtype=torch.float64)
    assert float(problem.losses(w)) == pytest.approx(best.loss, rel=1e-12)
    assert best.low <= best.loss <= best.high
    for pool in problem.pools:
        assert best.epochs[pool.name] == pytest.approx(best.weights[pool.name] * problem.budget.tokens / pool.tokens)
    assert set(best.gains) == {"proportional", "uniform", "temperature", "unimax"}
    assert best.gain == best.gains["proportional"]
    for value, low, high in best.gains.values():
        assert low <= high
        assert np.isfinite([value, low, high]).all()
    assert 0 <= best.spread <= 1
    if not problem.caps:
        assert all(value >= -1e-9 for value, _, _ in best.gains.values()), "worse than a baseline that was allowed"


def test_gain_is_the_difference_of_predicted_losses():
    best = plan.optimize(SCARCE, TWO_POOLS, HUGE)
    other = plan.evaluate(SCARCE, TWO_POOLS, HUGE, {"a": 1e8 / 1.0001e12, "b": 1e12 / 1.0001e12})
    assert other.loss - best.loss == pytest.approx(best.gain[0], abs=1e-12)
    assert other.gain[0] == pytest.approx(0.0, abs=1e-12)


def test_identical_draws_without_noise_give_a_gain_without_spread():
    fit = replace(SCARCE, draws={k: v.expand(5, *v.shape) for k, v in SCARCE.theta.items()}, noise=0.0)
    value, low, high = plan.optimize(fit, TWO_POOLS, HUGE).gain
    assert low == pytest.approx(value, abs=1e-12)
    assert high == pytest.approx(value, abs=1e-12)


def test_the_interval_of_a_gain_is_that_of_the_difference_of_two_runs():
    # Identical draws leave the noise of the two runs alone: 1.645 standard deviations hold 90 %.
    fit = replace(SCARCE, draws={k: v.expand(5, *v.shape) for k, v in SCARCE.theta.items()})
    best = plan.optimize(fit, TWO_POOLS, HUGE)
    value, low, high = best.gain
    of_two_runs = 1.6448536 * fit.noise * np.hypot(best.loss, best.loss + value)
    assert (low, high) == pytest.approx((value - of_two_runs, value + of_two_runs), rel=1e-6)
    assert best.high - best.low == pytest.approx(best.loss * 2 * np.sinh(1.6448536 * fit.noise), rel=1e-6)


def test_the_order_of_the_pools_given_does_not_matter():
    assert plan.optimize(THREE, THREE_POOLS, HUGE) == plan.optimize(THREE, THREE_POOLS[::-1], HUGE)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_permuting_the_law_permutes_the_plan(order):
    def turn(values, axis):
        return {k: v.index_select(axis, torch.tensor(order)) if k in ("b", "tau") else v for k, v in values.items()}

    turned = replace(
        THREE, pools=tuple("abc"[i] for i in order), theta=turn(THREE.theta, 0), draws=turn(THREE.draws, 1)
    )
    plain, permuted = (plan.optimize(fit, THREE_POOLS, HUGE) for fit in (THREE, turned))
    assert permuted.loss == pytest.approx(plain.loss, abs=1e-9)
    assert permuted.weights == pytest.approx(plain.weights, abs=1e-3)


def test_a_frontier_is_its_budgets_one_by_one():
    budgets = [Budget(t, 1e9) for t in (1e8, 1e10, 1e12)]
    together = plan.frontier(SCARCE, TWO_POOLS, budgets)
    for member, budget in zip(together, budgets, strict=True):
        alone = plan.optimize(SCARCE, TWO_POOLS, budget)
        assert member.loss == pytest.approx(alone.loss, abs=1e-9)
        assert member.weights == pytest.approx(alone.weights, abs=1e-4)


def test_a_scarce_good_pool_loses_share_with_compute():
    """While it lasts it is all of the mixture; beyond, its share falls and its epochs rise."""
    plans = plan.frontier(SCARCE, TWO_POOLS, [Budget(t, 1e9) for t in np.geomspace(1e7, 1e12, 11)])
    shares, passes = [p.weights["a"] for p in plans], [p.epochs["a"] for p in plans]
    assert shares[0] > 0.999
    assert shares[-1] < 0.05
    assert all(later <= earlier + 1e-6 for earlier, later in zip(shares, shares[1:], strict=False))
    assert all(later >= earlier - 1e-6 for earlier, later in zip(passes, passes[1:], strict=False))


def test_the_same_call_gives_the_same_plan():
    assert plan.optimize(FOUR, FOUR_POOLS, HUGE, seed=3) == plan.optimize(FOUR, FOUR_POOLS, HUGE, seed=3)


def test_other_seeds_find_the_same_loss():
    losses = [plan.optimize(FOUR, FOUR_POOLS, Budget(1e11, 1e9), seed=seed).loss for seed in range(4)]
    assert np.ptp(losses) < 1e-8


@pytest.mark.parametrize("limit", [0.5, 2.0, 8.0, 1000.0])
def test_a_tighter_cap_never_helps(limit):
    free = plan.optimize(THREE, THREE_POOLS, HUGE)
    capped = plan.optimize(THREE, THREE_POOLS, HUGE, Limits(max_epochs=limit))
    assert capped.loss >= free.loss - 1e-9
    assert max(capped.epochs.values()) <= limit * (1 + 1e-9)


def test_too_little_data_says_how_many_epochs_would_do():
    few = pools(a=1e9, b=2.5e9)
    with pytest.raises(Infeasible) as caught:
        plan.optimize(SCARCE, few, Budget(2e10, 1e9), Limits(max_epochs=4))
    message = str(caught.value)
    assert "3.5e+09 unique tokens at 4 epochs give 1.4e+10" in message
    assert "the budget asks 2e+10" in message
    advised = float(re.search(r"Raise --max-epochs to ([\d.]+)", message)[1])
    assert 5.71 <= advised <= 5.8
    plan.optimize(
        SCARCE, few, Budget(2e10, 1e9), Limits(max_epochs=advised)
    )  # the advice works when followed literally


@pytest.mark.parametrize("most", [1.0, 0.8, 0.5])
@pytest.mark.parametrize("tokens", [3.3e10, 2e10, 1.234e12])
def test_the_advised_passes_are_enough_with_maximum_shares_and_for_every_budget(most, tokens):
    few, budgets = pools(a=1e9, b=2.5e9), [Budget(tokens / 3, 1e9), Budget(tokens, 1e9)]
    with pytest.raises(Infeasible) as caught:
        plan.frontier(SCARCE, few, budgets, Limits(max_epochs=0.1, max_weight={"b": most}))
    advised = float(re.search(r"Raise --max-epochs to ([\d.e+]+)", str(caught.value))[1])
    best = plan.frontier(SCARCE, few, budgets, Limits(max_epochs=advised, max_weight={"b": most}), starts=3)
    assert max(best[1].epochs.values()) > 0.99 * advised, "and no more than needed"


@pytest.mark.parametrize(
    ("caps", "numbers"),
    [
        ({"min_weight": {"a": 0.7, "b": 0.6}}, ["1.3"]),
        ({"max_weight": {"a": 0.3, "b": 0.4}}, ["0.7"]),
        ({"min_weight": {"a": 0.5}, "max_weight": {"a": 0.4}}, ["'a'", "0.5", "0.4"]),
        ({"min_weight": {"a": 0.5}, "max_epochs": 2.0}, ["'a'", "0.5", "0.02"]),
    ],
)
def test_contradicting_caps_are_named_with_their_numbers(caps, numbers):
    with pytest.raises(Infeasible) as caught:
        plan.optimize(SCARCE, TWO_POOLS, HUGE, Limits(**caps))
    assert "\n" not in str(caught.value)
    assert all(number in str(caught.value) for number in numbers)


@pytest.mark.parametrize("caps", [{"min_weight": {"x": 0.1}}, {"max_weight": {"x": 0.1}}])
def test_a_cap_on_an_unknown_pool_is_refused(caps):
    with pytest.raises(SchemaError, match="no pool 'x': the pools are a, b"):
        plan.optimize(SCARCE, TWO_POOLS, HUGE, Limits(**caps))


@pytest.mark.parametrize(
    "caps",
    [
        {"max_epochs": 0.0},
        {"max_epochs": -1.0},
        {"max_epochs": float("inf")},
        {"max_epochs": float("nan")},
        {"min_weight": {"a": -0.1}},
        {"max_weight": {"a": 1.1}},
        {"max_weight": {"a": float("nan")}},
    ],
)
def test_senseless_caps_are_refused(caps):
    with pytest.raises(SchemaError, match="-1|0|nan|inf|1.1"):
        plan.optimize(SCARCE, TWO_POOLS, HUGE, Limits(**caps))


def test_pools_must_be_those_of_the_fit():
    with pytest.raises(SchemaError, match="z on one side only; the fit knows a, b"):
        plan.optimize(SCARCE, pools(a=1e9, b=1e9, z=1e9), HUGE)


def test_exactly_tight_caps_leave_one_mixture():
    best = plan.optimize(MIXING, THREE_POOLS, HUGE, Limits(max_weight={"a": 0.25, "b": 0.25, "c": 0.5}))
    assert best.weights == pytest.approx({"a": 0.25, "b": 0.25, "c": 0.5}, abs=1e-9)


def test_warnings_name_the_limits_reached_and_what_is_extrapolated():
    fit = replace(SCARCE, ranges={**SCARCE.ranges, "tokens": (1e8, 1e9), "params": (1e8, 1e9), "epochs": (0.0, 1.0)})
    best = plan.optimize(fit, TWO_POOLS, HUGE, Limits(max_weight={"a": 0.2}, min_weight={"b": 0.1}))
    lines = " / ".join(best.warnings)
    assert "a is at its maximum share 0.2" in lines
    assert "extrapolated: tokens 1e+10 is 10x the largest fitted (1e+09)" in lines
    assert "no fitted run repeats data, so the cost of reading a pool 20 times is not measured" in lines
    assert "params" not in lines
    assert "b is at" not in lines


def test_json_and_table_agree_with_the_record():
    plans = plan.frontier(SCARCE, TWO_POOLS, [Budget(1e9, 1e9), HUGE])
    record, table = plan.to_json(plans), plan.table(plans)
    assert [r["weights"] for r in record] == [dict(p.weights) for p in plans]
    assert [r["gain_low"] for r in record] == [p.gain[1] for p in plans]
    assert table.height == 4
    assert table["weight"].to_list() == [w for p in plans for w in p.weights.values()]


def test_baselines_that_the_limits_rule_out_are_named():
    best = plan.optimize(MIXING, THREE_POOLS, HUGE, Limits(max_weight={"a": 0.2}, min_weight={"c": 0.5}))
    (line,) = [line for line in best.warnings if "break the limits" in line]
    assert line.endswith(": uniform, unimax"), "UniMax: .08 of a, 4 passes, and .46 of c; temperature: .76 of c"
    assert not [line for line in plan.optimize(MIXING, THREE_POOLS, HUGE).warnings if "break" in line]


def test_draws_without_a_finite_loss_are_an_error():
    draws = {name: values.clone() for name, values in SCARCE.draws.items()}
    draws["d"][3] = torch.inf
    with pytest.raises(FitError, match="1 of 20 bootstrap draws give no finite loss at 1e.10 tokens"):
        plan.optimize(replace(SCARCE, draws=draws), TWO_POOLS, HUGE)


def test_a_hair_beyond_the_runs_is_no_extrapolation():
    fit = replace(SCARCE, ranges={**SCARCE.ranges, "tokens": (1e8, 9.99e9)})
    assert "extrapolated: tokens" not in " ".join(plan.optimize(fit, TWO_POOLS, HUGE).warnings)


def test_a_share_of_next_to_nothing_is_not_a_trillionfold_extrapolation():
    fit = replace(MIXING, ranges={**MIXING.ranges, "share of b": (0.1, 1.0)})
    lines = " ".join(plan.optimize(fit, THREE_POOLS, HUGE, Limits(max_weight={"a": 0.6})).warnings)
    assert "extrapolated: share of b 0 is below the smallest fitted (0.1)" in lines
    assert "x below" not in lines
