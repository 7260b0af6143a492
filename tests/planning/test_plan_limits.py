"""Plans under groups, order, fixed shares and money, against a fine grid; what is said where nothing fits."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import FOUR, FOUR_POOLS, SCARCE, THREE, THREE_POOLS, TWO_POOLS, grid, planted, pools

from curate.errors import Infeasible, SchemaError
from curate.laws.infolaw import PUBLISHED as INFOLAW
from curate.planning import feasible, plan, search
from curate.planning.limits import Group, Limits
from curate.pool.pool import Budget, Pool

HUGE = Budget(1e10, 1e9)
LONG = Budget(1e11, 1e9)


def best_of_grid(fit, pools, budget, allowed):
    """Lowest loss over the grid's mixtures for which ``allowed`` (n, p) -> (n,) holds."""
    points = grid(len(pools))
    points = points[allowed(points)]
    losses = fit.loss(search.on_hand(search.match(fit, pools), [budget], torch.from_numpy(points)))
    return float(losses.min())


@pytest.mark.parametrize(
    ("groups", "allowed"),
    [
        ((Group(("a", "b"), high=0.3),), lambda w: w[:, :2].sum(1) <= 0.3 + 1e-12),
        ((Group(("[cd]",), low=0.7),), lambda w: w[:, 2:].sum(1) >= 0.7 - 1e-12),
        (
            (Group(("a", "c"), high=0.5), Group(("b", "c"), 0.2, 0.6), Group(("*",), 0.0, 1.0)),
            lambda w: (w[:, [0, 2]].sum(1) <= 0.5 + 1e-12) & (abs(w[:, 1:3].sum(1) - 0.4) <= 0.2 + 1e-12),
        ),
    ],
)
@pytest.mark.parametrize("budget", [HUGE, LONG], ids=["1e10", "1e11"])
def test_groups_hold_and_nothing_on_the_grid_is_better(groups, allowed, budget):
    best = plan.optimize(FOUR, FOUR_POOLS, budget, Limits(groups=groups))
    w = np.array([list(best.weights.values())])
    assert allowed(np.round(w, 9)).all()
    assert best.loss <= best_of_grid(FOUR, FOUR_POOLS, budget, allowed) + 1e-9
    assert best.gap < 1e-6
    assert any("the limit is reached: group" in note for note in best.warnings)


def test_ordered_pools_fall_in_share():
    def ordered(w):
        return (w[:, 2] >= w[:, 1] - 1e-12) & (w[:, 1] >= w[:, 0] - 1e-12)

    best = plan.optimize(THREE, THREE_POOLS, HUGE, Limits(ordered=("c", "b", "a")))
    w = best.weights
    assert w["c"] >= w["b"] - 1e-12
    assert w["b"] >= w["a"] - 1e-12
    assert best.loss <= best_of_grid(THREE, THREE_POOLS, HUGE, ordered) + 1e-9


def test_fixed_shares_stay():
    best = plan.optimize(THREE, THREE_POOLS, HUGE, Limits(fixed={"b": 0.25}, max_epochs=20))
    assert best.weights["b"] == 0.25
    assert "b is at its fixed share 0.25" in best.warnings
    free = best_of_grid(
        THREE, THREE_POOLS, HUGE, lambda w: (abs(w[:, 1] - 0.25) < 1e-9) & (w[:, 0] <= 20 * 2e8 / 1e10 + 1e-12)
    )
    assert best.loss <= free + 1e-9


@pytest.mark.parametrize(
    ("tokens", "best"), [(300e9, (0.552, 0.448, 0.0)), (1000e9, (0.391, 0.391, 0.219))], ids=["300B", "1000B"]
)
def test_infolaw_optima_are_reproduced(tokens, best):
    """InfoLaw's buckets hold these shares of S = 317B source tokens, and no bucket may have more than a better one."""
    names = tuple(f"bucket{d}" for d in range(6))
    sizes = np.array([0.05, 0.15, 0.20, 0.20, 0.20, 0.20]) * 317e9
    buckets = [Pool(name, size, 1) for name, size in zip(names, sizes.tolist(), strict=True)]
    mixture = plan.optimize(planted("infolaw", names, INFOLAW), buckets, Budget(tokens, 7e9), Limits(ordered=names))
    assert list(mixture.weights.values())[:3] == pytest.approx(best, abs=0.01)
    assert sum(list(mixture.weights.values())[3:]) < 1e-6


