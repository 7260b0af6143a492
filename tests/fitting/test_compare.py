"""Splits hold out what they say; the true law wins on held-out runs; weights of a stack sum to 1."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from problems import law_of, recipes, theta

from curate.errors import FitError, SchemaError
from curate.fitting import compare, stacking
from curate.fitting.choice import averaging, holdout
from curate.fitting.choice.held_out_errors import HeldOutErrors, HeldOutPart
from curate.fitting.fit import FitOptions
from curate.fitting.fitted_laws import members_of
from curate.runs import run_table
from curate.runs.discrepancy import SHIFT
from curate.runs.runs import Runs

TINY = FitOptions(starts=4, draws=2)


def table_of(name, n, seed, noise=0.005) -> Runs:
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


def test_a_training_has_one_length_however_many_checkpoints_it_has():
    """Runs of one size and three lengths, with four rows each: the longer ones are predicted from the shorter."""
    lengths = [1e9, 2e9, 4e9]
    rows = [
        {"run": f"t{i}@{part}", "params": 1e8, "tokens": part / 4 * length, "planned_tokens": length}
        for i, length in enumerate(lengths)
        for part in (1, 2, 3, 4)
    ]
    frame = pl.DataFrame(rows).with_columns((2 + (pl.col("tokens") / 1e9) ** -0.3).alias("loss.web"))
    comparison = compare.compare(["power"], run_table.check(frame, "memory"), ["web"], how="rolling", options=TINY)
    assert [(part.levels, part.distance) for part in comparison.parts] == [
        (1, pytest.approx(np.log(2))),
        (2, pytest.approx(np.log(2))),
    ]


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


def test_rolling_predicts_each_size_from_the_smaller_ones():
    base = recipes(50, 2, 0)
    params = base.params.numpy()
    pairs = holdout.splits(base, np.arange(50), "rolling")
    assert len(pairs) == holdout.BLOCKS - 1
    for train, test in pairs:
        assert params[train].max() * holdout.SAME_SIZE <= params[test].min()
        assert test.sum() >= holdout.BLOCK_TRAININGS
    # Every run but the smallest is held out once.
    assert (sum(test.astype(int) for _, test in pairs) == ~pairs[0][0]).all()


def with_params(base, params):
    return replace(base, params=torch.tensor(params, dtype=torch.float64))


def test_sizes_that_differ_by_less_than_a_fifth_count_as_one():
    base = with_params(recipes(6, 2, 0), [1.0e8, 1.1e8, 1.19e8, 1.3e8, 4e8, 1e9])
    pairs = holdout.splits(base, np.arange(6), "rolling")
    assert [train.sum() for train, _ in pairs] == [3, 4, 5]
    assert holdout.count_of_sizes(base) == 4


def test_rolling_over_one_size_holds_out_the_longer_trainings_whole():
    base = with_params(recipes(8, 2, 0), [1e8] * 8)
    base = replace(base, tokens=torch.tensor([1, 2, 1, 4, 2, 8, 4, 16], dtype=torch.float64) * 1e9)
    clusters = np.repeat(np.arange(4), 2)  # trainings of 2e9, 4e9, 8e9 and 16e9 tokens
    pairs = holdout.splits(base, clusters, "rolling")
    assert [train.tolist() for train, _ in pairs] == [[i < 2 * k for i in range(8)] for k in (1, 2, 3)]
    assert holdout.default(base, clusters)[0] == "rolling"
    assert holdout.finished(base, clusters).tolist() == [False, True] * 4


def test_rolling_takes_no_share():
    with pytest.raises(SchemaError, match="--holdout 'rolling:0.2': rolling holds out whole sizes and takes no share"):
        holdout.splits(recipes(10, 2, 0), np.arange(10), "rolling:0.2")


def errors_of(residuals, *, levels=2, distance=1.0):
    """Errors of one eval, with a part for each list of residuals."""
    parts = tuple(HeldOutPart(np.zeros((1, len(r))), np.arange(len(r)), levels, distance) for r in residuals)
    return HeldOutErrors(parts, tuple(np.array([r]) for r in residuals))


def test_a_shift_is_told_apart_from_the_scatter():
    errors = errors_of([[0.03, 0.02, 0.01], [-0.01, -0.02, -0.03]])
    record = errors.record(0)
    assert record["shift"] == pytest.approx(0.02)
    assert record["scatter"] == pytest.approx(0.01)
    assert record["measured"] == pytest.approx(0.02, rel=0.01)
    # The mean absolute value of a normal number of this standard deviation.
    assert record["heldout"] == pytest.approx(np.sqrt(2 / np.pi) * np.hypot(0.01, SHIFT), rel=1e-9)
    # Student's t with 4 degrees of freedom over the normal quantile.
    assert errors.scatter_of_evals() == pytest.approx([0.01 * 2.13185 / 1.64485], rel=1e-4)


def test_a_shift_beyond_the_usual_counts_as_scatter():
    assert errors_of([[0.3, 0.31, 0.32]]).scatter() == pytest.approx(np.hypot(0.01, 0.31 - 3 * SHIFT))
    # With one fitted size a shift says nothing: no run showed what size does.
    assert errors_of([[0.3, 0.31, 0.32]], levels=1).scatter() == pytest.approx(0.01)


def test_one_run_of_a_size_shows_no_scatter():
    errors = errors_of([[0.02], [-0.01]])
    assert errors.scatter() is None
    assert np.isnan(errors.scatter_of_evals()).all()
    record = errors.record(0)
    assert record["heldout"] is None and record["low"] is None, "no error can be expected from these runs alone"
    assert record["measured"] == pytest.approx(np.expm1([0.02, 0.01]).mean(), rel=1e-2)
    # A fit to all runs shows the noise of a run.
    assert replace(errors, noise=0.01).expected() == pytest.approx(np.sqrt(2 / np.pi) * np.hypot(0.01, SHIFT))


def test_parts_with_two_fitted_sizes_are_believed_first():
    one_size = HeldOutPart(np.zeros((1, 3)), np.arange(3), 1, 1.0)
    two_sizes = HeldOutPart(np.zeros((1, 3)), np.arange(3), 2, 1.0)
    errors = HeldOutErrors((one_size, two_sizes), (np.array([[0.3, 0.1, -0.1]]), np.array([[0.01, 0.0, -0.01]])))
    assert errors.scatter() == pytest.approx(0.01)


def test_a_training_counts_once_in_the_error_however_many_rows_it_has():
    table = table_of("chinchilla", 20, 3)
    row = table.frame.filter(pl.col("params") == pl.col("params").max()).with_columns(training=pl.lit("longest"))
    early = pl.concat([row.with_columns(tokens=pl.col("tokens") * f, run=pl.lit(f"early{f}")) for f in (0.5, 0.7)])
    others = table.frame.with_columns(training=pl.col("run")).filter(pl.col("params") < pl.col("params").max())
    runs = run_table.check(pl.concat([others, row, early]), "memory")
    compared = compare.compare(["chinchilla"], runs, ["web"], how="rolling", options=TINY)
    assert compared.table()["rows"][0] == sum(len(part.trainings) for part in compared.parts)
    assert sum((part.trainings == runs.clusters[-1]).sum() for part in compared.parts) == 1


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
    best, compared = averaging.choose(
        table_of(name, 40, 4), ["chinchilla", "utility_smooth", "mixing"], ["web"], options=TINY
    )
    assert best.spec == name
    rows = compared.table()
    assert rows["law"][0] == name
    assert rows["heldout"].is_sorted()
    assert best.heldout["heldout"] == rows["heldout"][0]
    assert best.discrepancy.largest == best.ranges["params"][1]


def test_a_law_with_more_parameters_than_runs_is_fitted_with_its_priors():
    best, compared = averaging.choose(table_of("mixing", 6, 5), ["utility_smooth"], ["web"], options=TINY)
    assert compared.table()["why"].to_list() == [""]
    assert best.rows == 6 < compared.table()["parameters"][0]
    assert np.isfinite(best.loss(recipes(5, 2, 1)).numpy()).all()


def test_the_average_weighs_laws_by_their_scatter_and_drops_the_worst():
    table = table_of("chinchilla", 60, 6)
    blend, compared = averaging.average(table, ["chinchilla", "overtraining", "mixing"], ["web"], options=TINY)
    weights = averaging.weights_of_laws(compared)
    scatters = {spec: compared.errors({spec: 1.0}).scatter() for spec in weights}
    assert sum(weights.values()) == pytest.approx(1)
    assert {fit.spec: w for fit, w in zip(blend.fits, blend.weights, strict=True)} == pytest.approx(weights)
    products = [weight * scatters[spec] ** 2 for spec, weight in weights.items()]
    assert products == pytest.approx([products[0]] * len(products))
    # The law that does not see size misses every size by another factor.
    assert "mixing" not in weights
    assert max(scatters.values()) <= averaging.WORST_RATIO * min(scatters.values())


def test_an_eval_that_the_smallest_size_lacks_counts_where_it_can_be_fitted():
    runs = table_of("chinchilla", 24, seed=3)
    sizes = pl.Series(np.repeat([1e8, 3e8, 1e9], 8))
    web = runs.frame["loss.web"]
    late = pl.select(pl.when(sizes > 1e8).then(1.1 * web)).to_series()
    runs = run_table.check(runs.frame.with_columns(sizes.alias("params"), late.alias("loss.late")), "memory")
    compared = compare.compare(["chinchilla"], runs, ["web", "late"], how="rolling", options=TINY)
    first, last = compared.parts
    assert np.isnan(first.truth[1]).all() and np.isfinite(first.truth[0]).all()
    assert np.isfinite(last.truth).all() and np.isfinite(compared.predicted["chinchilla"][1]).all()
    assert compared.rows["rows"].item() == 16  # those of the last part, in which two sizes were fitted
    alone = compare.compare(["chinchilla"], runs, ["late"], how="rolling", options=TINY)
    assert len(alone.parts) == 1


def test_the_last_row_with_an_eval_counts_where_the_last_row_of_the_training_lacks_it():
    runs = table_of("chinchilla", 24, seed=3)
    tokens = pl.Series(np.tile([1e9, 2e9], 12))
    late = pl.select(pl.when(tokens < 2e9).then(runs.frame["loss.web"])).to_series()
    frame = runs.frame.with_columns(
        pl.Series("run", [f"r{i // 2}@{i % 2}" for i in range(24)]),
        tokens.alias("tokens"),
        pl.Series("params", np.repeat([1e8, 3e8, 1e9], 8)),
        *(
            pl.Series(name, np.repeat(runs.frame[name].to_numpy()[::2], 2))
            for name in runs.frame.columns
            if "." in name
        ),
        late.alias("loss.early"),
    )
    runs = run_table.check(frame, "memory")
    first, last = compare.compare(["chinchilla"], runs, ["web", "early"], how="rolling", options=TINY).parts
    assert np.isfinite(first.truth).sum(axis=1).tolist() == np.isfinite(last.truth).sum(axis=1).tolist() == [4, 4]


def test_a_law_that_cannot_be_fitted_is_listed_with_the_reason():
    table, trees = table_of("mixing", 8, 5), "boosted:folds=9"
    _, compared = averaging.choose(table, [trees, "mixing"], ["web"], how="random", options=TINY)
    assert compared.table()["law"].to_list() == ["mixing", trees]
    assert "cannot be split into" in compared.table()["why"][1]
    with pytest.raises(FitError, match="no law can be fitted"):
        averaging.choose(table, [trees], ["web"], how="random", options=TINY)


def test_a_stack_of_laws_has_weights_that_sum_to_one():
    stacked, _ = stacking.stack(
        table_of("chinchilla", 50, 6), ["chinchilla", "mixing"], ["web"], how="random", options=TINY
    )
    weights = dict(zip((fit.spec for fit in members_of(stacked)), getattr(stacked, "weights", (1.0,)), strict=True))
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights, key=weights.get) == "chinchilla"


@pytest.mark.parametrize("method", [averaging.choose, averaging.average, stacking.stack])
def test_an_eval_that_the_smallest_size_lacks_is_not_predicted_from_it(method):
    rng, size = np.random.default_rng(0), np.repeat([1e7, 3e7, 1e8], 6)
    loss = 2 + 30 * size**-0.2 * np.exp(0.01 * rng.standard_normal(18))
    columns = {"params": size, "tokens": 20 * size, "loss.web": loss}
    frame = pl.DataFrame({"run": [f"r{i}" for i in range(18)]} | columns)
    late = pl.when(pl.col("params") > 1e7).then("loss.web").alias("loss.code")
    _, compared = method(
        run_table.check(frame.with_columns(late), "memory"), ["chinchilla", "power"], ["web", "code"], options=TINY
    )
    predicted = compared.predicted["chinchilla"]
    assert np.isnan(predicted[0][1]).all() and np.isfinite(predicted[0][0]).all()
    assert np.isfinite(predicted[1]).all()
    assert np.isfinite(compared.table()["heldout"].to_numpy()).all()
