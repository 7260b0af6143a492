"""Runs of one size: mixtures are compared at that size, and only the level of the loss is extrapolated."""

import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from problems import planted

from curate.fitting import fit as fits
from curate.planning import aims, extrapolation
from curate.runs import run_table
from curate.runs.fitted_size import DEPARTURE, AtFittedSize, at_fitted_size, relative_run_deviation
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import Recipes

RUNS = Path(__file__).resolve().parents[3] / "shared/data/runs"
SMALL, LONG = 1e7, 1e9  # the only size, and the only number of tokens, of the fitted runs
JOINT = {
    **{"E": 1.5, "A": 0.4, "alpha": 0.3, "B": 0.3, "beta": 0.3, "C": [2.0, 1.0, 0.5], "g": [0.2, 0.1, 0.15]},
    **{"C_A": [0.5, 1.0, 3.0], "g_A": [0.1, 0.2, 0.1], "C_B": [2.0, 1.0, 0.7], "g_B": [0.1, 0.2, 0.2]},
}


def joint(name: str = "web", tokens: tuple[float, float] = (LONG, LONG), floor: float = 1.5) -> fits.Fit:
    """A law under which the order of mixtures changes with size, fitted to runs of one size."""
    fit = planted("mixture_joint", "abc", JOINT | {"E": floor})
    return replace(fit, eval=name, ranges={**fit.ranges, "params": (SMALL, SMALL), "tokens": tokens})


HELD = [at_fitted_size(joint())]


def recipes(params: float, tokens: float = LONG, n: int = 60, unique: float = torch.inf) -> Recipes:
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(n, 3, dtype=torch.float64, generator=generator)
    size, seen = (torch.full((n,), x, dtype=torch.float64) for x in (params, tokens))
    return Recipes(weights / weights.sum(dim=1, keepdim=True), seen, size, torch.full_like(weights, unique))


def test_a_predictor_of_several_sizes_is_returned_as_it_is():
    fit = planted("mixture_joint", "abc", JOINT)
    assert at_fitted_size(fit) is fit


def test_ratios_of_losses_and_their_draws_are_those_at_the_fitted_size():
    fit = joint()
    held = at_fitted_size(fit)
    small, large = recipes(SMALL), recipes(100 * SMALL, 20 * LONG)
    assert not torch.equal(fit.loss(large).argsort(), fit.loss(small).argsort())  # else the test would show nothing
    for of_held, of_fit in ((held.loss(large), fit.loss(small)), (held.draw_losses(large), fit.draw_losses(small))):
        factors = of_held / of_fit
        assert torch.allclose(factors, factors[..., :1].expand_as(factors), rtol=1e-12)
    draws = torch.arange(60) % 20
    assert torch.allclose(held.drawn(large, draws), held.draw_losses(large)[draws, torch.arange(60)])


def test_at_the_fitted_size_nothing_changes():
    fit = joint()
    held, small = at_fitted_size(fit), recipes(SMALL)
    assert torch.equal(held.loss(small), fit.loss(small))
    assert torch.equal(held.draw_losses(small), fit.draw_losses(small))
    assert all(map(torch.equal, held.interval(small), fit.interval(small)))


def test_the_interval_at_another_size_is_as_wide_as_the_law_gives_it():
    fit = joint()
    held, large = at_fitted_size(fit), recipes(100 * SMALL)
    (low, high), (law_low, law_high) = held.interval(large), fit.interval(large)
    assert torch.allclose(high / low, law_high / law_low)
    assert bool(((low < held.loss(large)) & (held.loss(large) < high)).all())


def test_the_order_by_the_mean_and_by_a_weighted_sum_of_evals_is_kept_too():
    blend = Blend((joint("web"), joint("code", floor=0.7)), (0.5, 0.5), "web+code")
    held, small, large = at_fitted_size(blend), recipes(SMALL), recipes(100 * SMALL)
    assert torch.equal(held.loss(large).argsort(), blend.loss(small).argsort())
    of_sum, at_small = (aims.weighted(fit, {"web": 3.0, "code": 1.0}) for fit in (held, blend))
    assert torch.equal(of_sum.loss(large).argsort(), at_small.loss(small).argsort())
    assert {type(leaf) for leaf in aims.leaves(held)} == {AtFittedSize}


def test_a_pool_that_runs_out_is_repeated_as_often_as_at_the_planned_tokens():
    # With one number of tokens, unique tokens shrink with the tokens; with several, neither changes.
    large = recipes(100 * SMALL, 50 * LONG, unique=5 * LONG)
    for tokens in ((LONG, LONG), (LONG, 10 * LONG)):
        held = at_fitted_size(joint(tokens=tokens))
        assert isinstance(held, AtFittedSize)
        assert torch.allclose(held.factor.held(large).epochs, large.epochs)
    assert torch.equal(held.factor.held(large).tokens, large.tokens)


