"""Mixtures from pool sizes: published shares and variance factors, UniMax against its definition and water-filling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.pool import baselines
from curate.pool.pool import Pool

MC4 = [Pool("en", 2733e9, 1), Pool("it", 162e9, 1), Pool("zh", 39e9, 1), Pool("sw", 1e9, 1)]
SHARES = {  # arXiv 2410.04579, en it zh sw
    1: (0.9312, 0.0552, 0.0133, 0.0003),
    2: (0.7236, 0.1762, 0.0864, 0.0138),
    3.33: (0.5555, 0.2378, 0.1551, 0.0516),
    5: (0.4543, 0.2582, 0.1942, 0.0933),
    100: (0.2594, 0.2522, 0.2486, 0.2397),
}
FACTORS = {1: 1.0, 2: 2.249, 5: 29.83, 100: 174.5}
SIZES = st.lists(st.floats(1e3, 1e13), min_size=1, max_size=12)


def of(sizes):
    return [Pool(f"p{i}", size, 1) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("tau", SHARES)
def test_the_published_temperature_shares(tau):
    assert baselines.temperature(MC4, tau).tolist() == pytest.approx(SHARES[tau], abs=5.1e-5)


@pytest.mark.parametrize("tau", FACTORS)
def test_the_variance_factor_of_loss_weights(tau):
    scalarised = baselines.scalarisation(MC4, baselines.temperature(MC4, tau))
    assert scalarised.variance_factor == pytest.approx(FACTORS[tau], rel=3e-4)


def test_limits_of_temperature():
    assert baselines.temperature(MC4, np.inf).tolist() == [0.25] * 4
    assert baselines.temperature(MC4, 1e-300).tolist() == [1, 0, 0, 0]
    sizes = np.array([pool.tokens for pool in MC4])
    assert baselines.temperature(MC4, 1.0) == pytest.approx(sizes / sizes.sum(), rel=1e-12)


@pytest.mark.parametrize("tau", [0, -1, float("nan")])
def test_a_temperature_must_be_positive(tau):
    with pytest.raises(SchemaError, match="must be positive"):
        baselines.temperature(MC4, tau)


@given(SIZES, st.floats(0.05, 1e3))
def test_temperature_shares_are_a_mixture_in_the_order_of_sizes(sizes, tau):
    shares = baselines.temperature(of(sizes), tau)
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    assert (np.diff(shares[np.argsort(sizes, kind="stable")]) >= -1e-15).all()


@given(SIZES, st.floats(1, 1e3))
def test_loss_weights_average_to_1_and_their_factor_is_their_second_moment(sizes, tau):
    pools = of(sizes)
    natural = baselines.temperature(pools, 1.0)
    scalarised = baselines.scalarisation(pools, baselines.temperature(pools, tau))
    assert natural @ scalarised.weights == pytest.approx(1, rel=1e-9)
    assert natural @ scalarised.weights**2 == pytest.approx(scalarised.variance_factor, rel=1e-9)
    assert scalarised.variance_factor >= 1 - 1e-12, "Jensen"


def test_the_gap_of_scalarisation_grows_with_tau():
    """Theorem 3 of arXiv 2410.04579."""
    factors = [
        baselines.scalarisation(MC4, baselines.temperature(MC4, tau)).variance_factor
        for tau in np.geomspace(1, 1e3, 30)
    ]
    assert (np.diff(factors) > 0).all()


def test_the_second_moment_that_a_simulated_sampler_sees():
    """Weights over proportional draws against draws of the shares themselves, same mean, measured variance ratio."""
    shares = baselines.temperature(MC4, 2)
    scalarised = baselines.scalarisation(MC4, shares)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2_000_000)  # a gradient whose noise is alike in all pools
    weighted = scalarised.weights[rng.choice(4, size=noise.size, p=baselines.temperature(MC4, 1))] * noise
    assert weighted.var() / noise.var() == pytest.approx(scalarised.variance_factor, rel=0.05)
    assert "by 2.249" in str(baselines.advice(scalarised.variance_factor))
    assert baselines.advice(1.0) is None


def test_unimax_as_the_paper_defines_it():
    """Smallest first: 1e9 x 4, then 39e9 x 4, then an equal part of what is left, under the cap."""
    assert baselines.allocate(MC4, 1e12).tolist() == [4.2e11, 4.2e11, 1.56e11, 4e9]
    assert baselines.allocate(MC4, 1e12, 1).tolist() == pytest.approx([7.98e11, 1.62e11, 3.9e10, 1e9])
    assert baselines.allocate(MC4, 4e9).tolist() == [1e9] * 4
    assert baselines.unimax(MC4, 1e12).tolist() == pytest.approx([0.42, 0.42, 0.156, 0.004])


@given(SIZES, st.floats(1e3, 1e14), st.floats(0.1, 100))
def test_unimax_is_water_filling_under_the_caps(sizes, tokens, cap):
    pools = of(sizes)
    most = cap * np.array(sizes)
    given_out = baselines.allocate(pools, tokens, cap)
    assert (given_out <= most).all(), "a pool beyond its cap"
    assert given_out.sum() == pytest.approx(min(tokens, most.sum()), rel=1e-9)
    free = given_out < most * (1 - 1e-9)
    if free.any():  # all that are under their cap have the same, and no other has more
        level = given_out[free].max()
        assert given_out[free] == pytest.approx(np.full(free.sum(), level), rel=1e-6)
        assert (given_out <= level * (1 + 1e-6)).all()
    shares = baselines.unimax(pools, tokens, cap)
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    if tokens <= most.sum():
        assert (shares * tokens <= most * (1 + 1e-9)).all()
    else:
        assert shares == pytest.approx(baselines.temperature(pools, 1.0), rel=1e-9)


@given(st.permutations(range(6)), st.floats(1e3, 1e8))
def test_unimax_does_not_depend_on_the_order_of_pools(order, tokens):
    sizes = np.array([1e3, 1e3, 5e4, 2e5, 2e5, 1e7])
    straight = baselines.unimax(of(sizes), tokens)
    assert baselines.unimax(of(sizes[list(order)]), tokens) == pytest.approx(straight[list(order)], rel=1e-12)


@pytest.mark.parametrize(
    ("tokens", "cap"), [(0, 4), (-1, 4), (float("inf"), 4), (float("nan"), 4), (1e9, 0), (1e9, -2)]
)
def test_unimax_needs_positive_tokens_and_cap(tokens, cap):
    with pytest.raises(SchemaError, match="both must be positive"):
        baselines.unimax(MC4, tokens, cap)


def test_what_unimax_says_of_its_cap():
    assert baselines.cap_notes(MC4, 4e9) == ()
    assert baselines.cap_notes(MC4, 1e12) == ("at the cap of 4 epochs: zh, sw",)
    everything = 4 * sum(pool.tokens for pool in MC4)
    assert baselines.cap_notes(MC4, everything) == ("all pools are at the cap of 4 epochs",)
    (short,) = baselines.cap_notes(MC4, 2 * everything)
    assert "every pool is seen 8 times" in short
    advised = float(short.split("--cap to ")[1].split(" or")[0])
    (enough,) = baselines.cap_notes(MC4, 2 * everything, advised)
    assert enough.startswith("at the cap of "), "the advice must work"


def test_the_door_for_shares():
    assert baselines.mixture(MC4, {"en": 0.4, "sw": 0.6}) == {"en": 0.4, "it": 0.0, "zh": 0.0, "sw": 0.6}
    rescaled = baselines.mixture(MC4, {"en": 0.333, "sw": 0.6665})
    assert sum(rescaled.values()) == pytest.approx(1, abs=1e-15)
    assert rescaled["en"] / rescaled["sw"] == pytest.approx(0.333 / 0.6665)
    for shares, result in (
        ({"xx": 1.0}, "pool 'xx': the pools are en, it, zh, sw"),
        ({"en": -0.1, "it": 1.1}, "share -0.1 of pool 'en'"),
        ({"en": float("nan")}, "share nan of pool 'en'"),
        ({"en": 0.5, "it": 0.4}, "sum to 0.9"),
        ({}, "sum to 0"),
        ({"en": 1e308, "it": 1e308}, "sum to inf"),
    ):
        with pytest.raises(SchemaError, match=result):
            baselines.mixture(MC4, shares)
