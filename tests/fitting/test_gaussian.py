"""A Gaussian process keeps what a predictor promises, comes back from JSON, and learns from a few large runs."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from curate.errors import FitError
from curate.fitting import fit_files, fitted_laws
from curate.fitting.fit import FitOptions
from curate.fitting.gaussian import gaussian_json
from curate.fitting.gaussian.fit_gaussian import fit_gaussian
from curate.fitting.gaussian.gaussian import Gaussian
from curate.fitting.gaussian.sizes import chain, group
from curate.runs.recipes import Recipes, recipes

POOLS = ("web", "code", "books")
OPTIONS = FitOptions(starts=2, draws=40)
SMALL, LARGE = (1e7, 2e9), (1e9, 2e10)  # params, tokens
NOISE = 0.004

fit_alone = partial(fit_gaussian, pools=POOLS, base=None, options=OPTIONS)


def mixtures(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), size=n)


def true_loss(weights: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """A loss that bends in the share of code. At the large size, differences are 1.4 times as large."""
    shape = 0.3 * np.exp(-6 * weights[:, 1]) - 0.15 * np.sqrt(weights[:, 0])
    return np.exp(1.2 + shape) if size == SMALL else np.exp(0.9 + 1.4 * shape)


def runs_at(weights: np.ndarray, size: tuple[float, float]) -> Recipes:
    return recipes(weights, np.full(len(weights), size[1]), np.full(len(weights), size[0]))


def noisy(loss: np.ndarray, seed: int) -> np.ndarray:
    return loss * np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(loss)))


def of_two_sizes(small: int, large: int, seed: int) -> tuple[Recipes, np.ndarray]:
    weights, more = mixtures(small, seed), mixtures(large, seed + 100)
    params, tokens = np.repeat([SMALL, LARGE], [small, large], axis=0).T
    loss = np.concatenate([true_loss(weights, SMALL), true_loss(more, LARGE)])
    return recipes(np.concatenate([weights, more]), tokens, params), noisy(loss, seed)


@pytest.fixture(scope="module", params=["repetition", None])
def fitted(request) -> Gaussian:
    weights = mixtures(60, 0)
    loss = noisy(true_loss(weights, SMALL), 0)
    return fit_gaussian(runs_at(weights, SMALL), {"web": loss}, pools=POOLS, base=request.param, options=OPTIONS)["web"]


@pytest.fixture(scope="module")
def two_sizes() -> Gaussian:
    sample, loss = of_two_sizes(50, 6, 1)
    return fit_alone(sample, {"web": loss})["web"]


def error(fit: Gaussian, weights: np.ndarray, size: tuple[float, float]) -> float:
    return float(np.abs(np.log(fit.loss(runs_at(weights, size)).numpy() / true_loss(weights, size))).mean())


def test_it_predicts_unseen_mixtures_within_the_noise(fitted):
    weights = mixtures(200, 2)
    assert error(fitted, weights, SMALL) < NOISE
    assert NOISE / 2 < fitted.noise < 2 * NOISE


def test_intervals_and_draws_cover_unseen_runs(fitted):
    weights = mixtures(300, 3)
    sample, loss = runs_at(weights, SMALL), noisy(true_loss(weights, SMALL), 3)
    low, high = (end.numpy() for end in fitted.interval(sample))
    assert 0.8 < ((low <= loss) & (loss <= high)).mean() < 0.98
    draws = fitted.draw_losses(sample)
    assert draws.shape == (40, 300)
    index = torch.arange(300) * 7
    assert torch.allclose(fitted.drawn(sample, index), draws[index % 40, torch.arange(300)], rtol=1e-10)


def test_draws_are_functions_so_that_differences_are_certain_between_near_mixtures(fitted):
    weights = mixtures(2, 4)
    near = np.stack([weights[0], 0.999 * weights[0] + 0.001 * weights[1]])
    draws = fitted.draw_losses(runs_at(near, SMALL)).log()
    assert float((draws[:, 0] - draws[:, 1]).std()) < 0.2 * float(draws[:, 0].std())


def test_draws_have_the_spread_of_the_posterior():
    weights = mixtures(12, 5)
    many = FitOptions(starts=2, draws=2000)
    loss = {"web": noisy(true_loss(weights, SMALL), 5)}
    fit = fit_gaussian(runs_at(weights, SMALL), loss, pools=POOLS, base=None, options=many)["web"]
    sample = runs_at(mixtures(20, 6), SMALL)
    draws = fit.draw_losses(sample).log()
    deviation = fit._posterior.covariance(fit._points(sample)).diagonal().sqrt()
    assert bool(((draws.mean(dim=0) - fit.loss(sample).log()).abs() < deviation / 4).all())
    assert torch.allclose(draws.std(dim=0), deviation, rtol=0.35)


def test_the_gradient_in_the_shares_is_right_and_finite_at_the_corners(fitted):
    weights = torch.tensor(np.concatenate([mixtures(3, 7), np.eye(3)]), requires_grad=True)
    tokens, params = torch.full((6,), SMALL[1], dtype=torch.float64), torch.full((6,), SMALL[0], dtype=torch.float64)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return fitted.loss(Recipes(w, tokens, params, torch.full_like(w, torch.inf)))

    (slope,) = torch.autograd.grad(loss(weights).sum(), weights)
    assert bool(slope.isfinite().all())
    step = torch.zeros_like(weights)
    step[:3, 1] = 1e-6
    with torch.no_grad():
        numeric = (loss(weights + step) - loss(weights - step)) / 2e-6
    assert torch.allclose(slope[:3, 1], numeric[:3], rtol=1e-3, atol=1e-3)


def test_json_gives_the_same_predictions(fitted, two_sizes):
    for fit in (fitted, two_sizes):
        sample = runs_at(mixtures(20, 8), LARGE)
        back = gaussian_json.from_json(json.loads(json.dumps(gaussian_json.to_json(fit), allow_nan=False)))
        assert torch.equal(back.loss(sample), fit.loss(sample))
        assert torch.equal(back.draw_losses(sample), fit.draw_losses(sample))
        assert gaussian_json.to_json(back) == gaussian_json.to_json(fit)


def test_the_same_runs_give_the_same_fit():
    sample, loss = of_two_sizes(20, 3, 9)
    records = [gaussian_json.to_json(fit_alone(sample, {"web": loss})["web"]) for _ in range(2)]
    assert records[0] == records[1]


def test_a_few_large_runs_give_the_shift_and_the_stretch(two_sizes):
    weights = mixtures(100, 10)
    alone = fit_alone(runs_at(mixtures(50, 1), SMALL), {"web": noisy(true_loss(mixtures(50, 1), SMALL), 1)})["web"]
    few = mixtures(6, 101)
    shift = np.log(true_loss(few, LARGE) / alone.loss(runs_at(few, LARGE)).numpy()).mean()
    shifted = np.abs(np.log(alone.loss(runs_at(weights, LARGE)).numpy() / true_loss(weights, LARGE)) + shift).mean()
    assert error(two_sizes, weights, LARGE) < shifted / 2
    assert error(two_sizes, weights, SMALL) < NOISE
    (change,) = two_sizes.changes
    assert 1.2 < 1 + change.stretch < 1.6


def test_between_two_sizes_the_change_applies_in_part_and_beyond_the_last_in_full(two_sizes):
    weights = mixtures(5, 11)
    small, large = (two_sizes.loss(runs_at(weights, size)).log() for size in (SMALL, LARGE))
    between = two_sizes.loss(runs_at(weights, (1e8, (2e9 * 2e10 * 1e7 * 1e9) ** 0.5 / 1e8))).log()
    assert torch.allclose(between, (small + large) / 2, atol=1e-6)
    assert torch.allclose(two_sizes.loss(runs_at(weights, (1e10, 2e11))).log(), large)


def test_several_evals_learn_the_change_together_and_each_has_its_own_holes():
    sample, loss = of_two_sizes(40, 4, 12)
    holed = np.where(np.arange(44) % 10 == 0, np.nan, loss)
    fits = fit_alone(sample, {"web": loss, "code": holed})
    assert fits["code"].rows == 39
    assert fits["web"].changes[0].stretch == fits["code"].changes[0].stretch
    assert error(fits["code"], mixtures(50, 13), LARGE) < 0.03


def test_far_from_all_runs_it_is_wide():
    weights = mixtures(60, 14)
    near = weights[weights[:, 2] < 0.3]
    fit = fit_alone(runs_at(near, SMALL), {"web": noisy(true_loss(near, SMALL), 14)})["web"]
    inside, outside = runs_at(near[:5], SMALL), runs_at(np.array([[0.0, 0.0, 1.0]]), SMALL)
    spread = [float(fit.draw_losses(sample).log().std(dim=0).mean()) for sample in (inside, outside)]
    assert spread[1] > 3 * spread[0]


def test_sizes_are_grouped_by_compute_and_chained_from_the_anchor():
    sample = recipes(np.full((5, 2), 0.5), [1e9, 1.05e9, 4e9, 4e9, 1e11], np.full(5, 1e8))
    sizes, codes = group(sample)
    assert codes.tolist() == [0, 0, 1, 1, 2]
    assert [size.tokens for size in sizes] == [1.05e9, 4e9, 1e11]
    assert chain(1, 4) == ((2, 1), (3, 2), (0, 1))


def test_a_size_below_the_anchor_is_a_change_too():
    sample, loss = of_two_sizes(6, 50, 15)
    fit = fit_alone(sample, {"web": loss})["web"]
    assert fit.anchor.params == LARGE[0]
    assert fit.run_noise <= fit.noise < 3 * fit.run_noise
    assert error(fit, mixtures(50, 16), SMALL) < 0.02


@pytest.mark.parametrize(
    ("weights", "sizes", "words"),
    [
        (np.full((8, 3), 1 / 3), np.full(8, 1e8), "runs of several mixtures"),
        (mixtures(4, 17), np.full(4, 1e8), "gaussian needs 5 runs of one size, and loss.web has 4 at 1e.08 params"),
        (mixtures(8, 17), 1e8 * 2.0 ** np.arange(8), "gaussian needs 5 runs of one size, and loss.web has 1"),
    ],
)
def test_runs_that_tell_nothing_are_refused(weights, sizes, words):
    sample = recipes(weights, np.full(len(weights), 1e9), sizes)
    with pytest.raises(FitError, match=words):
        fit_alone(sample, {"web": np.linspace(2, 3, len(weights))})


def test_its_option_is_checked_and_a_record_of_something_else_is_refused():
    sample = runs_at(mixtures(6, 18), SMALL)
    losses = {"web": np.linspace(2, 3, 6)}
    with pytest.raises(Exception, match="gaussian has no option 'bass'; did you mean 'base'"):
        fitted_laws.fit_named("gaussian:bass=ces", sample, losses, pools=POOLS, clusters=None, options=OPTIONS)
    with pytest.raises(fit_files.BROKEN):
        gaussian_json.from_json({"runs": {}})
