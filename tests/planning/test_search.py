"""Plans over predictors without a gradient: searched, near the best of a fine grid."""

import numpy as np
import torch
from problems import recipes

from curate.fitting import boosted
from curate.planning import minimise, plan
from curate.planning.regions import Region
from curate.pool.pool import Budget, Pool


def test_the_search_finds_the_minimum_of_a_kinked_function_within_bounds():
    target = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    low, high = torch.tensor([0.0, 0.0, 0.2], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    start = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), 12))
    minimum = minimise.search(
        lambda w, rows: (w - target).abs().sum(dim=1), start, Region.box(low.expand(12, 3), high.expand(12, 3))
    )
    best = minimum.point[minimum.value.argmin()]
    assert float(minimum.value.min()) < 0.2 + 0.02  # w_3 is held at 0.2 or above: no mixture is nearer than 0.2
    assert torch.all(best >= low) and abs(float(best.sum()) - 1) < 1e-12
    assert torch.isnan(minimum.residual).all()


def test_a_plan_over_trees_is_as_good_as_the_best_of_many_mixtures():
    base = recipes(120, 3, 5)
    truth = 2 + ((base.weights - torch.tensor([0.5, 0.3, 0.2])) ** 2).sum(dim=1).numpy()
    few = boosted.TreeOptions(rounds=60, draws=4)
    trees = boosted.fit_boosted(base, {"x": truth}, pools=["a", "b", "c"], base=None, options=few)["x"]
    pools = [Pool(name, 1e15, 1) for name in "abc"]
    best = plan.optimize(trees, pools, Budget(1e9, 1e8))
    assert best.residual is None
    mixtures = np.random.default_rng(1).dirichlet(np.ones(3), 2000)
    many = [
        plan.evaluate(trees, pools, Budget(1e9, 1e8), dict(zip("abc", w, strict=True))).loss for w in mixtures[:200]
    ]
    assert best.loss <= min(many) + 1e-9
