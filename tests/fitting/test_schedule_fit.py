"""Laws of learning-rate schedules: the multi-power law by hand, several trainings together, other schedules."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import FitError, SchemaError
from curate.fitting.curves.schedules import annealing, multi_power, schedule_laws, schedule_rows, schedule_solver
from curate.fitting.curves.schedules.rate_schedule import Curve, RateSchedule
from curate.fitting.job import fit
from curate.fitting.predict import load, predict
from curate.runs import run_table

STEPS, WARMUP, PEAK = 20_000, 500, 3e-4
UNNAMED = {"losses": False, "absent": schedule_rows.ABSENT, "counts": False}
TRUTH = {"annealing": annealing.PUBLISHED, "multi_power": multi_power.PUBLISHED}
LAWS = pytest.mark.parametrize("law", TRUTH)


def schedule(kind, steps=STEPS, every=50, peak=PEAK):
    """A schedule that warms up and then follows ``kind``; its rows are ``every`` so many steps."""
    remaining = np.clip((np.arange(steps) - WARMUP) / (steps - WARMUP), 0, 1)
    shape = {
        "constant": np.ones(steps),
        "cosine": 0.55 + 0.45 * np.cos(np.pi * remaining),
        "wsd": np.where(remaining < 0.8, 1, 1 - 0.9 * (remaining - 0.8) / 0.2),
        "to zero": 1 - remaining,
        "two steps": np.where(remaining < 0.8, 1, np.where(remaining < 0.9, 0.3, 0.1)),
        "cyclic": 0.6 + 0.4 * np.cos(8 * np.pi * remaining),
    }[kind]
    rates = peak * shape
    rates[:WARMUP] = peak * np.arange(1, WARMUP + 1) / WARMUP
    return RateSchedule(kind, rates, WARMUP, np.arange(WARMUP, steps, every))


def losses(law, plan, noise=0.0, seed=0):
    """The losses that a law gives at the rows of a schedule."""
    form = schedule_laws.LAWS[law]
    clean = form.curve(TRUTH[law], *form.features(plan.rates, plan.warmup, plan.steps)).numpy()
    return clean * np.exp(noise * np.random.default_rng(seed).standard_normal(len(clean)))


def fitted(law, kinds, *, truth=None, noise=1e-3, draws=4):
    plans = [schedule(kind, every=200) for kind in kinds]
    curves = [Curve(plan, losses(truth or law, plan, noise, seed)) for seed, plan in enumerate(plans)]
    return schedule_solver.fit(law, curves, draws=draws)


def by_the_paper(theta, plan):
    """Equations 2 and 3 of arXiv 2503.12811, one term after another."""
    results = []
    for t in plan.steps:
        drop = 0.0
        for k in range(plan.warmup + 1, t + 1):
            x = plan.rates[k] ** -theta["gamma"] * plan.rates[k : t + 1].sum()
            drop += (plan.rates[k - 1] - plan.rates[k]) * (1 - (theta["C"] * x + 1) ** -theta["beta"])
        area = plan.rates[plan.warmup : t + 1].sum() + plan.rates[: plan.warmup].sum()
        results.append(theta["L0"] + theta["A"] * area ** -theta["alpha"] - theta["B"] * drop)
    return results


def test_multi_power_by_hand():
    """Rates 1 (warming up), 2, 2, 1: one fall of 1 at the last step, with S_k = 1 and eta_k = 1, so that x = 1."""
    theta = {"L0": 1.0, "A": 12.0, "alpha": 1.0, "B": 2.0, "C": 3.0, "beta": 0.5, "gamma": 0.7}
    plan = RateSchedule("x", np.array([1.0, 2.0, 2.0, 1.0]), 1, np.array([1, 2, 3]))
    values = multi_power.curve(theta, *multi_power.features(plan.rates, plan.warmup, plan.steps))
    assert values.tolist() == pytest.approx([1 + 12 / 3, 1 + 12 / 5, 1 + 12 / 6 - 2 * (1 - 4**-0.5)], rel=1e-12)
    # One more step at the rate 1: S_k = 2, and gamma does not matter. Then a rise to 4: a negative fall of -3.
    plan = RateSchedule("x", np.array([1.0, 2.0, 2.0, 1.0, 1.0, 4.0]), 1, np.array([4, 5]))
    values = multi_power.curve(theta, *multi_power.features(plan.rates, plan.warmup, plan.steps))
    rise = 1 - (1 + 3 * 4**-0.7 * 4) ** -0.5
    drops = [1 - 7**-0.5, 1 - 19**-0.5 - 3 * rise]
    assert values.tolist() == pytest.approx([1 + 12 / area - 2 * d for area, d in zip((7, 11), drops, strict=True)])


@pytest.mark.parametrize("kind", ["cosine", "wsd", "to zero", "two steps", "cyclic"])
def test_sums_over_blocks_equal_the_full_sum(kind):
    plan = schedule(kind, steps=3000, every=271)
    values = multi_power.curve(TRUTH["multi_power"], *multi_power.features(plan.rates, plan.warmup, plan.steps))
    assert values.tolist() == pytest.approx(by_the_paper(TRUTH["multi_power"], plan), abs=2e-4)


def test_a_schedule_of_a_hundred_thousand_steps_is_quick():
    plan = schedule("cosine", steps=100_000, every=100)
    features = multi_power.features(plan.rates, plan.warmup, plan.steps)
    assert max(x.numel() for x in features) < 150 * len(plan.steps)  # not 1e5 for each row
    assert bool(torch.isfinite(multi_power.curve(TRUTH["multi_power"], *features)).all())


@LAWS
def test_several_trainings_give_one_set_of_parameters_that_predicts_another_schedule(law):
    result = fitted(law, ["constant", "cosine", "wsd"])
    assert result.theta["L0"] == pytest.approx(TRUTH[law]["L0"], rel=2e-3)
    assert result.theta["alpha"] == pytest.approx(TRUTH[law]["alpha"], rel=2e-2)
    assert result.noise == pytest.approx(1e-3, rel=0.3)
    assert result.heldout < 3e-3
    other = schedule("to zero", steps=30_000, every=300)
    truth = losses(law, other)
    assert np.abs(result.loss(other) / truth - 1).max() < 2e-3
    low, high = result.interval(other)
    assert ((low < truth) & (truth < high)).all()
    assert ((high - low) / truth).max() < 0.02
    narrow = result.interval(other, 0.5)
    assert (narrow[0] > low).all() and (narrow[1] < high).all()


@pytest.mark.parametrize(("law", "truth"), [("annealing", "multi_power"), ("multi_power", "annealing")])
def test_a_law_that_is_not_the_true_one_says_so_in_its_held_out_error(law, truth):
    result = fitted(law, ["constant", "cosine", "wsd"], truth=truth)
    right = fitted(truth, ["constant", "cosine", "wsd"])
    assert result.heldout > 2 * right.heldout
    other = schedule("two steps", every=200)
    measured = losses(truth, other, 1e-3, 9)
    low, high = result.interval(other)
    assert ((low < measured) & (measured < high)).mean() > 0.85


def test_one_training_has_wide_intervals():
    alone, together = (fitted("annealing", kinds) for kinds in (["cosine"], ["cosine", "wsd", "constant"]))
    assert alone.deviation(0.9) > 2 * together.deviation(0.9)
    assert alone.curves == 1


def table(law, kinds, *, every=200, first=0, **columns):
    """A table with a row every so many steps: run, step, lr and loss, without params and tokens."""
    parts = []
    for seed, kind in enumerate(kinds):
        plan = schedule(kind, every=every)
        rows = np.arange(first, len(plan.rates), every)
        loss = losses(law, RateSchedule(kind, plan.rates, WARMUP, np.maximum(rows, WARMUP)), 1e-3, seed)
        parts.append(pl.DataFrame({"run": kind, "step": rows, "lr": plan.rates[rows], "loss.web": loss} | columns))
    return pl.concat(parts)


@pytest.mark.parametrize("first", [200, 0])
def test_a_rate_that_rises_from_the_first_row_on_warmed_up_before_that_row(first):
    """Logs of every 200 steps have no row of step 1. The warm-up of 500 steps is seen all the same."""
    rows = table("annealing", ["cosine"], every=200)
    read = schedule_rows.read(run_table.read(rows.filter(pl.col("step") >= first), **UNNAMED), "annealing")
    plan = read.schedules[0]
    # The row after the warm-up is the first whose rate is the highest.
    assert plan.steps[plan.warmup == plan.steps].size == 1
    assert read.rows[0][plan.warm][0] == (600 - first) // 200
    # The warm-up is a straight line from 0, up to the row that follows it.
    np.testing.assert_allclose(plan.rates[:200], PEAK * np.arange(1, 201) / WARMUP, rtol=6e-3, atol=PEAK / WARMUP)


def test_sparse_rows_of_a_warm_up_do_not_move_the_parameters():
    rows = table("annealing", ["cosine", "wsd", "two steps"], every=200, first=200)
    fit_of_rows = fit(rows, law="annealing", draws=4, eval="web").predictor
    assert fit_of_rows.theta["L0"] == pytest.approx(TRUTH["annealing"]["L0"], rel=0.01)


@LAWS
def test_the_command_fits_and_predicts_what_the_function_does(cli, tmp_path, law):
    table(law, ["constant", "cosine", "wsd"]).write_csv(tmp_path / "curves.csv")
    files = [tmp_path / name for name in ("curves.csv", "fit.json", "new.csv", "out.parquet")]
    reply = cli("fit", files[0], "--law", law, "--draws", "4", "--out", files[1])
    assert reply.code == 0, reply.err
    assert f"{law}, fitted to 3 trainings together" in reply.out
    assert "9 of 300 losses are left out: they were measured while the learning rate warmed up" in reply.out
    # Another schedule, without names and losses, in reverse order.
    new = table(law, ["two steps"])
    new.drop("run", "loss.web").reverse().write_csv(files[2])
    reply = cli("predict", files[1], files[2], "--out", files[3])
    assert reply.code == 0, reply.err
    rows = pl.read_parquet(files[3]).reverse()
    assert rows.columns == ["run", "step", "predicted", "low", "high"]
    assert rows["step"].to_list() == new["step"].to_list()
    assert rows["predicted"].null_count() == 3
    late = rows["step"] >= WARMUP
    off = (rows.filter(late)["predicted"] / new.filter(late)["loss.web"] - 1).abs()
    assert off.mean() < 2e-3
    inside = (rows["low"] < new["loss.web"]) & (new["loss.web"] < rows["high"])
    assert inside.filter(late).mean() > 0.9
    assert load(files[1]).theta == pytest.approx(json.loads(files[1].read_text())["laws"][0]["theta"])


def test_rows_between_which_steps_lie_are_interpolated():
    """A row every 200 steps gives nearly the areas of every step; earlier versions took each row for one step."""
    fine, coarse = (fit(table("annealing", ["cosine", "wsd"], every=n), law="annealing", draws=2) for n in (40, 200))
    values = [report.predictor.theta for report in (fine, coarse)]
    assert values[1] == pytest.approx(values[0], rel=0.05)


def test_training_and_names_tell_trainings_apart():
    frame = table("annealing", ["cosine", "wsd"])
    named = frame.with_columns(run=pl.col("run") + "@" + pl.col("step").cast(pl.String))
    column = frame.with_columns(training="run", run=pl.int_range(pl.len()).cast(pl.String))
    thetas = [fit(x, law="annealing", draws=2).predictor.theta for x in (frame, named, column)]
    assert thetas[0] == thetas[1] == thetas[2]


def test_the_start_that_is_missing_is_assumed_with_a_note():
    report = fit(table("annealing", ["cosine", "wsd"], first=5000), law="annealing", draws=2)
    assert any("the table has no rates for steps 1 to 4999" in note for note in report.notes)
    report = fit(table("annealing", ["wsd"], first=100), law="annealing", draws=2)
    assert not any("no rates" in note for note in report.notes)


def test_schedules_outside_the_fitted_ones_are_named():
    result = fitted("annealing", ["cosine", "wsd"])
    assert result.warnings([schedule("cosine", steps=10_000)]) == ()
    (line,) = result.warnings([schedule("cosine", steps=40_000), schedule("wsd")])
    assert line == (
        "extrapolated: cosine has steps 40000. Those of the fitted trainings are 20000 to 20000 (1 of 2 schedules)"
    )
    (line,) = result.warnings([schedule("cosine", peak=1e-4)])
    assert "peak rate 0.0001" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": pl.lit(7)}, "training 'cosine' has two rows of step 7. Give every training its own name"),
        ({"step": pl.col("step") + 0.5}, "step of run 'cosine' is 0.5: it must be a whole number"),
        ({"lr": -pl.col("lr")}, "lr of run 'cosine' is -6e-07: it must be finite and at least 0"),
        ({"lr": pl.lit(0.0)}, "training 'cosine' has no learning rate above 0"),
        ({"lr": pl.col("step") * 1e-9}, "training 'cosine' rises up to its last step, 19800"),
        ({"params": pl.when(pl.col("step") < 500).then(1e8).otherwise(2e8)}, "params is 1e.08 in some runs and 2e.08"),
        ({"weight.a": pl.lit(1.0) - (pl.col("run") == "wsd") * 0.5}, "weight.a is 0.5 in some runs and 1 in others"),
    ],
)
def test_impossible_schedules_are_one_line(change, message):
    frame = table("annealing", ["cosine", "wsd"]).with_columns(**change)
    with pytest.raises(SchemaError, match=message) as caught:
        fit(frame, law="annealing", draws=2)
    assert "\n" not in str(caught.value)


def test_too_few_losses_and_another_model_are_one_line():
    frame = table("multi_power", ["cosine"])
    with pytest.raises(FitError, match="4 losses after warming up cannot determine the 7 parameters of multi_power"):
        fit(frame.head(7), law="multi_power")
    report = fit(frame.with_columns(params=1e8), law="annealing", draws=2)
    assert any("the fit has one training, cosine" in note for note in report.notes)
    with pytest.raises(SchemaError, match="of a model of 1e.08 parameters, and run 'cosine' has 2e.08"):
        predict(report, frame.with_columns(params=2e8))
    with pytest.raises(SchemaError, match="--law annealing needs a column 'lr'"):
        predict(report, frame.drop("lr"))


def test_the_same_arguments_give_the_same_bytes():
    frame = table("annealing", ["cosine", "wsd"])
    first, second = (json.dumps(fit(frame, law="annealing", draws=3).record) for _ in range(2))
    assert first == second


def test_rows_keep_their_places():
    frame = table("annealing", ["wsd", "cosine"]).sample(fraction=1.0, shuffle=True, seed=1)
    runs = schedule_rows.read(_runs(frame), "annealing")
    assert [plan.run for plan in runs.schedules] == ["cosine", "wsd"]
    for plan, rows in zip(runs.schedules, runs.rows, strict=True):
        assert frame["run"].gather(rows).unique().to_list() == [plan.run]
        assert frame["step"].gather(rows).to_list() == plan.steps.tolist()


def _runs(frame):
    from curate.runs import run_table

    return run_table.read(frame, absent=schedule_rows.ABSENT)


def test_the_interval_widens_beyond_the_longest_fitted_training():
    fit_of_curves = fitted("annealing", ["cosine", "wsd"])
    near, far = (schedule("constant", steps=steps, every=steps // 10) for steps in (STEPS, 100 * STEPS))
    widths = []
    for plan in (near, far):
        low, high = fit_of_curves.interval(plan)
        widths.append(np.log(high / low)[-1])
    # The variance of the error of the law is 1 + ln(100) = 5.6 times as large.
    assert 1.8 * widths[0] < widths[1] < 4 * widths[0]
    assert float(fit_of_curves._growth(np.array([10, STEPS - 1]))[1]) == 1.0
    assert float(fit_of_curves._growth(np.array([round(STEPS * np.e**3) - 1]))[0]) == pytest.approx(2.0, rel=1e-4)


def test_a_law_of_schedules_predicts_no_metric(tmp_path):
    rows = table("annealing", ["cosine", "wsd"], every=500)
    with pytest.raises(SchemaError, match="predicts the loss at each step of a schedule and no metric. Leave --metric"):
        predict(fit(rows, law="annealing", draws=2, eval="web"), rows, metric="acc")
    with pytest.raises(SchemaError, match="--target x names the column distance.x, which only the law transport reads"):
        predict(fit(rows, law="annealing", draws=2, eval="web"), rows, target="x")
