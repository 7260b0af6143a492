"""Schedules over training: passes add up, totals are kept, and infeasible stages are said with numbers that work."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from curate.errors import Infeasible, SchemaError
from curate.pool import baselines
from curate.pool import repeats as harm
from curate.pool.pool import Pool
from curate.schedules import curricula, curriculum_record
from curate.schedules.job import schedule
from curate.schedules.phases import Curriculum, Phase

MC4 = (Pool("en", 2733e9, 1), Pool("it", 162e9, 1), Pool("zh", 39e9, 1), Pool("sw", 1e9, 1))
PLAN = {"en": 0.6, "it": 0.25, "zh": 0.1, "sw": 0.05}
HALVES = ((0.5, {"en": 1.0}), (0.25, {"sw": 1.0}), (0.25, {"en": 0.5, "sw": 0.5}))


@st.composite
def stages(draw, pools=4):
    """Up to 6 stages of random lengths and mixtures over MC4."""
    count = draw(st.integers(1, 6))
    lengths = np.array(draw(st.lists(st.floats(0.05, 1), min_size=count, max_size=count)))
    shares = [np.array(draw(st.lists(st.floats(0, 1), min_size=pools, max_size=pools))) for _ in range(count)]
    assume(all(row.sum() > 0.1 for row in shares))
    mixtures = [dict(zip("en it zh sw".split(), (row / row.sum()).tolist(), strict=True)) for row in shares]
    return list(zip((lengths / lengths.sum()).tolist(), mixtures, strict=True))


@st.composite
def mixtures(draw):
    row = np.array(draw(st.lists(st.floats(0.01, 1), min_size=4, max_size=4)))
    return dict(zip("en it zh sw".split(), (row / row.sum()).tolist(), strict=True))


def test_cooldown_is_tau_5_and_then_1():
    schedule = curricula.cooldown(MC4, 1e12)
    assert [(p.start, p.end) for p in schedule.phases] == [(0, 0.5), (0.5, 1)]
    assert list(schedule.weights_at(0).values()) == pytest.approx([0.4543, 0.2582, 0.1942, 0.0933], abs=1e-4)
    assert list(schedule.weights_at(0.5).values()) == pytest.approx([0.9312, 0.0552, 0.0133, 0.0003], abs=1e-4)
    assert schedule.weights_at(0.4999) == schedule.weights_at(0)
    assert schedule.weights_at(1) == schedule.weights_at(0.5)
    assert schedule.variance_factor == pytest.approx((29.83 + 1) / 2, rel=3e-4)


def test_passes_by_hand():
    """1e10 tokens; sw (1e9) gets none of the first half, all of the third quarter, half of the last."""
    schedule = curricula.piecewise(MC4, 1e10, HALVES)
    assert schedule.weights == pytest.approx({"en": 0.625, "it": 0, "zh": 0, "sw": 0.375})
    assert schedule.epochs()["sw"] == pytest.approx(3.75)
    assert schedule.epochs(0.5)["sw"] == 0
    assert schedule.epochs(0.6)["sw"] == pytest.approx(1.0)
    assert schedule.epochs(0.875)["sw"] == pytest.approx(2.5 + 0.625)
    assert schedule.reached(1.0) == {"en": None, "it": None, "zh": None, "sw": pytest.approx(0.6)}
    assert schedule.reached(3.125)["sw"] == pytest.approx(0.875)
    assert schedule.reached(3.75)["sw"] == pytest.approx(1.0)
    assert schedule.reached(3.76)["sw"] is None
    frame = schedule.table()
    assert frame.columns == ["phase", "from", "to", "pool", "share", "tokens", "passes"]
    assert frame.height == 12
    last = frame.filter(phase=3)
    assert last["tokens"].sum() == pytest.approx(1e10)
    assert dict(zip(last["pool"], last["passes"], strict=True)) == pytest.approx(schedule.epochs())


@given(stages(), st.floats(1e6, 1e14))
def test_passes_accumulate_and_shares_are_a_mixture_at_all_times(parts, tokens):
    schedule = curricula.piecewise(MC4, tokens, parts)
    assert schedule.bounds[-1] == 1
    for fraction in (0, 0.3, 1):
        assert sum(schedule.weights_at(fraction).values()) == pytest.approx(1, abs=1e-12)
    sizes = np.array([pool.tokens for pool in MC4])
    assert schedule.passes[-1] @ sizes == pytest.approx(tokens, rel=1e-12)
    for name, pool in zip(schedule.names, MC4, strict=True):
        by_hand = sum(length * shares[name] for length, shares in parts) * tokens / pool.tokens
        assert schedule.epochs()[name] == pytest.approx(by_hand, rel=1e-9)
        assert schedule.weights[name] * tokens / pool.tokens == pytest.approx(by_hand, rel=1e-9)
    grown = np.array([list(schedule.epochs(f).values()) for f in np.linspace(0, 1, 23)])
    assert (np.diff(grown, axis=0) >= 0).all()


@given(stages(), st.floats(1e9, 1e13), st.floats(0.1, 50))
def test_where_passes_are_reached_they_have_been_made(parts, tokens, passes):
    schedule = curricula.piecewise(MC4, tokens, parts)
    for name, fraction in schedule.reached(passes).items():
        if fraction is None:
            assert schedule.epochs()[name] < passes
        else:
            assert schedule.epochs(fraction)[name] == pytest.approx(passes, rel=1e-6)


@given(stages())
def test_integrating_the_shares_gives_the_mean(parts):
    schedule = curricula.piecewise(MC4, 1e9, parts)
    grid = (np.arange(500) + 0.5) / 500
    mean = np.mean([list(schedule.weights_at(f).values()) for f in grid], axis=0)
    assert mean == pytest.approx(list(schedule.weights.values()), abs=6e-3)


def test_a_ramp_is_a_line():
    first, last = {"en": 1.0}, PLAN
    schedule = curricula.ramp(MC4, 1e12, first, last, parts=10)
    assert schedule.weights == pytest.approx({k: (first.get(k, 0) + v) / 2 for k, v in PLAN.items()})
    for fraction in np.linspace(0, 1, 11):  # passes of the line: the integral of its shares
        drawn = {k: fraction * first.get(k, 0) + fraction**2 / 2 * (v - first.get(k, 0)) for k, v in PLAN.items()}
        expected = {pool.name: drawn[pool.name] * 1e12 / pool.tokens for pool in MC4}
        assert schedule.epochs(fraction) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    with pytest.raises(SchemaError, match="1 parts"):
        curricula.ramp(MC4, 1e12, first, last, parts=1)


def two_stages(total, anneal, fraction):
    """The job's two stages that draw ``total`` in all and ``anneal`` at the end."""
    return schedule(MC4, "two-stage", tokens=1e11, total=total, anneal=anneal, anneal_fraction=fraction).curriculum


