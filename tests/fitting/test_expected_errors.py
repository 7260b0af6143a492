"""What a fit says of the error of the next runs: as much as the held-out runs show, and more where they show little."""

import re
from math import pi

import numpy as np
import polars as pl
import pytest
import torch

from curate.fitting.choice import averaging, error_words, holdout
from curate.fitting.explanation import explain
from curate.fitting.fit import FitOptions
from curate.laws.chinchilla import PUBLISHED, Chinchilla
from curate.runs import fitted_size, run_table
from curate.runs.discrepancy import SHIFT
from curate.runs.recipes import recipes

QUICK = FitOptions(starts=2, draws=24)
THETA = {name: torch.tensor(value).double() for name, value in PUBLISHED.items()}


def losses(params, tokens, noise, rng):
    exact = Chinchilla().loss(THETA, recipes(np.ones((len(params), 1)), tokens, params)).numpy()
    return exact * np.exp(noise * rng.standard_normal(len(exact)))


def table(params, tokens, noise=0.01, seed=0):
    """Runs of the published Chinchilla law."""
    loss = losses(params, tokens, noise, np.random.default_rng(seed))
    runs = [f"r{i}" for i in range(len(params))]
    return run_table.check(
        pl.DataFrame({"run": runs, "params": params, "tokens": tokens, "loss.x": loss}).cast(
            {"params": pl.Float64, "tokens": pl.Float64}
        ),
        "planted",
    )


def kept_of(runs):
    how, _ = holdout.default(runs.recipes(), runs.clusters)
    return averaging.average(runs, ["chinchilla", "overtraining"], ["x"], how=how, options=QUICK)[0]


SIZES = np.array([5e7, 1e8, 1e8])
LENGTHS = np.array([1e9, 1e9, 4e9])


def test_three_runs_leave_the_parameters_open_and_the_expected_error_says_so():
    """Over six tables of three runs, the median of real over expected error."""
    ratios = []
    for seed in range(6):
        kept = kept_of(table(SIZES, LENGTHS, seed=seed))
        heldout = kept.fits[0].heldout
        far = 1e8 * np.exp(heldout["distance"]) * np.ones(4)
        tokens = np.geomspace(1e9, 8e9, 4)
        predicted = kept.loss(recipes(np.ones((4, 1)), tokens, far)).detach().numpy()
        error = np.abs(np.log(predicted / losses(far, tokens, 0.01, np.random.default_rng(100 + seed)))).mean()
        ratios.append(error / heldout["heldout"])
        parts = (heldout["parameters"], kept.noise, SHIFT * heldout["distance"] ** 0.5)
        assert heldout["scatter"] is None
        assert heldout["heldout"] == pytest.approx((2 / pi) ** 0.5 * np.linalg.norm(parts), rel=1e-6)
    assert 0.25 < np.median(ratios) < 1.25


def test_the_next_size_of_a_ladder_has_the_tokens_of_its_next_rung():
    """Models that grow with their tokens say nothing of a large model with the tokens of a small one."""
    sizes = np.geomspace(3e7, 5e8, 5)
    kept = kept_of(table(sizes, 20 * sizes))
    heldout = kept.fits[0].heldout
    next_size = 5e8 * np.exp([heldout["distance"]])
    draws = kept.draw_losses(recipes(np.ones((1, 1)), 20 * next_size, next_size)).detach().log()
    assert heldout["parameters"] == pytest.approx(float(draws.std()), rel=1e-6)
    assert heldout["heldout"] < 3 * heldout["measured"]


def test_a_measured_scatter_needs_no_parameters_beside_it():
    params, tokens = np.repeat([5e7, 1e8, 2e8], 4), np.tile(np.geomspace(1e9, 8e9, 4), 3)
    kept = kept_of(table(params, tokens))
    assert kept.fits[0].heldout["parameters"] is None
    words = error_words.error_in_words(kept)
    assert "has two parts" in words and "predicted from fewer sizes than the fit has now" in words
    assert "little is known" not in words


@pytest.mark.parametrize(
    ("params", "tokens", "words"),
    [
        (np.repeat([5e7, 1e8], 4), np.tile([1e9, 2e9, 4e9, 8e9], 2), "predicted from the smaller size alone"),
        (SIZES, LENGTHS, "predicted from the smaller size alone"),
        (np.repeat([1e8], 4), np.array([1e9, 1e9, 4e9, 4e9]), "predicted from the shorter length alone"),
    ],
)
def test_one_fitted_size_or_length_says_little_of_the_next(params, tokens, words):
    text = error_words.error_in_words(kept_of(table(params, tokens)))
    assert words in text and "so little is known of the error at the next" in text


