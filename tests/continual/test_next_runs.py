"""Suggestions of what to run next: on planted problems the runs narrow the interval about as predicted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import law_of, planted

from curate.continual import critical_ratio
from curate.continual.further import next_runs
from curate.errors import FitError, SchemaError
from curate.fitting import fit as fits
from curate.pool.pool import Budget
from curate.runs.recipes import Recipes, recipes

SPEC, POOLS, AT = "dcpt:rest=true", ("web", "code"), Budget(2e10, 1e9)
VALUES = {"E": 1.6, "A": 0.8, "B": 0.1, "C": 0.3, "alpha": 0.34, "beta": 0.3, "gamma": 0.25, "eta": 0.4, "eps": 0.02}
TRUTH = {k: torch.tensor(v, dtype=torch.float64) for k, v in VALUES.items()}
NOISE = 0.004
FIRST = [
    *((s, t, 1e9) for s in (0.2, 0.5, 0.8) for t in (6e8, 2.5e9)),
    *((s, 6e8, 2e8) for s in (0.2, 0.5, 0.8)),
    (0.35, 6e8, 5e8),
]


def mixtures(rows):
    s, t, n = map(np.array, zip(*rows, strict=True))
    return recipes(np.stack([1 - s, s], axis=1), t, n)


def train(rows, rng):
    recipes_run = mixtures(rows)
    return recipes_run, law_of(SPEC).loss(TRUTH, recipes_run).numpy() * np.exp(NOISE * rng.standard_normal(len(rows)))


CEILING = float(law_of(SPEC).loss(TRUTH, mixtures([(0.6, AT.tokens, AT.params)])))  # the critical share is .6


def fitted(recipes_run, losses, seed):
    fit = fits.fit(SPEC, recipes_run, losses, pools=POOLS, options=fits.FitOptions(starts=8, draws=150, seed=seed))
    return replace(fit, noise=NOISE)


def interval(fit):
    """Of the law alone: run noise, which no run narrows, is left out."""
    fit = replace(fit, noise=0.0)
    ratio = critical_ratio.critical_ratio(fit, fit, [], AT, CEILING, largest=1.0)
    return ratio.low, 1.0 if ratio.high is None else ratio.high


@pytest.fixture(scope="module")
def first():
    recipes_run, losses = train(FIRST, np.random.default_rng(1))
    return fitted(recipes_run, losses, 1)


def test_the_advised_runs_narrow_the_interval_about_as_predicted():
    kept = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        recipes_run, losses = train(FIRST, rng)
        fit = fitted(recipes_run, losses, seed)
        low, high = interval(fit)
        suggestion = next_runs.suggest(fit, [], AT, CEILING, (high - low) / 3)
        assert suggestion.reached
        assert suggestion.present_width == pytest.approx(high - low, abs=0.02)
        more, shown = train([tuple(row) for row in suggestion.runs.select("share", "tokens", "params").rows()], rng)
        both = Recipes(*(torch.cat(pair) for pair in zip(recipes_run.rows, more.rows, strict=True)))
        low, high = interval(fitted(both, np.concatenate([losses, shown]), seed))
        kept.append((suggestion.expected_width, high - low))
        assert low < 0.6 < high
    ratios = np.array([after / expected_width for expected_width, after in kept])
    assert 0.6 < np.median(ratios) < 1.6
    assert ((ratios > 0.3) & (ratios < 3)).all()


def test_advice_is_cheaper_than_running_the_budget_itself(first):
    low, high = interval(first)
    suggestion = next_runs.suggest(first, [], AT, CEILING, 0.6 * (high - low))
    assert suggestion.reached
    assert suggestion.flops <= AT.flops
    assert suggestion.table()["flops"].to_list() == [
        6 * t * n for t, n in suggestion.runs.select("tokens", "params").rows()
    ]
    assert suggestion.table()["width"][-1] == suggestion.expected_width <= suggestion.target_width


def test_a_narrower_interval_costs_more(first):
    low, high = interval(first)
    costs = [next_runs.suggest(first, [], AT, CEILING, x * (high - low)).flops for x in (0.3, 0.6, 1.1)]
    assert costs[0] > costs[1] > costs[2] == 0.0


def test_a_width_out_of_reach_is_not_promised(first):
    suggestion = next_runs.suggest(first, [], AT, CEILING, 1e-4, most=2, candidates=[(0.1, 1e8, 2e8), (0.6, 2e10, 1e9)])
    assert not suggestion.reached
    assert 0 < suggestion.runs.height <= 2
    assert suggestion.expected_width < suggestion.present_width


def test_a_run_that_tells_little_is_not_enough(first):
    low, high = interval(first)
    tiny, near = (0.6, 2e8, 1e6), (0.6, 2e10, 1e9)
    without, both = (
        next_runs.suggest(first, [], AT, CEILING, 0.5 * (high - low), candidates=x) for x in ([tiny], [tiny, near])
    )
    assert not without.reached
    assert both.reached
    assert 1e9 in both.runs["params"]


def test_nothing_to_narrow_and_wrong_widths():
    fit = planted("cmr", POOLS, {"none": 2.5, "full": 3.0, "s": 2.0})
    for ceiling, message in ((9.0, "no share reaches"), (0.5, "share 0 already passes")):
        with pytest.raises(FitError, match=message):
            next_runs.suggest(fit, [], AT, ceiling, 0.1)
    with pytest.raises(SchemaError, match="a width of 2"):
        next_runs.suggest(fit, [], AT, 2.6, 2.0)
