"""The published procedure: its numbers, a planted problem with known turning points, and where Eq. 7 fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.continual.further import published_procedure
from curate.errors import FitError, SchemaError
from curate.fitting.power_sums import Powers, fit_powers
from curate.laws.cmr import PUBLISHED, UNIT, critical_share

AT_20B = {"460M": 0.298, "940M": 0.349, "1.6B": 0.414, "3.1B": 0.478}
TABLE_2 = {  # domain loss at shares 1, 3/4, 1/2, 1/3 and, held out, 1/4
    "460M": (1.4628, 1.4844, 1.5122, 1.5387, 1.5561),
    "940M": (1.3723, 1.3910, 1.4155, 1.4385, 1.4538),
    "1.6B": (1.3242, 1.3416, 1.3643, 1.3854, 1.3994),
    "3.1B": (1.2585, 1.2750, 1.2965, 1.3170, 1.3305),
}
SHARES = np.array([1 / 8, 1 / 4, 1 / 3, 1 / 2])
TOKENS = np.linspace(0.5e9, 40e9, 40)


@pytest.mark.parametrize("model", AT_20B)
def test_published_critical_ratios_at_20b_tokens(model):
    assert critical_share(PUBLISHED[model], 20e9) == pytest.approx(AT_20B[model], abs=5e-4)
    assert critical_share(PUBLISHED[model], 1.0) == 0.0


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_token_law_comes_back_from_its_own_values(model):
    """Scale and exponent may both be negative (1.6B, 3.1B)."""
    t = np.array([25.0, 50.0, 100.0, 250.0, 500.0])
    law = fit_powers(
        t, np.array([PUBLISHED[model]["a4"] * x ** PUBLISHED[model]["s4"] + PUBLISHED[model]["b3"] for x in t])
    )
    coefficients = {"a4": law.scales[0], "s4": law.exponents[0], "b3": law.floor}
    assert coefficients == pytest.approx(PUBLISHED[model], rel=1e-5)


@pytest.mark.parametrize("model", TABLE_2)
def test_domain_loss_at_a_quarter_from_the_other_ratios(model):
    *seen, quarter = TABLE_2[model]
    law = fit_powers(np.array([1.0, 3 / 4, 1 / 2, 1 / 3]), np.array(seen))
    assert float(law(0.25)) == pytest.approx(quarter, rel=5e-4)


def planted(constants, price, shares=SHARES):
    """Losses whose turning points in T follow R = a4 T^s4 + b3 exactly: (general, domain), each (g, t)."""
    units, general, domain = TOKENS / UNIT, [], []
    for share in shares:
        turn = ((share - constants["b3"]) / constants["a4"]) ** (1 / constants["s4"])
        a1, s1, a2, s2, s3 = -0.05 * share**0.2, 0.35, 0.03 * share, 0.2, 0.6
        a3 = -(a1 * s1 * turn ** (s1 - 1) / price + a2 * s2 * turn ** (s2 - 1)) / (s3 * turn ** (s3 - 1))
        domain.append(1.8 + a1 * units**s1)
        general.append(2.5 + a2 * units**s2 + a3 * units**s3)
    return np.array(general), np.array(domain)


@pytest.mark.parametrize("model", ["460M", "3.1B"])
def test_planted_turning_points_give_the_published_token_law(model):
    general, domain = planted(PUBLISHED[model], 1000.0)
    procedure = published_procedure.procedure(SHARES, TOKENS, general, domain, start=(2.5, 1.8))
    law = procedure.token_law
    expected = [((r - PUBLISHED[model]["b3"]) / PUBLISHED[model]["a4"]) ** (1 / PUBLISHED[model]["s4"]) for r in SHARES]
    assert procedure.turning / UNIT == pytest.approx(expected, rel=1e-3)
    assert float(law(100.0)) == pytest.approx(AT_20B[model], abs=2e-3)
    assert procedure.critical(20e9) == pytest.approx(AT_20B[model], abs=2e-3)
    assert procedure.critical(0.2e9) == 0.0
    past = procedure.turning < TOKENS.max()
    assert (procedure.feasible == past).all(), "all are under the ceiling here"
    assert procedure.ratio == SHARES[past].max()
    assert procedure.table().columns == ["share", "turning", "fixed", "admissible", "feasible"]


def test_a_tighter_ceiling_leaves_fewer_shares():
    general, domain = planted(PUBLISHED["460M"], 1000.0)
    rise = (general - 2.5)[:, -1]
    ceilings = np.sort(rise)[[0, 2]]
    few, more = (
        published_procedure.procedure(SHARES, TOKENS, general, domain, start=(2.5, 1.8), tolerance=x + 1e-9)
        for x in ceilings
    )
    assert few.admissible.sum() == 1
    assert more.admissible.sum() == 3
    assert few.critical(TOKENS.max()) <= more.critical(TOKENS.max())
    none = published_procedure.procedure(SHARES, TOKENS, general + 1.0, domain, start=(2.5, 1.8))
    assert none.ratio is None
    assert none.critical(20e9) == 0.0


GAINED = Powers((-0.05,), (0.35,), 0.0)


@given(st.floats(20, 400), st.floats(0.03, 0.3), st.floats(0.1, 0.4), st.floats(100, 7000))
def test_the_root_finder_finds_the_turning_point(turn, a2, gap, price):
    s2 = 0.3
    s3 = s2 + gap
    a3 = -(-0.05 * 0.35 * turn**-0.65 / price + a2 * s2 * turn ** (s2 - 1)) / (s3 * turn ** (s3 - 1))
    lost = Powers((a2, a3), (s2, s3), 0.0)
    turning = published_procedure.turning_point(GAINED, lost, price, within=(0.01, 4000.0))
    assert turning == pytest.approx(turn, rel=1e-6)
    before, after = (float(GAINED.slope(x * turn) + price * lost.slope(x * turn)) for x in (0.99, 1.01))
    assert before > 0 > after


def test_where_the_published_fixed_point_settles_it_is_the_root():
    lost = Powers((0.03, -0.002), (0.1, 0.2), 0.0)
    root = published_procedure.turning_point(GAINED, lost, 15.5, within=(1e-2, 1e5))
    assert 1 < root < 1e3
    assert published_procedure.fixed_point(GAINED, lost, 15.5, first=200.0) == pytest.approx(root, rel=1e-8)


def test_the_published_fixed_point_is_repelled_by_a_hump():
    """At a large lambda T0 is the top of the general loss, where the bracket of Eq. 7 passes through 0."""
    hump = Powers((0.03, -0.004), (0.3, 0.6), 0.0)
    root = published_procedure.turning_point(GAINED, hump, 1000.0, within=(0.01, 1e5))
    assert 0.01 < root < 1e5
    assert not any(
        published_procedure.fixed_point(GAINED, hump, 1000.0, first=x * root) == pytest.approx(root)
        for x in (0.99, 1.01)
    )


def test_the_published_fixed_point_can_settle_elsewhere():
    """Laws fitted to real runs: it settles where the loss begins to rise, 1e5 times too early."""
    gained = Powers((0.450339,), (-0.338546,), -0.575)
    lost = Powers((0.238288, -0.136735), (0.302766, 0.402766), -0.10527)
    assert published_procedure.turning_point(gained, lost, 1000.0, within=(0.05, 5000.0)) == pytest.approx(
        14.83, abs=0.01
    )
    assert 0 < published_procedure.fixed_point(gained, lost, 1000.0, first=10.0) < 1e-3


def test_always_falling_and_never_turning():
    down, up = Powers((-0.1, -0.1), (0.2, 0.5), 0.0), Powers((0.1, 0.1), (0.2, 0.5), 0.0)
    assert published_procedure.turning_point(GAINED, down, 100.0, within=(0.1, 1e4)) == 0.0
    assert published_procedure.turning_point(GAINED, up, 100.0, within=(0.1, 1e4)) == np.inf


@pytest.mark.parametrize("terms", [1, 2])
def test_powers_of_exact_points_come_back(terms):
    x = np.geomspace(0.3, 300, 30)
    truth = Powers((-0.4, 0.03)[:terms], (-0.3, 0.5)[:terms], 1.7)
    fitted = fit_powers(x, truth(x), terms=terms)
    assert fitted.exponents == pytest.approx(truth.exponents, abs=1e-5)
    assert fitted.scales == pytest.approx(truth.scales, rel=1e-4)
    assert fitted.floor == pytest.approx(1.7, abs=1e-5)
    step = 1e-6
    assert truth.slope(2.0) == pytest.approx((truth(2 + step) - truth(2 - step)) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_powers_of_a_constant_are_that_constant(level):
    fitted = fit_powers(np.geomspace(1, 9, 5), np.full(5, level))
    assert fitted(3.3) == pytest.approx(level, abs=1e-9)


def test_wrong_input():
    general, domain = planted(PUBLISHED["460M"], 1000.0)
    with pytest.raises(FitError, match="2 different shares .* at least 3"):
        published_procedure.procedure(SHARES[:2], TOKENS, general[:2], domain[:2], start=(2.5, 1.8))
    with pytest.raises(SchemaError, match="divide percents by 100"):
        published_procedure.procedure(100 * SHARES, TOKENS, general, domain, start=(2.5, 1.8))
    with pytest.raises(FitError, match="six or more checkpoints"):
        published_procedure.procedure(SHARES, TOKENS[:3], general[:, :3], domain[:, :3], start=(2.5, 1.8))