def test_three_parts_are_named_where_runs_are_too_few_to_measure_the_scatter():
    text = error_words.error_in_words(kept_of(table(SIZES, LENGTHS)))
    assert "has three parts" in text and "from the law's parameters, which so few runs do not determine" in text


def numbers(words):
    """The percentages of a text, as shares."""
    return [float(number) / 100 for number in re.findall(r"([\d.]+)%", words)]


def checkpoints_of_two_lengths():
    """Two sizes, each with a training of two lengths and its checkpoints, and the tokens that were planned."""
    params, planned = np.repeat([5e7, 1e8, 2e8], 2), np.tile([2e9, 8e9], 3)
    rows = [(f"t{i}", n, d * f, d) for i, (n, d) in enumerate(zip(params, planned, strict=True)) for f in (0.4, 0.7, 1)]
    training, params, tokens, planned = (np.array(column) for column in zip(*rows, strict=True))
    loss = losses(params, tokens, 0.01, np.random.default_rng(1)) * (tokens / planned) ** -0.03
    frame = {"run": [f"r{i}" for i in range(len(rows))], "training": training, "params": params, "tokens": tokens}
    return run_table.check(pl.DataFrame(frame | {"planned_tokens": planned, "loss.x": loss}), "planted")


@pytest.mark.parametrize(
    "runs",
    [
        table(SIZES, LENGTHS),
        table(np.repeat([5e7, 1e8], 4), np.tile([1e9, 2e9, 4e9, 8e9], 2)),
        table(np.repeat([5e7, 1e8, 2e8], 2), np.tile([1e9, 8e9], 3)),
        table(np.repeat([5e7, 1e8, 2e8], 3), np.tile([1e9, 2e9, 8e9], 3), noise=0.05),
        table(np.repeat([1e8], 4), np.array([1e9, 1e9, 4e9, 4e9])),
        checkpoints_of_two_lengths(),
    ],
    ids=["three runs", "two sizes", "two runs of a size", "three sizes", "one size", "planned tokens"],
)
def test_the_named_parts_combine_to_the_expected_error(runs):
    words = error_words.error_in_words(kept_of(runs))
    before, _, after = words.partition("That error has ")
    (expected,) = numbers(before)
    parts = numbers(after.partition("The parts are")[0])
    assert len(parts) == {"two": 2, "three": 3, "four": 4}[after.split()[0]]
    assert 0.8 * np.linalg.norm(parts) == pytest.approx(expected, rel=5e-3, abs=1e-4)


def test_a_shift_beyond_the_usual_is_a_part_of_its_own():
    params, tokens = np.repeat([5e7, 1e8, 2e8], 4), np.tile(np.geomspace(1e9, 8e9, 4), 3)
    frame = table(params, tokens).frame.with_columns(
        pl.when(pl.col("params") == 2e8).then(1.3 * pl.col("loss.x")).otherwise("loss.x").alias("loss.x")
    )
    words = error_words.error_in_words(kept_of(run_table.check(frame, "planted")))
    assert "has three parts" in words and "by which whole held-out sizes were missed beyond the usual" in words
    expected, *parts = numbers(words.partition("The parts are")[0])
    assert 0.8 * np.linalg.norm(parts) == pytest.approx(expected, rel=5e-3)


def test_a_comparison_names_no_expected_error_where_the_runs_show_no_scatter():
    """The sentence on the fit that is kept names one, with the noise and the parameters of that fit."""
    runs = table(SIZES, LENGTHS)
    kept, comparison = averaging.choose(runs, ["chinchilla", "overtraining"], ["x"], options=QUICK)
    rows = comparison.table()
    assert rows["heldout"].null_count() == rows["low"].null_count() == 2
    assert rows["measured"].is_sorted() and rows["measured"].null_count() == 0
    assert f"off by {kept.heldout['heldout']:.2%} on average" in error_words.error_in_words(kept)
    words = explain(kept, runs, rows)
    assert f"{kept.spec} missed the held-out runs by least, {rows['measured'][0]:.2%} on average" in words
    assert "times the largest fitted size, the loss of a mixture is known within about" in words
    assert "the difference between two mixtures" not in words, "there is one mixture"


