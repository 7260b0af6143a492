"""Selection on planted clouds: what is nearest, what pilots may change, limits and prices; reach against simulation."""

import numpy as np
import pytest
import torch
from problems import planted, theta

from curate.errors import FitError, Infeasible, SchemaError
from curate.fitting.fit import FitOptions
from curate.planning import plan
from curate.planning.limits import NO_LIMITS, Limits
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import recipes
from curate.selection.choose_mixture import choose_mixture
from curate.selection.mixture_distance import MixtureDistance
from curate.selection.purchase import MixtureChoice, Pilots, Purchase
from curate.selection.transport_predictor import TransportPredictor
from curate.transport import distance
from curate.transport.ground_cost import Samples, TransportProblem, problem
from curate.transport.nearest_draws import order, reach

CENTRES = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 6.0]])
FEW = FitOptions(starts=4, draws=20)


def halves() -> TransportProblem:
    """The target is 70 % of cloud a and 30 % of cloud b; c is far away."""
    rng = np.random.default_rng(0)
    sources = {n: Samples(c + rng.standard_normal((24, 2)) / 2) for n, c in zip("abc", CENTRES, strict=True)}
    of = np.repeat([0, 1], [28, 12])
    return problem(sources, Samples(CENTRES[of] + rng.standard_normal((40, 2)) / 2))


def pools(**prices: float) -> list[Pool]:
    return [Pool(n, 1000, 1000, cost_per_token=prices.get(n)) for n in "abc"]


BUDGET = Budget(1000.0, 1.0)


def choose(problem, pools, budget, limits=NO_LIMITS, **options) -> MixtureChoice:
    return choose_mixture(problem, Purchase(tuple(pools), budget, limits), **options)


def test_the_nearest_mixture_is_the_planted_one():
    choice = choose(halves(), pools(), BUDGET)
    assert choice.chosen == "nearest"
    assert list(choice.plan.weights.values()) == pytest.approx([0.7, 0.3, 0.0], abs=0.05)
    assert sum(choice.examples.values()) == 1000
    distances = {row.name: row.distance for row in choice.rows}
    assert {"uniform", "proportional", "best single", "random", "greedy", "values", "design"} < set(distances)
    assert distances["nearest"] <= min(distances.values()) + 1e-4
    assert choice.table().height == len(choice.rows)


def test_caps_and_money_are_kept():
    capped = choose(halves(), pools(), BUDGET, Limits(max_weight={"a": 0.5}))
    assert capped.plan.weights["a"] == pytest.approx(0.5, abs=1e-6)
    paid = choose(halves(), pools(a=2.0, b=1.0, c=0.5), BUDGET, Limits(money=1300.0))
    assert sum(paid.plan.weights[n] * 1000 * c for n, c in zip("abc", (2.0, 1.0, 0.5), strict=True)) <= 1300.1
    assert not next(row for row in paid.rows if row.name == "best single").allowed
    with pytest.raises(Infeasible):
        choose(halves(), pools(), BUDGET, Limits(max_weight={"a": 0.1, "b": 0.1, "c": 0.1}))