@given(mixtures(), mixtures(), st.floats(0.02, 0.9))
def test_a_matched_curriculum_keeps_the_totals(total, anneal, fraction):
    feasible = min(1.0, min(total[name] / anneal[name] for name in total))
    assume(feasible > fraction * (1 + 1e-9))
    schedule = two_stages(total, anneal, fraction)
    assert schedule.weights == pytest.approx(total, rel=1e-9, abs=1e-14)
    assert schedule.weights_at(1) == pytest.approx(anneal, rel=1e-12)
    assert schedule.distance(total) < 1e-12


@given(
    mixtures(), st.dictionaries(st.sampled_from(["it", "zh", "sw"]), st.floats(0, 1), min_size=1), st.floats(0.02, 0.9)
)
def test_late_pools_come_late_and_totals_stay(total, parts, fraction):
    moved = sum(part * total[name] for name, part in parts.items())
    before = sum((1 - part) * total[name] for name, part in parts.items())
    if moved > fraction or before > 1 - fraction:
        with pytest.raises(Infeasible):
            curricula.late(total, parts, fraction)
        return
    schedule = two_stages(total, curricula.late(total, parts, fraction), fraction)
    assert schedule.weights == pytest.approx(total, rel=1e-9, abs=1e-12)
    for name, part in parts.items():
        in_anneal = 1 - schedule.epochs(1 - fraction)[name] / schedule.epochs()[name]
        assert in_anneal == pytest.approx(part, abs=1e-9)
    others = [schedule.weights_at(1)[n] / total[n] for n in total if n not in parts]
    assert others == pytest.approx([others[0]] * len(others)), "others fill the anneal in proportion to their totals"


@given(mixtures(), mixtures(), st.floats(0.02, 0.9))
def test_advice_on_stages_is_enough_when_followed_to_the_letter(total, stage, fraction):
    try:
        curricula.rest(total, stage, fraction)
    except Infeasible as error:
        shorter = re.search(r"shorten the stage to ([\d.e-]+)", str(error))
        if shorter and float(shorter[1]) > 0:
            assert min(curricula.rest(total, stage, float(shorter[1])).values()) >= 0


