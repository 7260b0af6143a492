"""Advice on what to run next: on planted problems the advised runs narrow the interval about as predicted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import law_of, planted

from curate.continual import critical_ratio, next_runs
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


def made(rows):
    s, t, n = map(np.array, zip(*rows, strict=True))
    return recipes(np.stack([1 - s, s], axis=1), t, n)


def train(rows, rng):
    given = made(rows)
    return given, law_of(SPEC).loss(TRUTH, given).numpy() * np.exp(NOISE * rng.standard_normal(len(rows)))


CEILING = float(law_of(SPEC).loss(TRUTH, made([(0.6, AT.tokens, AT.params)])))  # the critical share is .6


def fitted(given, losses, seed):
    found = fits.fit(SPEC, given, losses, pools=POOLS, options=fits.FitOptions(starts=8, draws=150, seed=seed))
    return replace(found, noise=NOISE)


def interval(fit):
    """Of the law alone: run noise, which no run narrows, is left out."""
    fit = replace(fit, noise=0.0)
    found = critical_ratio.critical_ratio(fit, fit, [], AT, CEILING, largest=1.0)
    return found.low, 1.0 if found.high is None else found.high


@pytest.fixture(scope="module")
def first():
    given, losses = train(FIRST, np.random.default_rng(1))
    return fitted(given, losses, 1)


def test_the_advised_runs_narrow_the_interval_about_as_predicted():
    kept = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        given, losses = train(FIRST, rng)
        fit = fitted(given, losses, seed)
        low, high = interval(fit)
        advice = next_runs.advise(fit, [], AT, CEILING, (high - low) / 3)
        assert advice.reached
        assert advice.now == pytest.approx(high - low, abs=0.02)
        more, shown = train([tuple(row) for row in advice.runs.select("share", "tokens", "params").rows()], rng)
        both = Recipes(*(torch.cat(pair) for pair in zip(given.rows, more.rows, strict=True)))
        low, high = interval(fitted(both, np.concatenate([losses, shown]), seed))
        kept.append((advice.expected, high - low))
        assert low < 0.6 < high
    ratios = np.array([after / expected for expected, after in kept])
    assert 0.6 < np.median(ratios) < 1.6
    assert ((ratios > 0.3) & (ratios < 3)).all()


def test_advice_is_cheaper_than_running_the_budget_itself(first):
    low, high = interval(first)
    advice = next_runs.advise(first, [], AT, CEILING, 0.6 * (high - low))
    assert advice.reached
    assert advice.flops <= AT.flops
    assert advice.table()["flops"].to_list() == [6 * t * n for t, n in advice.runs.select("tokens", "params").rows()]
    assert advice.table()["width"][-1] == advice.expected <= advice.asked


def test_a_narrower_interval_costs_more(first):
    low, high = interval(first)
    costs = [next_runs.advise(first, [], AT, CEILING, x * (high - low)).flops for x in (0.3, 0.6, 1.1)]
    assert costs[0] > costs[1] > costs[2] == 0.0


def test_a_width_out_of_reach_is_not_promised(first):
    advice = next_runs.advise(first, [], AT, CEILING, 1e-4, most=2, candidates=[(0.1, 1e8, 2e8), (0.6, 2e10, 1e9)])
    assert not advice.reached
    assert 0 < advice.runs.height <= 2
    assert advice.expected < advice.now


def test_a_run_that_tells_little_is_not_enough(first):
    low, high = interval(first)
    tiny, near = (0.6, 2e8, 1e6), (0.6, 2e10, 1e9)
    without, both = (
        next_runs.advise(first, [], AT, CEILING, 0.5 * (high - low), candidates=x) for x in ([tiny], [tiny, near])
    )
    assert not without.reached
    assert both.reached
    assert 1e9 in both.runs["params"]


def test_nothing_to_narrow_and_wrong_widths():
    fit = planted("cmr", POOLS, {"none": 2.5, "full": 3.0, "s": 2.0})
    for ceiling, said in ((9.0, "no share reaches"), (0.5, "share 0 already passes")):
        with pytest.raises(FitError, match=said):
            next_runs.advise(fit, [], AT, ceiling, 0.1)
    with pytest.raises(SchemaError, match="a width of 2"):
        next_runs.advise(fit, [], AT, 2.6, 2.0)
