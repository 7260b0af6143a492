"""Splits hold out what they say; the true law wins on held-out runs; weights of a stack sum to 1."""

import numpy as np
import polars as pl
import pytest
from problems import law_of, recipes, theta

from curate.errors import FitError, SchemaError
from curate.fitting import compare, stacking
from curate.fitting.choice import holdout
from curate.fitting.fit import FitOptions
from curate.runs import run_table

TINY = FitOptions(starts=4, draws=2)


def table_of(name, n, seed, noise=0.005) -> run_table.Runs:
    """Runs of a planted law of two pools, with log-normal noise."""
    base, rng = recipes(n, 2, seed), np.random.default_rng(seed)
    truth = law_of(name).loss(theta(name, 2, seed=0, inner=0.5), base).numpy()
    losses = truth * np.exp(noise * rng.standard_normal(n))
    frame = pl.DataFrame(
        {"run": [f"r{i}" for i in range(n)], "seed": 0, "params": base.params.numpy(), "tokens": base.tokens.numpy()}
    )
    columns = {f"weight.{p}": base.weights[:, i].numpy() for i, p in enumerate("ab")} | {
        f"unique.{p}": base.unique[:, i].numpy() for i, p in enumerate("ab")
    }
    return run_table.check(frame.with_columns(**columns, **{"loss.web": losses}), "memory")


def test_largest_holds_out_the_most_compute():
    base = recipes(50, 2, 0)
    ((train, test),) = holdout.splits(base, np.arange(50), "largest:0.3")
    flops = (base.tokens * base.params).numpy()
    assert flops[train].max() < flops[test].min()
    assert test.sum() == 15
    assert (train ^ test).all()


@pytest.mark.parametrize(("how", "count"), [("random", 4), ("random:0.5", 10), ("random:0.01", 1)])
def test_random_holds_out_whole_trainings(how, count):
    clusters = np.repeat(np.arange(20), 3)
    ((train, test),) = holdout.splits(recipes(60, 2, 0), clusters, how)
    assert len(set(clusters[test])) == count
    assert not set(clusters[test]) & set(clusters[train])
    ((_, again),) = holdout.splits(recipes(60, 2, 0), clusters, how)
    assert (again == test).all()


def test_mixture_holds_out_whole_mixtures():
    base = recipes(10, 2, 0)
    twice = base.take(np.tile(np.arange(10), 2))
    ((_, test),) = holdout.splits(twice, np.arange(20), "mixture:0.3")
    assert test.sum() == 6
    assert (test[:10] == test[10:]).all()


def test_rolling_tests_only_above_what_it_trained_on():
    base = recipes(50, 2, 0)
    flops = (base.tokens * base.params).numpy()
    pairs = holdout.splits(base, np.arange(50), "rolling")
    assert len(pairs) == 3
    for train, test in pairs:
        assert flops[train].max() < flops[test].min()


@pytest.mark.parametrize("how", ["nosuch", "largest:x", "randomly"])
def test_an_unknown_holdout_is_refused(how):
    with pytest.raises(SchemaError, match="--holdout"):
        holdout.splits(recipes(10, 2, 0), np.arange(10), how)


@pytest.mark.parametrize("how", ["largest:0", "largest:1", "largest:2", "largest:-1", "random:1", "rolling:0.4"])
def test_a_holdout_that_leaves_nothing_is_refused(how):
    with pytest.raises((FitError, SchemaError), match="--holdout"):
        compare.compare(["mixing"], table_of("mixing", 30, 0), ["web"], how=how, options=TINY)


@pytest.mark.parametrize("name", ["chinchilla", "utility_smooth", "mixing"])
def test_the_true_law_wins_on_held_out_runs(name):
    best, compared = compare.choose(
        table_of(name, 40, 4), ["chinchilla", "utility_smooth", "mixing"], ["web"], options=TINY
    )
    assert best.spec == name
    rows = compared.table()
    assert rows["law"][0] == name
    assert rows["heldout"].is_sorted()
    assert best.noise >= rows["rms"][0]
    assert best.heldout["heldout"] == rows["heldout"][0]


def test_a_law_with_too_many_parameters_is_listed_with_the_reason():
    _, compared = compare.choose(table_of("mixing", 8, 5), ["utility_smooth", "mixing"], ["web"], options=TINY)
    assert compared.table()["law"].to_list() == ["mixing", "utility_smooth"]
    assert "cannot determine the 7 parameters" in compared.table()["why"][1]
    with pytest.raises(FitError, match="no law can be fitted"):
        compare.choose(table_of("mixing", 8, 5), ["utility_smooth"], ["web"], options=TINY)


def test_a_stack_of_laws_has_weights_that_sum_to_one():
    blend, _ = stacking.stack(
        table_of("chinchilla", 50, 6), ["chinchilla", "mixing"], ["web"], how="random", options=TINY
    )
    assert sum(blend.weights) == pytest.approx(1)
    assert blend.fits[int(np.argmax(blend.weights))].spec == "chinchilla"
