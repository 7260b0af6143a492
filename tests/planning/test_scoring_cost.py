"""Whether scoring pays: its cost in training tokens against what the choice of data gains."""

import pytest
from problems import planted

from curate.errors import SchemaError
from curate.fitting import plan_job
from curate.laws.utility import PUBLISHED as UTILITY
from curate.planning.details import crossings, keep_curve, scoring_cost
from curate.planning.details.scoring_cost import ScoringCost
from curate.pool.pool import Budget, Pool

TOPS = ("top10", "next10", "next20", "next30")
COST = (
    (32e6, 0.0, 1, 18.247),
    (32e6, 0.02, 1, 17.355),
    (32e6, 0.05, 1, 15.837),
    (32e6, 0.1, 1, 12.269),
    (128e6, 0.0, 2, 29.600),
    (128e6, 0.02, 2, 29.432),
    (128e6, 0.05, 2, 29.172),
    (128e6, 0.1, 2, 28.717),
)


@pytest.mark.parametrize(("tokens", "relative", "bins", "accuracy"), COST)
def test_scoring_costs_a_part_of_the_budget(tokens, relative, bins, accuracy):
    """Pools and constants of Goyal et al. 2024 as released, where 128M samples are scored for 51.2M in pools."""
    fit = planted("utility:form=code", TOPS, UTILITY)
    pools_of_scores = [Pool(name, 12.8e6, 1) for name in TOPS]
    cost = ScoringCost(relative, 128e6)
    (gain,) = scoring_cost.gains(fit, pools_of_scores, [Budget(tokens, 1e8)], TOPS, cost)
    assert (gain.bins, gain.spent) == (bins, relative * 128e6)
    assert gain.scored is not None
    assert 100 * (1 - gain.scored) == pytest.approx(accuracy, abs=6e-4)
    # Without scores, all four bins are used in proportion, on the whole budget.
    unscored = keep_curve.curve(fit, pools_of_scores, [Budget(tokens, 1e8)], best_first=TOPS).loss[0, -1]
    assert gain.unscored == pytest.approx(float(unscored), abs=1e-12)
    assert gain.gain == pytest.approx(gain.unscored - gain.scored, abs=1e-12)
    assert gain.low <= gain.gain <= gain.high


def test_scoring_at_the_break_even_cost_gains_nothing():
    fit, tokens = planted("utility:form=code", TOPS, UTILITY), 32e6
    pools_of_scores, budgets = [Pool(name, 12.8e6, 1) for name in TOPS], [Budget(tokens, 1e8)]
    (free,) = scoring_cost.gains(fit, pools_of_scores, budgets, TOPS, ScoringCost(0.0, 128e6))
    (even,) = scoring_cost.gains(fit, pools_of_scores, budgets, TOPS, ScoringCost(free.break_even, 128e6))
    assert even.gain == pytest.approx(0.0, abs=1e-4)
    assert free.gain > 0.06
    assert "pays" in str(free)
    (nothing,) = scoring_cost.gains(fit, pools_of_scores, budgets, TOPS, ScoringCost(0.25, 128e6))
    assert (nothing.bins, nothing.gain) == (0, None)
    assert "nothing remains to train with" in str(nothing)


def test_scoring_stops_paying_where_repetition_wears_the_best_bins_out():
    fit, pools_of_scores = planted("utility:form=code", TOPS, UTILITY), [Pool(name, 12.8e6, 1) for name in TOPS]
    budgets = crossings.between(Budget(1e7, 1e8), Budget(1e13, 1e8), points=8)
    gains = scoring_cost.gains(fit, pools_of_scores, budgets, TOPS, ScoringCost(0.1, 128e6))
    paying = scoring_cost.paying_range(gains)
    assert paying is not None
    for gain in gains:
        assert (gain.gain is not None and gain.gain > 0) == (paying.low < gain.tokens < paying.high)
    assert 1.28e7 < paying.low < 5e7
    assert scoring_cost.paying_range(gains[:1]) is None


def test_options_of_the_cost_of_scoring_are_checked():
    bins = [Pool(name, 12.8e6, 1, score={"score.x": (-i - 1.0, -i + 0.0)}) for i, name in enumerate(TOPS)]
    fit = planted("utility:form=code", TOPS, UTILITY)
    cases = (
        ({"score_cost": 0.1}, "--score-cost is for --keep-curve"),
        ({"keep_curve": True, "scored_tokens": 1e9}, "--scored-tokens needs --score-cost"),
        ({"keep_curve": True, "score_cost": -0.1}, "--score-cost -0.1 must be 0 or more"),
        ({"keep_curve": True, "score_cost": 0.1, "scored_tokens": 1e6}, "is less than the 5.12e"),
        ({"keep_curve": True, "score_cost": 2.0}, "the largest budget has 6.4e"),
    )
    for options, message in cases:
        with pytest.raises(SchemaError, match=message):
            plan_job.plan(fit, bins, ["32e6:1e8", "64e6:1e8"], draws=0, within=0.0, **options)
    plans = plan_job.plan(
        fit, bins, ["4e6:1e8", "64e6:1e8"], draws=0, within=0.0, keep_curve=True, score_cost=0.1, scored_tokens=128e6
    )
    assert "scoring pays from" in plans.summary()
    record = plans.record()["keep"]
    assert [entry["bins"] for entry in record["scoring"]] == [0, 1]
    assert {row["tokens"] for row in record["curve"]} == {64e6}