def pilots(of: TransportProblem, slope: float, *, runs: int = 16, noise: float = 0.01) -> Pilots:
    rng = np.random.default_rng(1)
    w = rng.dirichlet(np.ones(3), runs)
    tokens = np.tile([100.0, 200.0], runs // 2 + 1)[:runs]
    d = MixtureDistance(of)(torch.from_numpy(w)).numpy()
    error = 0.1 * (tokens / 1e3) ** -0.3 * np.exp(slope * d + noise * rng.standard_normal(runs))
    return Pilots(recipes(w, tokens, np.ones(runs)), error, 0.0, "loss.test")


def test_pilots_that_follow_the_distance_keep_the_nearest_and_predict_it():
    of = halves()
    choice = choose(of, pools(), BUDGET, pilots=pilots(of, 0.8), options=FEW)
    assert list(choice.plan.weights.values()) == pytest.approx([0.7, 0.3, 0.0], abs=0.08)
    best = next(row for row in choice.rows if row.name == choice.chosen)
    assert best.loss == pytest.approx(0.1 * np.exp(0.8 * best.distance), rel=0.1)
    assert best.low < best.loss < best.high
    uniform = next(row for row in choice.rows if row.name == "uniform")
    assert uniform.gain[1] > 0
    assert "cannot tell" not in choice.why


def test_pilots_that_say_little_are_said_not_to_tell_it_from_the_uniform_mixture():
    of = halves()
    # The noise of these pilots happens to rise with the distance; the negative slope takes that away.
    choice = choose(of, pools(), BUDGET, pilots=pilots(of, -0.05, noise=0.3), options=FEW)
    assert "cannot tell it from the uniform mixture" in choice.why and "Train both" in choice.why


def test_a_uniform_mixture_that_cannot_be_bought_is_not_to_be_trained():
    of = halves()
    told = pilots(of, 0.02, noise=0.3)
    choice = choose(of, pools(), BUDGET, Limits(min_weight={"a": 0.5}), pilots=told, options=FEW)
    assert "uniform" not in choice.why


def test_pilots_overrule_a_distance_that_misleads():
    """Source b spoils the model, which no distance of features sees: pilots say so."""
    of = halves()
    clean = pilots(of, 0.3, runs=32)
    error = clean.error * np.exp(3 * clean.recipes.weights[:, 1].numpy())
    told = Pilots(clean.recipes, error, 0.0, "loss.test")
    choice = choose(of, pools(), BUDGET, pilots=told, options=FEW)
    assert choice.chosen in ("law", "best pilot")
    assert choice.plan.weights["b"] < 0.15
    assert "shares=1" in choice.form


def test_too_few_mixtures_are_refused():
    of = halves()
    with pytest.raises(FitError, match="2 different mixtures"):
        choose(of, pools(), BUDGET, pilots=pilots(of, 0.5, runs=2), options=FEW)


def test_pools_that_are_not_the_sources_are_refused():
    with pytest.raises(SchemaError, match="do not match"):
        choose(halves(), pools()[:2], BUDGET)


def test_reach_is_the_mean_distance_to_the_nearest_draw():
    of, w = halves(), torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64)
    costs, rng, total = of.across.dense().numpy(), np.random.default_rng(0), 0.0
    mass = of.masses(w)[0].numpy()
    for _ in range(2000):
        total += costs[rng.choice(len(mass), 7, p=mass)].min(axis=0).mean()
    assert float(reach(of, w, 7)) == pytest.approx(total / 2000, rel=0.02)


@pytest.mark.parametrize("draws", [None, 5.0])
def test_gradients_of_distances_agree_with_finite_differences(draws):
    of = halves()
    measure, w = MixtureDistance(of, draws), torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(measure(w).sum(), w)
    for way in torch.tensor([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]], dtype=torch.float64):
        ends = measure(torch.cat([w.detach() + 1e-2 * way, w.detach() - 1e-2 * way]))
        assert float(slope[0] @ way) == pytest.approx(float(ends[0] - ends[1]) / 2e-2, rel=0.05, abs=2e-3)


def test_reach_does_not_depend_on_the_batch():
    of, w = halves(), torch.eye(3, dtype=torch.float64)
    many = reach(of, w, 5, sorted_=order(of))
    assert torch.allclose(many, torch.cat([reach(of, row[None], 5) for row in w]), rtol=1e-6)


def test_the_planner_plans_with_a_distance():
    of = halves()
    law = planted("transport", "abc", {**theta("transport", 3), "c": 1.0})
    choice = plan.optimize(
        TransportPredictor(law, MixtureDistance(of, 20.0)), pools(), BUDGET, Limits(min_weight={"c": 0.1}), starts=4
    )
    assert choice.weights["c"] == pytest.approx(0.1, abs=1e-3)
    assert choice.low < choice.loss < choice.high
    assert choice.residual is not None


def test_transport_that_does_not_converge_is_said():
    of = halves()
    bad = distance.solve(of, torch.eye(3, dtype=torch.float64), eps=1e-3, steps=8)
    with pytest.raises(distance.Unconverged, match="did not converge"):
        bad.require()