def test_differences_are_less_certain_the_farther_the_size():
    noise = joint().noise
    blend = at_fitted_size(Blend((joint("web"), joint("code")), (0.5, 0.5), "web+code"))
    for held in (at_fitted_size(joint()), blend, aims.weighted(blend, {"web": 1.0, "code": 1.0})):
        assert torch.allclose(relative_run_deviation(held, recipes(SMALL)), torch.tensor(noise, dtype=torch.float64))
        far = relative_run_deviation(held, recipes(SMALL * math.e**4))
        assert torch.allclose(far, torch.tensor(math.hypot(noise, 2 * DEPARTURE), dtype=torch.float64))
        longer = relative_run_deviation(held, recipes(SMALL, LONG * math.e**4))
        assert torch.equal(longer, far)
    lengths = at_fitted_size(joint(tokens=(LONG, 3 * LONG)))
    same_size = relative_run_deviation(lengths, recipes(SMALL, LONG * math.e**4))
    assert torch.allclose(same_size, torch.tensor(noise, dtype=torch.float64))


def blind(name: str = "web") -> fits.Fit:
    """A law without terms of size and tokens, fitted to runs of one size."""
    fit = planted("mixing", "abc", {"c": 2.0, "t": [-0.5, 0.1, 0.4]})
    return replace(fit, eval=name, ranges={**fit.ranges, "params": (SMALL, SMALL), "tokens": (LONG, LONG)})


def test_laws_without_terms_of_size_leave_the_level_to_the_others():
    both = at_fitted_size(Blend((joint(), blind()), (0.5, 0.5), "web"))
    large = recipes(100 * SMALL, 20 * LONG)
    factors = both.loss(large) / both.loss(recipes(SMALL))
    of_law = HELD[0].loss(large) / HELD[0].loss(recipes(SMALL))
    assert torch.allclose(factors, of_law)


def test_without_any_such_term_the_loss_falls_as_it_usually_does_and_its_interval_is_wide():
    for fit in (blind(), Blend((blind("web"), blind("code")), (0.5, 0.5), "web+code")):
        held = at_fitted_size(fit)
        small, large = recipes(SMALL), recipes(100 * SMALL, 20 * LONG)
        factors = held.loss(large) / held.loss(small)
        assert torch.allclose(factors, torch.tensor(0.55 + 0.225 * (100**-0.35 + 20**-0.35), dtype=torch.float64))
        draws = held.draw_losses(large) / held.draw_losses(small)
        assert torch.allclose(draws, draws[:, :1].expand_as(draws))
        (low, high), (inner_low, inner_high) = held.interval(large), held.interval(small)
        assert (high / low > inner_high / inner_low * 1.5).all()
        assert (low / held.loss(large) < 0.8).all() and (high / held.loss(large) > 1.2).all()
        rows = torch.arange(60)
        assert torch.allclose(held.drawn(large, rows), held.draw_losses(large)[rows % 20, rows])


def test_the_warning_of_a_law_without_terms_of_size_does_not_speak_of_its_priors():
    (line,) = [x for x in extrapolation.warnings([at_fitted_size(blind())], recipes(100 * SMALL)) if "one size" in x]
    assert "no fitted law reads the size or number of tokens" in line and "priors" not in line


def test_the_losses_have_a_gradient():
    held, large = at_fitted_size(joint()), recipes(100 * SMALL)
    weights = large.weights.clone().requires_grad_()
    held.loss(replace(large, weights=weights)).sum().backward()
    assert weights.grad is not None and bool(weights.grad.abs().sum() > 0)


def test_a_warning_says_where_the_level_comes_from():
    lines = extrapolation.warnings(HELD, recipes(100 * SMALL))
    (line,) = [line for line in lines if line.startswith("one size")]
    assert "1e+07 parameters and 1e+09 tokens" in line and line.endswith(
        "60 of 60 runs have another size or number of tokens"
    )
    assert any(line.startswith("one size") for line in extrapolation.warnings(HELD, recipes(SMALL, 10 * LONG)))
    assert not any("one size" in line for line in extrapolation.warnings(HELD, recipes(SMALL)))
    lengths = [at_fitted_size(joint(tokens=(LONG, 3 * LONG)))]
    (line,) = [x for x in extrapolation.warnings(lengths, recipes(100 * SMALL, 10 * LONG)) if x.startswith("one size")]
    assert line.endswith("60 of 60 runs have another size")
    assert not any("one size" in line for line in extrapolation.warnings(lengths, recipes(SMALL, 10 * LONG)))


@pytest.mark.skipif(not RUNS.exists(), reason="the shared run tables are not on this machine")
def test_mixtures_of_the_public_runs_of_1e6_parameters_have_the_same_order_at_1e9():
    evals = ("loss.arxiv", "loss.stackexchange")
    table = run_table.read(pl.read_csv(RUNS / "regmix_1m.csv").head(120))
    losses = {name: table.loss(name.removeprefix("loss.")) for name in evals}
    options = fits.FitOptions(starts=1, draws=2)
    fitted = fits.fit_evals("mixture_ces:linear=true", table.recipes(), losses, pools=table.pools, options=options)
    mean = at_fitted_size(Blend(tuple(fitted.values()), (0.5, 0.5), "mean"))
    small = run_table.read(RUNS / "regmix_1m_test.csv").recipes(table.pools)
    large = replace(small, params=small.params * 1e3, tokens=small.tokens * 25)
    assert torch.equal(mean.loss(large).argsort(), mean.loss(small).argsort())
    assert bool((mean.loss(large) < mean.loss(small)).all())