@pytest.mark.parametrize("step", [1.0, 0.8])
def test_the_named_parts_add_up_to_the_expected_error(step):
    """Also where a step between sizes shifts whole sizes, and where the second of two is predicted from the first."""
    for sizes in ([5e7, 1e8, 2e8], [5e7, 1e8]):
        params, tokens = np.repeat(sizes, 4), np.tile(np.geomspace(1e9, 8e9, 4), len(sizes))
        runs = table(params, tokens)
        stepped = runs.frame["loss.x"].to_numpy() * np.where(params == max(sizes), step, 1.0)
        kept = kept_of(run_table.check(runs.frame.with_columns(pl.Series("loss.x", stepped)), "planted"))
        words = error_words.error_in_words(kept)
        named = [
            float(part) / 100
            for part in re.findall(r"([\d.]+)%", words.partition(" parts: ")[2].partition(". The parts")[0])
        ]
        assert (2 / pi) ** 0.5 * np.linalg.norm(named) == pytest.approx(kept.fits[0].heldout["heldout"], abs=2e-4)
        assert ("whole held-out sizes were missed beyond the usual" in words) == (step < 1 and len(sizes) == 3)


def test_a_law_without_size_leaves_another_size_open():
    """All runs have one budget, and the published law falls by 13 % to 2.5 times their size."""
    rng = np.random.default_rng(0)
    weights, params = rng.dirichlet(np.ones(3), 12), np.full(12, 1e8)
    frame = {"run": [f"r{i}" for i in range(12)], "params": params, "tokens": 20 * params}
    frame |= {f"weight.{name}": weights[:, i] for i, name in enumerate("abc")}
    loss = losses(params, 20 * params, 0.003, rng) * np.exp(weights @ [0.1, 0.0, -0.1])
    runs = run_table.check(pl.DataFrame(frame | {"loss.x": loss}), "planted")
    kept, _ = averaging.choose(runs, ["mixing"], ["x"], how="mixture", options=QUICK)
    far = recipes(weights[:1], np.array([5e9]), np.array([2.5e8]))
    truth = losses(np.array([2.5e8]), np.array([5e9]), 0.0, rng)[0] * np.exp(weights[0] @ [0.1, 0.0, -0.1])
    low, high = (float(end) for end in fitted_size.at_fitted_size(kept).interval(far))
    assert low < truth < high


def two_sizes_of_another_law(seed=0, count=12):
    """Runs of three pools whose exponent of tokens depends on the mixture, which `mixture_additive` cannot say."""
    rng = np.random.default_rng(seed)
    weights = np.tile(rng.dirichlet(np.ones(3), count), (2, 1))
    params = np.repeat([6e7, 1.5e8], count)
    quality = weights @ [0.4, -0.3, 0.0] + weights[:, 0] * weights[:, 1]
    loss = 1.7 + 400 / params**0.34 + 800 / (20 * params) ** (0.33 + weights @ [0.05, -0.05, 0.0]) * np.exp(quality)
    columns = {f"weight.{name}": weights[:, i] for i, name in enumerate("abc")}
    runs = [f"r{i}" for i in range(2 * count)]
    frame = {"run": runs, "params": params, "tokens": 20 * params, **columns, "loss.x": loss}
    return run_table.check(pl.DataFrame(frame), "planted")


def test_two_sizes_take_the_scatter_of_mixtures_predicted_from_one():
    """The residuals of a wrong law are smaller than its scatter at a new size."""
    runs = two_sizes_of_another_law()
    kept, comparison = averaging.choose(runs, ["mixture_additive"], ["x"], options=QUICK)
    errors = comparison.errors({"mixture_additive": 1.0})
    assert np.isnan(errors.scatter_of_evals()).all(), "no size was predicted from two"
    of_one = float(errors.scatter_of_one_size()[0])
    assert of_one > kept.noise
    assert kept.discrepancy.scatter == pytest.approx(np.hypot(of_one, kept.noise) / 2**0.5)
    # Without mixtures to compare, the residuals of the fit show the scatter.
    alone = kept_of(table(np.repeat([5e7, 1e8], 4), np.tile([1e9, 2e9, 4e9, 8e9], 2)))
    assert alone.discrepancy.scatter == pytest.approx(alone.noise)