@given(mixtures(), st.floats(0.02, 0.9))
def test_advice_on_late_pools_is_enough_when_followed_to_the_letter(total, fraction):
    parts = {"sw": 1.0, "zh": 0.7}
    try:
        curricula.late(total, parts, fraction)
    except Infeasible as error:
        if wider := re.search(r"make (?:it|the anneal) ([\d.e-]+) of training", str(error)):
            assert min(curricula.late(total, parts, float(wider[1])).values()) >= 0
        if times := re.search(r"drawn late by ([\d.e-]+)", str(error)):
            assert (
                min(curricula.late(total, {n: x * float(times[1]) for n, x in parts.items()}, fraction).values()) >= 0
            )


def test_what_is_drawn_late_alone_has_no_dust_before():
    total = {"en": 0.4595707, "it": 0.0244194, "zh": 0.0545358, "sw": 1 - 0.4595707 - 0.0244194 - 0.0545358}
    for fraction in (0.1, 0.2, 0.3, 0.37):
        assert curricula.rest(total, curricula.late(total, {"it": 1.0}, fraction), fraction)["it"] == 0.0


def test_infeasible_stages_say_what_would_do():
    with pytest.raises(Infeasible, match=r"takes 0.1 of all tokens from it, and the total has only 0.05") as error:
        curricula.rest(PLAN, {"sw": 1.0}, 0.1)
    share, fraction = (float(x) for x in re.findall(r"(?:share|stage) to ([\d.]+)", str(error.value)))
    assert curricula.rest(PLAN, {"sw": share, "en": 1 - share}, 0.1)["sw"] == pytest.approx(0, abs=1e-12)
    assert curricula.rest(PLAN, {"sw": 1.0}, fraction)["sw"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(Infeasible, match=r"\(likewise from 1 more\): lower its share to 0.1666 or .* to 0.08333"):
        curricula.rest(PLAN, {"sw": 0.6, "zh": 0.4}, 0.3)
    with pytest.raises(Infeasible, match="lower its share to 0$"):
        curricula.rest({"en": 1.0}, {"sw": 1.0}, 0.1)
    with pytest.raises(
        Infeasible, match="all of zh, all of sw, drawn late, is 0.15 of all tokens, and the anneal has room for 0.1"
    ) as error:
        curricula.late(PLAN, {"zh": 1.0, "sw": 1.0}, 0.1)
    wider, times = (
        float(x) for x in re.findall(r"make the anneal ([\d.]+)|late by ([\d.]+)", str(error.value)) for x in x if x
    )
    assert curricula.late(PLAN, {"zh": 1.0, "sw": 1.0}, wider) == pytest.approx(
        {"en": 0, "it": 0, "zh": 2 / 3, "sw": 1 / 3}
    )
    assert curricula.late(PLAN, {"zh": times - 1e-4, "sw": times - 1e-4}, 0.1)["en"] >= 0
    with pytest.raises(
        Infeasible, match=r"0.6 of all tokens must come before the anneal, which leaves 0.3.*anneal 0.4"
    ):
        curricula.late(PLAN, {"en": 0.0}, 0.7)
    with pytest.raises(Infeasible, match="the anneal has room for 0.3: multiply the parts drawn late by 0.3"):
        curricula.late({"sw": 1.0}, {"sw": 1.0}, 0.3)
    with pytest.raises(SchemaError, match="no pool 'xx' to draw late: the pools are en, it, zh, sw"):
        curricula.late(PLAN, {"xx": 1.0}, 0.1)
    with pytest.raises(SchemaError, match="1.5 of pool 'sw'"):
        curricula.late(PLAN, {"sw": 1.5}, 0.1)


def test_steps_are_the_nearest_to_the_fractions_and_add_up():
    schedule = curricula.piecewise(MC4, 1e10, HALVES)
    assert schedule.steps(1000) == [(0, 500), (500, 750), (750, 1000)]
    for total in range(5, 60):
        steps = schedule.steps(total)
        assert steps[0][0] == 0
        assert steps[-1][1] == total
        assert all(
            abs(end / total - phase.end) <= (0.5 + 1e-9) / total
            for (_, end), phase in zip(steps, schedule.phases, strict=True)
        )
    with pytest.raises(SchemaError, match="phase 3 of 3 has no step of 2"):
        schedule.steps(2)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Phase(0.1, 1, PLAN)], "phase 1 runs from 0.1 to 1 of training, but the phases before it end at 0.0"),
        ([Phase(0, 0.5, PLAN), Phase(0.6, 1, PLAN)], "phase 2 runs from 0.6"),
        ([Phase(0, 0.5, PLAN), Phase(0.4, 1, PLAN)], "phase 2 runs from 0.4"),
        ([Phase(0, 0.5, PLAN), Phase(0.5, 0.5, PLAN)], "phase 2 runs from 0.5 to 0.5"),
        ([Phase(0, 0.5, PLAN)], "end at 0.5 of training"),
        ([Phase(0, 1.5, PLAN)], "phase 1 runs from 0 to 1.5"),
        ([], "the 0 phases end at 0"),
        ([Phase(0, 1, {"en": 0.5})], "phase 1 has shares that sum to 0.5"),
        ([Phase(0, 1, {"en": 1.5, "it": -0.5})], "share -0.5 of pool 'it'"),
        ([Phase(0, 1, {"xx": 1})], "pool 'xx': the pools are en, it, zh, sw"),
    ],
)
def test_phases_cover_training_once(parts, message):
    with pytest.raises(SchemaError, match=message):
        Curriculum(MC4, 1e9, tuple(parts))