PRICED = tuple(replace(pool, cost_per_token=price) for pool, price in zip(THREE_POOLS, (5e-6, 1e-6, 1e-8), strict=True))


@pytest.mark.parametrize("money", [200.0, 800.0, 1500.0, 4000.0])
@pytest.mark.parametrize("tokens", [3e9, 1e10, 1e11])
def test_money_buys_every_token_once_and_the_grid_has_nothing_better(money, tokens):
    budget = Budget(tokens, 1e9)
    sizes, prices = (np.array([getattr(pool, name) for pool in PRICED]) for name in ("tokens", "cost_per_token"))

    def affordable(w):
        return (np.minimum(w * tokens, sizes) * prices).sum(axis=1) <= money

    try:
        best = plan.optimize(THREE, PRICED, budget, Limits(money=money))
    except Infeasible:
        assert not affordable(grid(3)).any()
        return
    assert best.cost <= money * (1 + 1e-9)
    assert best.cost == pytest.approx(feasible.paid(PRICED, budget, best.weights))
    assert best.loss <= best_of_grid(THREE, PRICED, budget, affordable) + 1e-6


def test_money_that_does_not_bind_changes_nothing():
    free, rich = (plan.optimize(THREE, PRICED, HUGE, Limits(money=money)) for money in (None, 1e9))
    assert rich.loss == pytest.approx(free.loss, abs=1e-9)


@pytest.mark.parametrize(
    ("limits", "missed"),
    [
        (Limits(groups=(Group(("a",), high=0.2), Group(("b",), high=0.3))), 0.5),
        (Limits(groups=(Group(("a",), low=0.7),), fixed={"b": 0.5}), 0.2),
        (Limits(max_weight={"a": 0.1}, groups=(Group(("b",), high=0.5),)), 0.4),
    ],
)
def test_limits_that_contradict_say_by_how_much(limits, missed):
    with pytest.raises(Infeasible) as caught:
        plan.optimize(SCARCE, TWO_POOLS, HUGE, limits)
    message = str(caught.value)
    assert "\n" not in message
    assert sum(float(x) for x in re.findall(r"missed by ([\d.e+-]+\d)", message)) == pytest.approx(missed, rel=1e-3)
    assert "group" in message


def test_too_little_money_says_how_much_is_missing():
    dear = [replace(pool, cost_per_token=1e-6) for pool in TWO_POOLS]
    with pytest.raises(Infeasible) as caught:
        plan.optimize(SCARCE, dear, HUGE, Limits(money=1000.0, max_epochs=20))
    missing = float(re.search(r"money 1000 is missed by ([\d.e+]+)", str(caught.value))[1])
    enough = plan.optimize(SCARCE, dear, HUGE, Limits(money=1000.0 + missing * 1.001, max_epochs=20))
    assert enough.cost <= 1000 + missing * 1.001


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(groups=(Group(("x*",), high=0.5),)), r"no pool matches 'x\*'; the pools are a, b"),
        (Limits(groups=(Group(("a",), 0.6, 0.5),)), "0.6 to 0.5"),
        (Limits(groups=(Group(("a",), high=1.5),)), "1.5"),
        (Limits(ordered=("a", "z")), "no pool 'z': the pools are a, b"),
        (Limits(fixed={"z": 0.1}), "no pool 'z'"),
        (Limits(fixed={"a": 0.1}, max_weight={"a": 0.2}), "give one of them"),
        (Limits(money=-1.0), "-1"),
        (Limits(money=10.0), "cost_per_token"),
    ],
)
def test_senseless_limits_are_refused(limits, message):
    priced = [replace(pool, cost_per_token=1.0) for pool in TWO_POOLS] if limits.money == -1 else TWO_POOLS
    with pytest.raises(SchemaError, match=message):
        plan.optimize(SCARCE, priced, HUGE, limits)


def test_a_plan_of_one_pool_is_that_pool():
    single_pool = planted("chinchilla", "a", {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37})
    best = plan.optimize(single_pool, pools(a=1e12), HUGE)
    assert best.weights == {"a": 1.0}
    assert best.gap == 0
