"""The critical ratio against closed forms and brute force: points, intervals, pieces, repeats, replay, what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import planted, theta

from curate.continual import critical_ratio, ratio_rows, share_path, under_ceiling
from curate.errors import SchemaError
from curate.fitting import boosted
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import recipes
from curate.storage import artifacts

AT = Budget(1e10, 1e9)


def planted_narrowly(spec, names, values, noise=0.004):
    """A planted fit whose draws are within a tenth of a percent of its parameters."""
    fit = planted(spec, names, values, noise=noise)
    return replace(fit, draws={k: fit.theta[k] + 0.05 * (v - fit.theta[k]) for k, v in fit.draws.items()})


TWO = ("web", "code")
GENERAL = planted_narrowly("cmr", TWO, {"none": 2.5, "full": 3.0, "s": 2.0})  # 2.5 + .5 R^2
DOMAIN = planted_narrowly("cmr", TWO, {"none": 1.9, "full": 1.3, "s": 0.5})  # 1.9 - .6 sqrt(R)
VALLEY = planted(  # falls with the first domain tokens, then rises: 2.0 + .1 / R^.3 + R, from above 3 at R = 0
    "scarce", TWO, {"E": 1.5, "C": 0.5, "B": 0.1, "beta": 1e-9, "alpha": 0.3, "delta": 0.0, "gamma": 1.0, "r1": 10.0}
)
RISING = planted("cmr", TWO, {"none": 2.0, "full": 3.0, "s": 0.3})
FALLING = planted(
    "scarce", TWO, {"E": 3.0, "C": 0.5, "B": 1e-4, "beta": 1e-9, "alpha": 0.3, "delta": 0.0, "gamma": -1.2, "r1": 10.0}
)
HUMP = Blend((RISING, FALLING), (0.5, 0.5), "hump")  # 2.75 + .5 R^.3 - .6 R: a hump near R = .13
MIXED = planted("ces", TWO, {**theta("ces", 2), "g": 0.5, "R": 2.0, "k": [1.0, 0.05]}, noise=0.004)
THREE = ("web", "books", "code")
REPLAY = planted("ces", THREE, {**theta("ces", 3), "g": 0.6, "k": [1.0, 6.0, 0.05]})


def at_share(path, share):
    return path.recipes(torch.tensor([share], dtype=torch.float64))


def narrow(fit):
    """The same fit with draws that all equal its parameters."""
    return replace(fit, draws={k: v.expand(7, *v.shape) for k, v in fit.theta.items()})


@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.3])
def test_the_closed_form(tolerance):
    ratio = critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 2.5 + tolerance, start=1.95)
    assert ratio.share == pytest.approx((tolerance / 0.5) ** 0.5, abs=2e-6)
    assert ratio.best == ratio.share, "the domain only gains from its share"
    assert ratio.best_anywhere == 1.0
    assert ratio.low < ratio.share < ratio.high
    assert (ratio.safe or 0.0) < ratio.share
    assert ratio.gain[0] == pytest.approx(1.95 - 1.9 + 0.6 * ratio.share**0.5, abs=1e-5)
    assert ratio.gain[1] < ratio.gain[0] < ratio.gain[2]
    assert ratio.feasible == ((0.0, pytest.approx(ratio.share, abs=1e-4)),)
    assert ratio.note == f"reached at {ratio.share:.3g}"
    assert ratio.weights == {"web": pytest.approx(1 - ratio.share), "code": ratio.share}


def test_safe_is_where_the_upper_bound_of_a_new_run_meets_the_ceiling():
    ratio = critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 2.6)
    recipe = recipes([[1 - ratio.safe, ratio.safe]], [AT.tokens], [AT.params])
    assert float(GENERAL.interval(recipe)[1]) == pytest.approx(2.6, abs=1e-4)
    louder = critical_ratio.critical_ratio(replace(GENERAL, noise=0.01), DOMAIN, [], AT, 2.6)
    assert louder.safe < ratio.safe
    assert louder.share == ratio.share
    assert critical_ratio.critical_ratio(replace(GENERAL, noise=0.2), DOMAIN, [], AT, 2.6).safe is None


def test_the_interval_is_where_the_bounds_of_a_new_run_meet_the_ceiling():
    """A run's noise moves the share at which it passes the ceiling, however well the law is known."""
    ratio = critical_ratio.critical_ratio(narrow(GENERAL), DOMAIN, [], AT, 2.6)
    ends = recipes([[1 - x, x] for x in (ratio.low, ratio.high)], [AT.tokens] * 2, [AT.params] * 2)
    low, high = narrow(GENERAL).interval(ends)
    assert [float(high[0]), float(low[1])] == pytest.approx([2.6, 2.6], abs=1e-4)
    assert ratio.low == ratio.safe < ratio.share - 0.005
    assert ratio.high > ratio.share + 0.005
    louder = critical_ratio.critical_ratio(replace(GENERAL, noise=0.01), DOMAIN, [], AT, 2.6)
    noisy = critical_ratio.critical_ratio(narrow(GENERAL), replace(narrow(DOMAIN), noise=0.01), [], AT, 2.6, start=1.95)
    assert noisy.gain[2] - noisy.gain[1] > 0.02, "the gain of a run has its noise as well"
    assert louder.low < ratio.low
    assert louder.high > ratio.high


