"""Intervals of gains hold what they promise if the law is right: many tables of one planted law, each fitted anew."""

import numpy as np
import polars as pl
import pytest
import torch
from problems import planted
from scipy.stats import norm

from curate.fitting.job import fit
from curate.planning import plan, search
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import Recipes

NOISE = 0.006  # of the log loss of a run
TRUTH = planted("mixing", "abc", {"c": 1.6, "t": [-1.0, -0.2, -0.6]})
POOLS = tuple(Pool(name, tokens, 1) for name, tokens in zip("abc", (1e10, 1e11, 3e10), strict=True))
BUDGET = Budget(2e9, 1e8)
TABLES = 24


def runs(seed):
    """24 runs of the planted law, with noise."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(3), 24)
    tokens = np.full(24, 2e9)
    unlimited = torch.full((24, 3), torch.inf, dtype=torch.float64)
    recipes = Recipes(torch.from_numpy(w), torch.from_numpy(tokens), torch.full_like(unlimited[:, 0], 1e8), unlimited)
    loss = TRUTH.loss(recipes).numpy() * np.exp(NOISE * rng.standard_normal(24))
    shares = {f"weight.{name}": w[:, k] for k, name in enumerate("abc")}
    names = [f"r{i}" for i in range(24)]
    return pl.DataFrame({"run": names, "params": 1e8, "tokens": tokens} | shares | {"loss.web": loss})


def coverage(seed):
    """The probability that the differences of two new runs lie in the intervals of the gains, for each baseline."""
    report = fit(runs(seed), law="mixing", eval="web", metric="none", starts=4, draws=40)
    planned = plan.optimize(report.predictor, POOLS, BUDGET, starts=8)
    held = []
    mixtures = {"plan": planned.weights} | {
        name: dict(zip("abc", shares, strict=True)) for name, shares in _baselines().items()
    }
    rows = torch.tensor([[shares[name] for name in "abc"] for shares in mixtures.values()], dtype=torch.float64)
    losses = TRUTH.loss(search.on_hand(POOLS, [BUDGET], rows)).tolist()
    for loss, (_, low, high) in zip(losses[1:], planned.gains.values(), strict=True):
        difference = norm(loss - losses[0], NOISE * np.hypot(loss, losses[0]))
        held.append(difference.cdf(high) - difference.cdf(low))
    return held


def _baselines():
    from curate.pool import baselines

    return baselines.baselines(POOLS, BUDGET.tokens)


@pytest.mark.slow
def test_intervals_of_gains_hold_90_percent_of_differences_of_new_runs():
    held = np.array([coverage(seed) for seed in range(TABLES)])
    assert 0.85 < held.mean() < 0.97, held.mean(axis=0)
