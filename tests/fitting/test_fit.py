"""Formulas against published numbers, and what a fit promises: right, honest about its error, always the same."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import law_of, planted, recipes, theta
from scipy.integrate import quad

from curate.errors import SchemaError
from curate.fitting import fit as fits
from curate.fitting import fit_files
from curate.fitting.fit import FitOptions, fit
from curate.fitting.fit_json import law_json
from curate.fitting.solver.redraws import resample
from curate.laws import chinchilla, repetition
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import Recipes
from curate.runs.recipes import recipes as checked
from curate.storage import artifacts

FAST = FitOptions(starts=6, draws=30)
TINY = FitOptions(starts=4, draws=2)


def values(published):
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in published.items()}


def single(params, tokens, unique=np.inf) -> Recipes:
    return checked([[1.0]], [tokens], [params], [[unique]])


# Muennighoff et al. 2023, computed from the published constants (laws.md, 3.1).
@pytest.mark.parametrize(
    ("params", "tokens", "unique", "loss"),
    [
        (2.8e9, 55e9, 55e9, 2.3544),
        (2.8e9, 55e9, 14e9, 2.37709),
        (2.8e9, 55e9, 1.25e9, 2.70121),
        (4.2e9, 84e9, 12e9, 2.33333),
        (8.7e9, 178e9, 25e9, 2.22685),
    ],
)
def test_repetition_has_the_published_losses(params, tokens, unique, loss):
    predicted = law_of("repetition").loss(values(repetition.PUBLISHED), single(params, tokens, unique))
    assert float(predicted) == pytest.approx(loss, abs=1e-4 if loss == 2.3544 else 1e-5)


@pytest.mark.parametrize(
    ("epochs", "share", "total"),
    [
        (2, 0.9841, 1.968),
        (4, 0.9314, 3.726),
        (8, 0.8280, 6.624),
        (16, 0.6614, 10.58),
        (40, 0.3792, 15.17),
        (101, 0.1620, 16.36),
    ],
)
def test_value_of_a_repeated_pass(epochs, share, total):
    scale = torch.tensor(repetition.PUBLISHED["R_D"], dtype=torch.float64)
    worth = float(repetition.effective_tokens(single(1e9, epochs * 1e9, 1e9), scale)) / 1e9
    assert worth == pytest.approx(total, rel=5e-4)
    assert worth / epochs == pytest.approx(share, abs=1e-4)


def test_large_scales_do_not_collapse():
    """The trap of laws.md section 11: 1 - exp(-r / R) loses its digits where R is large."""
    worth = repetition.effective_tokens(single(1e9, 4e9, 1e9), torch.tensor(1e15, dtype=torch.float64))
    assert float(worth) == pytest.approx(4e9, rel=1e-12)


def test_unlimited_data_is_chinchilla_below_the_optimal_size():
    constants = values(repetition.PUBLISHED)
    base = single(2.8e9, 55e9)
    assert float(law_of("repetition").loss(constants, base)) == pytest.approx(
        float(law_of("chinchilla").loss(constants, base)), rel=1e-12
    )


@pytest.mark.parametrize("published", [chinchilla.PUBLISHED, repetition.PUBLISHED])
@pytest.mark.parametrize("flops", [1e19, 1e22, 1e25])
def test_chinchilla_is_stationary_at_the_published_optimum(published, flops):
    """N_opt = G (C/6)^(beta / (alpha + beta)), G = (alpha A / (beta B))^(1 / (alpha + beta))."""
    a, b, alpha, beta = (published[k] for k in ("A", "B", "alpha", "beta"))
    best = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    grid = torch.from_numpy(best * np.exp(np.linspace(-1, 1, 2001)))
    ones = torch.ones(2001, 1, dtype=torch.float64)
    losses = law_of("chinchilla").loss(values(published), Recipes(ones, flops / 6 / grid, grid, torch.inf * ones))
    assert int(losses.argmin()) == 1000


def test_repetition_uses_the_optimal_size_for_the_unique_tokens():
    """Below N_opt(U) nothing is in excess; far above it more parameters hardly help."""
    p = repetition.PUBLISHED
    optimal = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / p["alpha"]) * 1e9  # alpha = beta: proportional to U
    law, constants = law_of("repetition"), values(p)
    losses = [float(law.loss(constants, single(optimal * x, 1e9, 1e9))) for x in (0.5, 1.0, 1e3, 1e6)]
    plain = [float(law_of("chinchilla").loss(constants, single(optimal * x, 1e9))) for x in (0.5, 1.0)]
    assert losses[:2] == pytest.approx(plain, rel=1e-12)
    capped = p["E"] + p["A"] * (optimal * (1 + p["R_N"])) ** -p["alpha"] + p["B"] * 1e9 ** -p["beta"]
    assert losses[2:] == pytest.approx([capped, capped], rel=1e-9)


# Utility under repetition: the continuous form of Goyal et al. 2024 against numerical integration.
@pytest.mark.parametrize(("tokens", "unique"), [(1e8, np.inf), (1e8, 1e9), (3e9, 1e9), (1e11, 1e9)])
@pytest.mark.parametrize("tau", [0.3, 2.0, 9.0, 300.0])
def test_utility_halves_every_tau_repeats(tokens, unique, tau):
    a, d, n0, b = 4.0, 0.8, 1e4, 0.13
    passes = max(1.0, tokens / unique)
    repeated = quad(lambda x: 2 ** (-(x - 1) / tau) / x, 1, passes, epsabs=1e-12, limit=200)[0]
    constants = {
        k: torch.tensor(v, dtype=torch.float64) for k, v in {"a": a, "d": d, "n0": n0, "b": [b], "tau": [tau]}.items()
    }
    predicted = float(law_of("utility_smooth").loss(constants, single(1e9, tokens, unique)))
    assert predicted == pytest.approx(d + a * np.exp(-b * (np.log1p(tokens / passes / n0) + repeated)), rel=2e-7)


def test_p_equal_pools_sampled_uniformly_are_repeated_p_times_more_slowly():
    """Goyal et al. 2024, Theorem 1: b is the mean, and the half-life in tokens is p times as long."""
    law = law_of("utility_smooth")
    many = {"a": 4.0, "d": 0.8, "n0": 1e4, "b": [0.1, 0.13, 0.16], "tau": [5.0, 5.0, 5.0]}
    single_pool = {**many, "b": [0.13], "tau": [5.0]}
    mixed = checked([[1 / 3] * 3], [1e11], [1e9], [[1e9] * 3])
    losses = [
        float(law.loss({k: torch.tensor(v, dtype=torch.float64) for k, v in t.items()}, r))
        for t, r in ((many, mixed), (single_pool, single(1e9, 1e11, 3e9)))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_mixing_is_its_formula():
    constants = {"c": torch.tensor(1.5).double(), "t": torch.tensor([-1.0, 0.5]).double()}
    predicted = law_of("mixing").loss(constants, checked([[0.25, 0.75]], [1e9], [1e9]))
    assert float(predicted) == pytest.approx(1.5 + np.exp(-0.25 + 0.375), rel=1e-15)


def noisy(name, n, seed, noise, pools=2):
    """(recipes, losses) of a planted law with log-normal noise."""
    truth, base = theta(name, pools, seed=0, inner=0.5), recipes(n, pools, seed)
    return base, law_of(name).loss(truth, base).numpy() * np.exp(noise * np.random.default_rng(seed).standard_normal(n))


@pytest.mark.parametrize("name", ["chinchilla", "mixing"])
def test_intervals_cover_about_what_they_say(name):
    inside, noise_ratio = [], []
    for seed in range(4):
        fitted = fit(name, *noisy(name, 40, seed, 0.01), pools="ab", options=replace(FAST, seed=seed))
        fresh, losses = noisy(name, 150, 1000 + seed, 0.01)
        low, high = fitted.interval(fresh, 0.9)
        inside.append(((low.numpy() <= losses) & (losses <= high.numpy())).mean())
        noise_ratio.append(fitted.noise / 0.01)
    assert 0.82 <= np.mean(inside) <= 0.97
    assert 0.8 <= np.mean(noise_ratio) <= 1.25


def test_a_wider_level_gives_a_wider_interval():
    fitted = fit("chinchilla", *noisy("chinchilla", 30, 0, 0.01), pools="ab", options=FAST)
    base = recipes(20, 2, 5)
    (low5, high5), (low9, high9) = fitted.interval(base, 0.5), fitted.interval(base, 0.9)
    assert bool((low9 < low5).all() and (high5 < high9).all() and (low5 < high5).all())


@pytest.mark.parametrize("name", ["chinchilla", "utility_smooth"])
def test_the_same_call_gives_identical_numbers(name):
    first, second = (fit(name, *noisy(name, 25, 3, 0.01), pools="ab", options=TINY) for _ in range(2))
    assert law_json.to_json(first) == law_json.to_json(second)
    other = fit(name, *noisy(name, 25, 3, 0.01), pools="ab", options=replace(TINY, seed=1))
    assert law_json.to_json(other)["draws"] != law_json.to_json(first)["draws"]


def test_robust_to_a_few_wrong_losses():
    base, losses = noisy("chinchilla", 60, 0, 0.002)
    truth = law_of("chinchilla").loss(theta("chinchilla", 2, seed=0, inner=0.5), base).numpy()
    losses[:4] *= 1.5
    fitted = fit("chinchilla", base, losses, pools="ab", options=FAST)
    assert float(np.median(np.abs(fitted.loss(base).numpy() / truth - 1))) < 2e-3


def test_weights_of_rows_are_counts():
    """A row of weight 0 is as if it were not there."""
    base, losses = noisy("mixing", 30, 0, 0.01)
    half = np.arange(30) < 20
    wrong = np.where(half, losses, 9.0)
    weighted = fit("mixing", base, wrong, pools="ab", weights=half.astype(float), options=replace(FAST, delta=0.01))
    fewer = fit("mixing", base.take(half), losses[half], pools="ab", options=replace(FAST, delta=0.01))
    assert torch.allclose(weighted.loss(base), fewer.loss(base), rtol=5e-3)


def test_fewer_runs_than_parameters_are_fitted_with_the_priors():
    base, losses = noisy("utility_smooth", 5, 0, 0.01)
    few = fit("utility_smooth", base, losses, pools="ab", options=FAST)
    assert np.abs(few.loss(base).numpy() / losses - 1).max() < 0.1
    # What the runs leave open is as uncertain as the priors.
    far = recipes(20, 2, 1)
    low, high = few.interval(far)
    assert float((high / low).median()) > 1.05


def test_the_bootstrap_draws_whole_clusters():
    clusters = np.array([0, 0, 0, 1, 2, 2])
    counts = resample(clusters, 500, 0).numpy()
    assert counts.shape == (500, 6)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 4] == counts[:, 5]).all()
    assert (counts[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert counts[:, 3].mean() == pytest.approx(1, abs=0.15)
    assert np.array_equal(counts, resample(clusters, 500, 0).numpy())


def test_copies_of_a_run_in_one_cluster_do_not_narrow_the_interval():
    base, losses = noisy("chinchilla", 24, 1, 0.02)
    copied = base.take(np.repeat(np.arange(24), 5))
    widths = []
    for clusters in (np.repeat(np.arange(24), 5), np.arange(120)):
        fitted = fit("chinchilla", copied, np.repeat(losses, 5), pools="ab", clusters=clusters, options=FAST)
        low, high = np.quantile(fitted.draw_losses(recipes(30, 2, 9)).numpy(), [0.05, 0.95], axis=0)
        widths.append((high - low).mean())
    assert widths[0] > 1.4 * widths[1]


def test_several_evals_at_once_ignore_what_was_not_measured():
    base, losses = noisy("mixing", 40, 2, 0.003)
    other = np.where(np.arange(40) < 10, np.nan, losses + 0.5)
    both = fits.fit_evals("mixing", base, {"x": losses, "y": other}, pools="ab", options=FAST)
    assert [f.rows for f in both.values()] == [40, 30]
    assert torch.allclose(both["y"].loss(base) - both["x"].loss(base), torch.tensor(0.5).double(), atol=0.01)


def test_a_blend_is_the_weighted_sum_and_survives_json(tmp_path):
    members = tuple(planted("mixing", "ab", theta("mixing", 2, seed=s), draws=7) for s in (1, 2))
    blend, base = Blend(members, (0.25, 0.75), "x"), recipes(10, 2, 3)
    assert torch.allclose(blend.loss(base), 0.25 * members[0].loss(base) + 0.75 * members[1].loss(base))
    artifacts.save(tmp_path / "fit.json", "fit", fit_files.to_json(blend))
    again = fit_files.load(tmp_path / "fit.json")
    assert torch.equal(again.loss(base), blend.loss(base))
    assert all(torch.equal(x, y) for x, y in zip(again.interval(base), blend.interval(base), strict=True))


@pytest.mark.parametrize("damage", ["draws", "theta", "ranges"])
def test_a_damaged_fit_is_refused_in_one_line(tmp_path, damage):
    record = law_json.to_json(planted("mixing", "ab", theta("mixing", 2)))
    del record[damage]
    artifacts.save(tmp_path / "fit.json", "fit", record)
    with pytest.raises(SchemaError, match=r"fit\.json") as caught:
        fit_files.load(tmp_path / "fit.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"params": [1, 2], "epochs": [0, 1]}, "ranges has no 'tokens'"),
        ({"tokens": [1, 2], "params": [3, 2], "epochs": [0, 1]}, "the low end of ranges['params'] is above"),
    ],
)
def test_ranges_that_a_plan_needs_are_checked_where_a_fit_is_read(ends, words):
    record = law_json.to_json(planted("mixing", "ab", theta("mixing", 2)))
    with pytest.raises(ValueError, match=re.escape(words)):
        law_json.from_json(record | {"ranges": ends})


def test_the_table_has_a_row_a_parameter_and_pool():
    table = fit("mixing", *noisy("mixing", 20, 0, 0.01), pools="ab", options=FAST).table()
    assert table.select("param", "pool").rows() == [("c", None), ("t", "a"), ("t", "b")]
    assert (table["low"] <= table["high"]).all()


def test_the_order_of_the_rows_changes_no_draw():
    sample, loss = noisy("mixing", 7, 0, 0.01)
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    in_order = fit("mixing", sample, loss, pools="ab", clusters=np.arange(7), options=FAST)
    shuffled = fit(
        "mixing", sample.take(torch.from_numpy(order)), loss[order], pools="ab", clusters=order, options=FAST
    )
    for name, draws in in_order.draws.items():
        assert torch.allclose(draws, shuffled.draws[name], rtol=1e-4, atol=1e-4)