def test_the_interval_holds_the_point_where_the_draws_leave_it_out():
    shifted = {k: (v + 0.2 * (k == "full")).expand(7) for k, v in GENERAL.theta.items()}
    for draws in (shifted, {k: 2 * GENERAL.theta[k].expand(7) - v for k, v in shifted.items()}):
        ratio = critical_ratio.critical_ratio(replace(GENERAL, draws=draws, noise=0.0), DOMAIN, [], AT, 2.6)
        assert ratio.low <= ratio.share + 1e-5
        assert ratio.share <= ratio.high + 1e-5
        assert ratio.safe <= ratio.share + 1e-5


def test_identical_draws_without_noise_give_a_point():
    fits = [replace(narrow(x), noise=0.0) for x in (GENERAL, DOMAIN)]
    ratio = critical_ratio.critical_ratio(*fits, [], AT, 2.6, start=1.95)
    assert ratio.low == pytest.approx(ratio.share, abs=1e-5)
    assert ratio.high == pytest.approx(ratio.share, abs=1e-5)
    assert ratio.gain[1] == pytest.approx(ratio.gain[2], abs=1e-12)


@given(
    st.sampled_from(["ces", "dcpt:rest=true", "dcpt:rest=true,repeats=true", "mixing", "scarce", "cmr", "mixture_ces"]),
    st.integers(0, 10**6),
    st.floats(0.0, 1.0),
    st.floats(8, 12),
    st.floats(6, 11),
)
def test_it_agrees_with_brute_force(spec, seed, quantile, tokens, unique):
    """Whatever the law: the largest share of a fine grid under a ceiling that some share reaches."""
    general, budget = planted(spec, TWO, theta(spec, 2, seed=seed)), Budget(10**tokens, 1e9)
    pools = [Pool("code", 10**unique, 1)]
    grid = np.linspace(0, 1, 20001)
    n = len(grid)
    along = recipes(
        np.stack([1 - grid, grid], axis=1),
        np.full(n, budget.tokens),
        np.full(n, 1e9),
        np.stack([np.full(n, np.inf), np.full(n, 10**unique)], axis=1),
    )
    losses = general.loss(along).numpy()
    ceiling = float(np.quantile(losses, quantile))
    if not (np.isfinite(losses).all() and ceiling > 0):
        return
    ratio = critical_ratio.critical_ratio(general, DOMAIN, pools, budget, ceiling)
    brute = grid[losses <= ceiling].max()
    if ratio.share is None:
        assert losses[-1] <= ceiling * (1 + 1e-12) or losses[losses <= ceiling].size <= 50
        return
    assert ratio.share == pytest.approx(brute, abs=1 / 400 + 1e-9)
    assert 0 <= ratio.share <= 1
    around = at_share(share_path.share_path(general, pools, budget, pool="code"), ratio.share)
    assert float(general.loss(around)) <= ceiling * (1 + 1e-9)
    assert ratio.epochs["code"] == pytest.approx(ratio.share * budget.tokens / 10**unique)


@given(st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_a_higher_ceiling_never_lowers_the_ratio(first, second):
    low, high = (critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 2.5 + x) for x in sorted((first, second)))
    assert low.reference_share <= high.reference_share + 1e-12
    assert (low.safe or 0.0) <= (high.safe or 0.0)


