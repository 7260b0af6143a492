"""A discrepancy is a shift of the level that grows with the distance in size, and scatter that does not."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from problems import planted, recipes, theta

from curate.runs.discrepancy import (
    METRIC_SHIFT,
    NEXT_SIZE,
    ONE_SIZE_SHIFT,
    SAME_SIZE,
    SHIFT,
    SHORTER_SHIFT,
    Discrepancy,
    combined,
    usual_shift,
)
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.intervals import level_deviation
from curate.runs.predictors.paired_draws import laws_of_draws
from curate.runs.recipes import Recipes

KNOWN = Discrepancy(scatter=0.005, contrast=0.004, sizes=2, smallest=1e8, largest=4e8, longest=1e10, unfinished=0.03)


def of_sizes(params, tokens=1e10) -> Recipes:
    n = len(params)
    columns = (torch.tensor([[0.5, 0.5]] * n), torch.full((n,), tokens), torch.tensor(params), torch.full((n, 2), 1e12))
    return Recipes(*(x.double() for x in columns))


def test_inside_the_fitted_sizes_there_is_scatter_alone():
    assert KNOWN.deviation(of_sizes([1e8, 2e8, 4e8])).tolist() == pytest.approx([0.005] * 3)


def test_the_shift_grows_with_the_distance_on_both_sides():
    shifts = KNOWN.shift(of_sizes([4e8 * SAME_SIZE, 4e9, 1e7]))
    assert shifts.tolist() == pytest.approx([SHIFT * x**0.5 for x in (NEXT_SIZE, log(10), log(10))])
    assert KNOWN.shift(of_sizes([2e8], tokens=1e11)).tolist() == pytest.approx([SHIFT * log(10) ** 0.5])
    assert float(KNOWN.deviation(of_sizes([4e9]))) == pytest.approx(np.hypot(0.005, SHIFT * log(10) ** 0.5))
    assert KNOWN.level == pytest.approx(float(KNOWN.deviation(of_sizes([4e8 * SAME_SIZE]))))


def test_one_fitted_size_says_little_of_another_and_as_much_of_another_length():
    one_size = replace(KNOWN, sizes=1, smallest=4e8)
    assert one_size.shift(of_sizes([4e9])).tolist() == pytest.approx([ONE_SIZE_SHIFT * log(10) ** 0.5])
    assert one_size.shift(of_sizes([4e8], tokens=1e11)).tolist() == pytest.approx([SHIFT * log(10) ** 0.5])
    assert one_size.level > KNOWN.level


def test_much_shorter_runs_have_a_shift_too():
    shorter = replace(KNOWN, shortest=1e9)
    assert shorter.shift(of_sizes([2e8], tokens=1e8)).tolist() == pytest.approx([SHORTER_SHIFT * log(10) ** 0.5])
    assert shorter.shift(of_sizes([2e8], tokens=1e9)).tolist() == [0.0]
    # A row from inside a training counts with the length that was planned.
    inside = replace(of_sizes([2e8], tokens=1e8), progress=torch.tensor([0.1]).double())
    assert shorter.shift(inside).tolist() == pytest.approx([0.0], abs=1e-4)
    # A fit of an older version does not know its shortest run.
    older = {name: value for name, value in shorter.to_json().items() if name != "shortest"}
    assert Discrepancy.from_json(older) == KNOWN
    assert KNOWN.shift(of_sizes([2e8], tokens=1e8)).tolist() == [0.0]
    assert combined([shorter, replace(shorter, shortest=2e9)], [0.5, 0.5]).shortest == 2e9


@pytest.mark.parametrize(
    ("evaluation", "shift"),
    [
        ("web", SHIFT),
        ("metric.err46", METRIC_SHIFT),
        ("metric.perplexity", METRIC_SHIFT),
        ("metric.pile_bpb", SHIFT),
        ("metric.bits_err", METRIC_SHIFT),
    ],
)
def test_what_a_law_models_of_a_metric_shifts_more_than_a_loss(evaluation, shift):
    assert usual_shift(evaluation) == shift


def test_the_shift_of_a_metric_is_wider_on_all_sides_and_survives_json():
    metric = replace(KNOWN, shortest=1e9, shift_at_e=METRIC_SHIFT)
    loss, ratio = replace(KNOWN, shortest=1e9), METRIC_SHIFT / SHIFT
    for recipes_outside in (of_sizes([4e9]), of_sizes([1e7]), of_sizes([2e8], 1e11), of_sizes([2e8], 1e8)):
        assert float(metric.shift(recipes_outside)) == pytest.approx(ratio * float(loss.shift(recipes_outside)))
    one_size = replace(metric, sizes=1)
    assert one_size.shift(of_sizes([4e9])).tolist() == pytest.approx([ratio * ONE_SIZE_SHIFT * log(10) ** 0.5])
    assert Discrepancy.from_json(metric.to_json()) == metric
    older = {name: value for name, value in metric.to_json().items() if name != "shift_at_e"}
    assert Discrepancy.from_json(older) == loss, "a fit of an older version has the shift of a loss"
    assert combined([metric, metric], [1.0, 1.0]).shift_at_e == METRIC_SHIFT


def test_the_deviation_has_no_jump_where_the_fitted_sizes_end():
    params = (4e8 * np.linspace(1.0, 1.5, 200)).tolist()
    steps = KNOWN.deviation(of_sizes(params)).diff()
    assert bool((steps >= 0).all())
    assert float(steps.max()) < 5e-4


def test_an_unfinished_run_is_less_certain_the_less_it_has_done():
    rows = replace(of_sizes([2e8] * 3, tokens=5e9), progress=torch.tensor([1.0, 0.8, 0.5]).double())
    expected = [np.hypot(0.005, 0.03 * log(1 / f) ** 0.5) for f in (1.0, 0.8, 0.5)]
    assert KNOWN.deviation(rows).tolist() == pytest.approx(expected)


def test_it_survives_json_and_a_missing_field_is_an_error():
    assert Discrepancy.from_json(KNOWN.to_json()) == KNOWN
    record = {name: value for name, value in KNOWN.to_json().items() if name != "largest"}
    with pytest.raises(KeyError, match="largest"):
        Discrepancy.from_json(record)


def test_a_sum_is_as_open_as_its_parts_together():
    wider = replace(KNOWN, scatter=0.015, largest=2e8, sizes=1)
    both = combined([KNOWN, wider], [0.5, 0.5])
    assert (both.scatter, both.largest, both.sizes) == (pytest.approx(0.01), 2e8, 1)
    assert combined([KNOWN, None], [0.5, 0.5]) is None


def blend_of(weights):
    """Three laws of one eval, which differ in their floor E by 10 % and more."""
    values = theta("ces", 2)
    fits = [planted("ces", "ab", values | {"E": values["E"] * factor}) for factor in (1.0, 1.1, 1.3)]
    return Blend(tuple(fits), weights, "web")


def test_draws_belong_to_laws_in_proportion_to_their_weights():
    laws = laws_of_draws((0.5, 0.3, 0.2), torch.arange(200))
    assert torch.bincount(laws).tolist() == pytest.approx([100, 60, 40], abs=2)
    assert torch.bincount(laws[:20]).tolist() == pytest.approx([10, 6, 4], abs=1)


def test_each_draw_of_a_blend_is_a_draw_of_one_law():
    blend, base = blend_of((0.5, 0.3, 0.2)), recipes(7, 2, 0, distance=False)
    draws = blend.draw_losses(base)
    of_laws = torch.stack([fit.draw_losses(base) for fit in blend.fits])
    for i, law in enumerate(laws_of_draws(blend.weights, torch.arange(len(draws))).tolist()):
        assert torch.equal(draws[i], of_laws[law, i])
    index = torch.tensor([0, 3, 5, 7, 11, 13, 19])
    assert torch.allclose(blend.drawn(base, index), draws[index, torch.arange(7)])
    assert torch.allclose(
        blend.loss(base), (of_laws.new_tensor(blend.weights)[:, None] * blend_losses(blend, base)).sum(0)
    )


def blend_losses(blend, base):
    return torch.stack([fit.loss(base) for fit in blend.fits])


def test_a_draw_of_several_evals_belongs_to_the_same_law_for_each():
    web, base = blend_of((0.5, 0.3, 0.2)), recipes(7, 2, 0, distance=False)
    code = tuple(replace(fit, eval="code") for fit in web.fits)
    both = Blend((*web.fits, *code), tuple(w / 2 for w in web.weights) * 2, "web+code")
    # The two evals have the same laws and draws, so their mean is each of them.
    assert torch.allclose(both.draw_losses(base), web.draw_losses(base))
    index = torch.arange(7)
    assert torch.allclose(both.drawn(base, index), web.drawn(base, index))
    assert torch.allclose(both.loss(base), web.loss(base))


def test_the_interval_of_a_level_is_as_wide_as_the_discrepancy():
    exact = replace(blend_of((1.0, 0.0, 0.0)).fits[0], discrepancy=KNOWN)
    exact = replace(exact, draws={name: values[None] for name, values in exact.theta.items()})
    base = of_sizes([2e8, 4e9])
    low, high = exact.interval(base)
    half = 1.64485 * KNOWN.deviation(base)
    assert torch.allclose((high / low).log(), 2 * half, rtol=1e-4)
    # A fit of an older version knows only the noise of a run.
    assert level_deviation(replace(exact, discrepancy=None), base).tolist() == [0.01, 0.01]
    # The shift common to a size is in no draw, so a difference between two mixtures does not widen with size.
    assert torch.equal(exact.draw_losses(base)[0], exact.loss(base))


def test_an_interval_holds_its_prediction_where_all_draws_lie_on_one_side():
    fit = planted("ces", "ab", theta("ces", 2))
    lower = {name: values * (0.5 if name == "E" else 1.0) for name, values in fit.draws.items()}
    one_sided = replace(fit, draws=lower, noise=1e-6)
    for predictor in (one_sided, Blend((one_sided, one_sided), (0.5, 0.5), fit.eval)):
        runs = of_sizes([1e9, 1e10])
        low, high = predictor.interval(runs)
        assert (low < 0.99 * predictor.loss(runs)).all()
        assert high.tolist() == predictor.loss(runs).tolist()