def test_other_doors():
    for tokens in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SchemaError, match="positive, finite"):
            curricula.constant(MC4, tokens, PLAN)
    with pytest.raises(SchemaError, match="the schedule names pool 'en' twice"):
        Curriculum((*MC4, MC4[0]), 1e9, (Phase(0, 1, PLAN),))
    with pytest.raises(SchemaError, match="take 0.9 of training"):
        curricula.piecewise(MC4, 1e9, [(0.5, PLAN), (0.4, PLAN)])
    with pytest.raises(SchemaError, match="phase 2 takes 0 of"):
        curricula.piecewise(MC4, 1e9, [(1, PLAN), (0, PLAN)])
    for fraction in (0, 1, 1.2, float("nan")):
        with pytest.raises(SchemaError, match="above 0 and below 1"):
            curricula.two_stage(MC4, 1e9, PLAN, PLAN, anneal_fraction=fraction)
        with pytest.raises(SchemaError, match="above 0 and below 1"):
            curricula.cooldown(MC4, 1e9, switch=fraction)
    schedule = curricula.constant(MC4, 1e9, PLAN)
    for call in (schedule.weights_at, schedule.epochs):
        with pytest.raises(SchemaError, match="between 0 and 1"):
            call(1.01)
    with pytest.raises(SchemaError, match="positive"):
        schedule.reached(0)
    with pytest.raises(SchemaError, match="model of 0 parameters"):
        curriculum_record.repeat_warnings(schedule, 0)


def test_warnings_where_repeats_harm():
    """The band of 8e8 parameters is about 43 to 1,803 repeats (arXiv 2205.10487): under, in and beyond it."""
    edges = harm.band(8e8)
    for repeats, harmful in ((edges[0] * 0.99, False), (edges[0] * 1.01, True), (edges[1] * 1.01, False)):
        tokens = (repeats + 1) * 1e9 / 0.05
        schedule = curricula.constant(MC4, tokens, {"en": 0.95, "sw": 0.05})
        result = curriculum_record.repeat_warnings(schedule, 8e8)
        assert result[0] == "never drawn: it, zh"
        assert any("harmful band" in line and line.startswith("sw: ") for line in result) == harmful
        assert len(result) == 2, "repeats outside the band are still worth almost nothing"
    late = curricula.two_stage(MC4, 1e12, {"en": 1.0}, {"sw": 1.0})
    (_, harmed) = curriculum_record.repeat_warnings(late, 8e8)
    entered = float(re.findall(r"gets there at ([\d.]+) of", harmed)[0])
    assert late.epochs(entered)["sw"] == pytest.approx(edges[0] + 1, rel=0.05)
    assert curriculum_record.repeat_warnings(curricula.constant(MC4, 1e9, PLAN), 8e8) == ()


def test_as_json():
    schedule = curricula.cooldown(MC4, 1e12)
    record = curriculum_record.to_json(schedule)
    assert [sum(p["weights"].values()) for p in record["phases"]] == pytest.approx([1, 1])
    assert record["epochs"] == schedule.epochs()
    first = record["scalarisation"][0]
    natural = baselines.named(MC4, baselines.temperature(MC4, 1))
    assert {k: v * natural[k] for k, v in first["loss_weights"].items()} == pytest.approx(schedule.weights_at(0))
    assert first["variance_factor"] == pytest.approx(29.83, rel=3e-4)