def test_any_predictor_will_do():
    """Boosted trees: a step function of the share, with its own draws."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0, 1, 120)
    grid_recipes = recipes(np.stack([1 - share, share], axis=1), np.full(120, 1e10), np.full(120, 1e9))
    losses = {name: fit.loss(grid_recipes).numpy() for name, fit in (("general", GENERAL), ("domain", DOMAIN))}
    trees = boosted.fit_boosted(
        grid_recipes, losses, pools=TWO, base=None, clusters=None, options=boosted.TreeOptions(draws=4)
    )
    ratio = critical_ratio.critical_ratio(trees["general"], trees["domain"], [], AT, 2.6)
    assert ratio.share == pytest.approx(0.2**0.5, abs=0.05)
    assert ratio.safe <= ratio.share


def test_not_reached_is_no_number():
    ratio = critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 3.5, start=1.95)
    assert ratio.share is ratio.low is ratio.high is None
    assert ratio.note == "not reached: above 1"
    assert ratio.reference_share == ratio.safe == ratio.best == 1.0
    assert ratio.gain[0] == pytest.approx(0.65, abs=1e-3)


def test_shares_beyond_the_fitted_ones_are_not_looked_at_unless_asked():
    fits = [replace(fit, ranges={**fit.ranges, "share of code": (0.2, 0.6)}) for fit in (GENERAL, DOMAIN)]
    ratio = critical_ratio.critical_ratio(*fits, [], AT, 2.75)
    assert ratio.note == "not reached: above 0.6"
    assert ratio.share is None
    further = critical_ratio.critical_ratio(*fits, [], AT, 2.75, largest=1.0)
    assert further.share == pytest.approx(0.5**0.5, abs=2e-6)
    assert any("share of code 0.707 is 1.18x the largest fitted (0.6)" in note for note in further.warnings)
    below = critical_ratio.critical_ratio(*fits, [], AT, 2.505)
    assert any("share of code 0.1 is 2x below the smallest fitted (0.2)" in note for note in below.warnings)
    with pytest.raises(SchemaError, match="shares of code up to 1.5"):
        critical_ratio.critical_ratio(*fits, [], AT, 2.75, largest=1.5)


def test_already_over_without_domain_data():
    ratio = critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 2.4, start=1.95)
    assert ratio.share is ratio.safe is ratio.best is None
    assert ratio.note == "already over at 0: general loss 2.5000 without domain data is above the ceiling 2.4000"
    assert (ratio.low, ratio.high, ratio.reference_share, ratio.feasible) == (0.0, 0.0, 0.0, ())
    assert ratio.gain[0] == pytest.approx(0.05, abs=1e-3)


def test_a_valley_is_under_the_ceiling_between_two_shares():
    ratio = critical_ratio.critical_ratio(VALLEY, DOMAIN, [], AT, 2.45)
    (low, high), *more = ratio.feasible
    assert not more
    assert 0 < low < high == pytest.approx(ratio.share, abs=1e-4)
    assert "are under the ceiling: general loss does not simply rise with the share" in ratio.note


def test_a_hump_leaves_two_pieces_and_the_share_ends_the_last():
    ceiling = 2.85
    fits = [replace(fit, ranges={**fit.ranges, "share of code": (0.0, 0.8)}) for fit in (RISING, FALLING)]
    ratio = critical_ratio.critical_ratio(Blend(tuple(fits), (0.5, 0.5), "hump"), DOMAIN, [], AT, ceiling)
    assert len(ratio.feasible) == 2
    assert ratio.feasible[0][0] == 0.0
    assert ratio.feasible[1][1] == 0.8
    assert ratio.share is None, "the second piece goes on beyond the shares looked at"
    assert ratio.note.startswith("not reached: above 0.8; only 0 to 0.00")


def test_the_best_share_for_the_domain_can_lie_under_the_critical_one():
    ratio = critical_ratio.critical_ratio(GENERAL, VALLEY, [], AT, 2.9)
    assert ratio.best == pytest.approx(0.03 ** (1 / 1.3), abs=3e-3), "d/dR (.1 R^-.3 + R) = 0"
    assert ratio.best < ratio.share
    assert ratio.best_anywhere == ratio.best
    tight = critical_ratio.critical_ratio(GENERAL, VALLEY, [], AT, 2.5 + 0.5 * 0.02**2)
    assert tight.best == tight.share < tight.best_anywhere


def test_a_small_domain_corpus_changes_the_answer():
    """Its repeats are worth less, so the same share costs more general loss; the epochs are shown."""
    start = float(MIXED.loss(recipes([[1.0, 0.0]], [AT.tokens], [AT.params])))
    plenty, scarce = (
        critical_ratio.critical_ratio(MIXED, MIXED, [Pool("code", u, 1)], AT, start + 0.1) for u in (1e12, 1e8)
    )
    assert scarce.share < plenty.share - 0.02
    assert scarce.epochs["code"] == pytest.approx(scarce.share * 100)
    assert plenty.epochs["code"] < 0.01
    assert scarce.table()["domain_epochs"].max() == pytest.approx(100)


def test_a_small_replay_corpus_lowers_what_replay_is_worth():
    start = float(MIXED.loss(recipes([[1.0, 0.0]], [AT.tokens], [AT.params])))
    pools_on_hand = [Pool("web", 2e8, 1)]
    plenty, scarce = (
        critical_ratio.critical_ratio(MIXED, MIXED, pools, AT, start + 0.4) for pools in ([], pools_on_hand)
    )
    assert scarce.reference_share != pytest.approx(plenty.reference_share, abs=0.01)
    assert scarce.epochs["web"] == pytest.approx(scarce.weights["web"] * 50)
    assert scarce.table()["replay_epochs"][0] == pytest.approx(50)
    assert plenty.table()["replay_epochs"].max() == 0.0


def test_the_rest_follows_sizes_or_what_is_given():
    pools = [Pool("web", 3e11, 1), Pool("books", 1e11, 1)]
    sized = critical_ratio.critical_ratio(REPLAY, REPLAY, pools, AT, 100.0)
    assert sized.weights["web"] == pytest.approx(3 * sized.weights["books"])
    half = at_share(share_path.share_path(REPLAY, pools, AT, pool="code"), 0.5).weights[0]
    assert half.tolist() == pytest.approx([0.375, 0.125, 0.5])
    free = at_share(share_path.share_path(REPLAY, [], AT, pool="web"), 0.4).weights[0]
    assert free.tolist() == pytest.approx([0.4, 0.3, 0.3])
    told = share_path.share_path(REPLAY, pools, AT, pool="code", proportions={"web": 1, "books": 9})
    assert at_share(told, 0.5).weights[0].tolist() == pytest.approx([0.05, 0.45, 0.5])


def test_the_rest_can_be_what_forgets_least():
    pools = [Pool("web", 1e12, 1), Pool("books", 1e11, 1)]
    by_size, best = (share_path.share_path(REPLAY, pools, AT, pool="code", proportions=x) for x in (None, "best"))
    shares = torch.linspace(0, 0.95, 39, dtype=torch.float64)
    assert bool((REPLAY.loss(best.recipes(shares)) < REPLAY.loss(by_size.recipes(shares))).all())
    assert torch.allclose(best.recipes(shares).weights[:, 2], shares)
    grid = torch.linspace(0, 0.5, 501, dtype=torch.float64)
    every = torch.stack([grid, 0.5 - grid, torch.full_like(grid, 0.5)], dim=1)
    mixed = replace(best.recipes(torch.full((501,), 0.5, dtype=torch.float64)), weights=every)
    assert float(REPLAY.loss(at_share(best, 0.5))) <= float(REPLAY.loss(mixed).min()) + 1e-6
    start = float(REPLAY.loss(by_size.recipes(torch.zeros(1, dtype=torch.float64))))
    by_size_share, best_share = (
        critical_ratio.critical_ratio(REPLAY, REPLAY, pools, AT, start + 0.05, proportions=x).share
        for x in (None, "best")
    )
    assert best_share > by_size_share


def test_the_answer_depends_on_the_budget():
    values = {**theta("dcpt", 2), "B": 0.05, "eta": 1.0}
    general = planted("dcpt:rest=true", TWO, values)
    ceiling = float(general.loss(recipes([[0.5, 0.5]], [1e10], [1e9])))
    short, same, large = (
        critical_ratio.critical_ratio(general, DOMAIN, [], Budget(t, n), ceiling)
        for t, n in ((9e9, 1e9), (1e10, 1e9), (1e10, 1.1e9))
    )
    assert same.share == pytest.approx(0.5, abs=1e-6)
    assert short.share < same.share < large.share
    table = ratio_rows.table([short, same, large])
    assert table["share"].to_list() == [short.share, same.share, large.share]
    assert table["params"].to_list() == [1e9, 1e9, 1.1e9]


def test_what_is_extrapolated_or_harmful_is_said():
    fits = [replace(x, ranges={**x.ranges, "tokens": (1e8, 1e9), "epochs": (0.0, 1.0)}) for x in (GENERAL, DOMAIN)]
    warnings = " / ".join(critical_ratio.critical_ratio(*fits, [Pool("code", 1e7, 1)], AT, 2.6).warnings)
    assert "extrapolated: tokens 1e+10 is 10x the largest fitted (1e+09)" in warnings
    assert (
        "extrapolated: no fitted run repeats data, so the cost of reading a pool 447 times is not measured" in warnings
    )
    assert "code: 446 repeats are in the harmful band" in warnings
    assert critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 2.6).warnings == ()


def test_the_trade_off_is_the_fits_predictions():
    ratio = critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, 2.6)
    curve = ratio.table()
    assert curve.height == 41
    assert curve["general"].to_list() == pytest.approx((2.5 + 0.5 * curve["share"] ** 2).to_list(), abs=1e-5)
    assert (curve["general_low"] < curve["general"]).all()
    assert (curve["domain_high"] > curve["domain"]).all()


def test_it_can_be_saved_whatever_the_answer(tmp_path):
    ratios = [critical_ratio.critical_ratio(GENERAL, DOMAIN, [], AT, c, start=2.0) for c in (2.4, 2.6, 3.5)]
    artifacts.save(tmp_path / "cmr.json", "cmr", {"ratios": ratio_rows.to_json(ratios)})
    again = artifacts.load(tmp_path / "cmr.json", "cmr")["ratios"]
    assert [ratio["share"] for ratio in again] == [None, ratios[1].share, None]
    assert again[2]["note"] == "not reached: above 1"
    assert again[0]["budget"] == {"tokens": 1e10, "params": 1e9}
    assert len(again[1]["curve"]) == 41


def test_the_ceiling_is_absolute_or_relative():
    assert critical_ratio.ceiling_of(2.9, 0.05) == pytest.approx(2.95)
    assert critical_ratio.ceiling_of(2.8602, 0.03, relative=True) == pytest.approx(2.946006)
    for wrong in (-0.01, float("nan"), float("inf")):
        with pytest.raises(SchemaError, match="the tolerance is"):
            critical_ratio.ceiling_of(2.9, wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": "x"}, "pool 'x': the fits of general and domain loss know web, code"),
        ({"pools": [Pool("x", 1e9, 1)]}, "no pool 'x' in the fit: it knows web, code"),
        ({"ceiling": float("nan")}, "the ceiling of general loss is nan"),
        ({"proportions": {"x": 1.0}}, "replay proportions: web, x on one side only"),
        ({"proportions": {"web": -1.0}}, "must be 0 or more and not all 0"),
        ({"proportions": "worst"}, "replay proportions 'worst'"),
        ({"domain": REPLAY}, "know web, code and web, books, code"),
    ],
)
def test_wrong_input(change, message):
    arguments = {"general": GENERAL, "domain": DOMAIN, "pools": [], "budget": AT, "ceiling": 2.6} | change
    with pytest.raises(SchemaError, match=message):
        critical_ratio.critical_ratio(**arguments)


def test_one_pool_leaves_nothing_to_replay():
    alone = planted("cmr", ["code"], {"none": 2.5, "full": 3.0, "s": 2.0})
    with pytest.raises(SchemaError, match="needs another one to replay"):
        critical_ratio.critical_ratio(alone, alone, [], AT, 2.6)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.floats(-1, 1))
def test_pieces_and_ends_agree_with_a_fine_interpolation(values, ceiling):
    grid = torch.linspace(0, 1, len(values), dtype=torch.float64)
    curve = torch.tensor(values, dtype=torch.float64)
    fine = np.linspace(0, 1, 2001)
    under = np.interp(fine, grid.numpy(), curve.numpy()) <= ceiling
    pieces = under_ceiling.pieces(grid, curve, ceiling)
    assert all(a <= b for a, b in pieces)
    inside = np.zeros(len(fine), dtype=bool)
    for a, b in pieces:
        inside |= (fine >= a - 1e-9) & (fine <= b + 1e-9)
    assert (inside | ~under).all()
    end = float(under_ceiling.last_under(grid, curve[None], ceiling))
    if not pieces:
        assert np.isnan(end)
    elif values[-1] <= ceiling:
        assert end == np.inf
    else:
        assert end == pytest.approx(pieces[-1][1], abs=1e-12)
