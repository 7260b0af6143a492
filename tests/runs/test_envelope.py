"""Sweeps of learning rates and batch sizes: the minimum of a planted quadratic, edges, and sweeps that show none."""

import json

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.runs import run_table
from curate.runs.envelope import envelope

RATES, BATCHES = np.geomspace(1e-4, 1.6e-3, 5), np.geomspace(2.5e5, 4e6, 5)
BEST = (5e-4, 9e5)  # between the values of the sweep


def sweep(floor=3.0, *, best=BEST, noise=0.0, seed=0, rates=RATES, batches=BATCHES, **columns):
    """A sweep whose loss is floor + .02 u^2 + .01 v^2 + .01 u v in the log distances from ``best``."""
    rng = np.random.default_rng(seed)
    rows = []
    for rate in rates:
        for batch in batches:
            u, v = np.log(rate / best[0]), np.log(batch / best[1])
            loss = floor + 0.02 * u**2 + 0.01 * v**2 + 0.01 * u * v
            # Rows of one name would be checkpoints of one training.
            budget = f"{columns.get('params', 1e8):g}-{columns.get('tokens', 2e9):g}"
            rows.append((f"{budget}-{rate:.2e}-{batch:.2e}", rate, batch, loss))
    frame = pl.DataFrame(rows, schema=["run", "lr", "batch_tokens", "loss.web"], orient="row")
    jitter = noise * rng.standard_normal(len(frame))
    base = {"params": 1e8, "tokens": 2e9, **columns}
    return frame.with_columns(
        pl.col("loss.web") + pl.Series(jitter), **{name: pl.lit(value) for name, value in base.items()}
    )


def lowest(frame, columns=("lr", "batch_tokens")):
    return envelope(run_table.read(frame), columns)


def test_a_planted_minimum_comes_back_for_every_sweep():
    frame = pl.concat([sweep(3.0), sweep(2.5, params=4e8, best=(3e-4, 2e6))])
    result = lowest(frame)
    assert result.runs.frame["loss.web"].to_list() == pytest.approx([3.0, 2.5], abs=1e-9)
    assert result.runs.frame["params"].to_list() == [1e8, 4e8]
    assert "lr" not in result.runs.frame.columns
    assert result.minima["lr"].to_list() == pytest.approx([5e-4, 3e-4], rel=1e-6)
    assert result.minima["batch_tokens"].to_list() == pytest.approx([9e5, 2e6], rel=1e-6)
    assert result.minima["how"].to_list() == ["quadratic", "quadratic"]
    assert result.runs.notes == ("--envelope: 50 runs of 2 sweeps are replaced by the lowest losses",)


def test_one_column_or_a_sweep_that_varies_one_of_two():
    frame = sweep(batches=BATCHES[2:3])
    for columns in (("lr",), ("lr", "batch_tokens")):
        table = pl.concat([frame, sweep(params=2e8)]) if len(columns) == 2 else frame
        minimum = lowest(table, columns).runs.frame["loss.web"][0]
        u = np.linspace(np.log(RATES[0]), np.log(RATES[-1]), 100_001) - np.log(BEST[0])
        v = np.log(BATCHES[2] / BEST[1])
        assert minimum == pytest.approx(np.min(3 + 0.02 * u**2 + 0.01 * v**2 + 0.01 * u * v), abs=1e-8)


@pytest.mark.parametrize("best", [(5e-3, 9e5), (5e-4, 5e7), (1e-5, 1e4), (4e-4, 1e4)])
def test_a_minimum_stays_inside_the_sweep_and_its_edge_is_named(best):
    """Brute force over the box of the sweep finds the same lowest value."""
    frame = sweep(best=best)
    result = lowest(frame.filter(pl.col("loss.web") < frame["loss.web"].min() * 1.1))
    u, v = (np.log(ends / b) for ends, b in zip((RATES, BATCHES), best, strict=True))
    grid = [np.linspace(x.min(), x.max(), 801) for x in (u, v)]
    u, v = np.meshgrid(*grid)
    assert result.runs.frame["loss.web"][0] == pytest.approx(np.min(3 + 0.02 * u**2 + 0.01 * v**2 + 0.01 * u * v), 1e-6)
    assert result.minima["how"][0] == "edge"
    assert "in 1 of 1 cases the lowest loss lies at the edge of its sweep" in result.runs.notes[-1]


def test_a_quadratic_is_not_too_low_as_the_best_of_many_noisy_runs_is():
    frames = [sweep(noise=0.01, seed=seed, params=1e8 + seed) for seed in range(60)]
    table = pl.concat(frames)
    fitted = lowest(table).runs.frame["loss.web"].to_numpy()
    best = table.group_by("params").agg(pl.col("loss.web").min())["loss.web"].to_numpy()
    assert abs(fitted.mean() - 3.0) < 0.002
    assert best.mean() < 3.0 - 0.003
    assert np.abs(fitted - 3).mean() < np.abs(best - 3).mean()


def test_runs_that_diverged_do_not_move_the_minimum():
    frame = sweep().with_columns(
        pl.when(pl.col("lr") > 1e-3).then(pl.col("loss.web") + 4).otherwise("loss.web").alias("loss.web")
    )
    assert lowest(frame).runs.frame["loss.web"][0] == pytest.approx(3.0, abs=1e-9)


CROSS = (pl.col("lr").is_between(3e-4, 5e-4)) | (pl.col("batch_tokens").is_between(9e5, 2e6))


@pytest.mark.parametrize(
    ("frame", "how"),
    [
        (sweep(rates=RATES[1:4], batches=BATCHES[1:4]).filter(CROSS), "best run"),
        (sweep(rates=RATES[:2], batches=BATCHES[:2]), "best run at edge"),
        (sweep().with_columns((6.0 - pl.col("loss.web")).alias("loss.web")), "best run at edge"),
        (sweep(rates=RATES[:2]), "best run at edge"),
        (sweep(0.5, best=(1e1, 1e12)), "best run at edge"),
    ],
    ids=["too few", "a corner", "concave", "two rates", "far outside"],
)
def test_a_sweep_without_a_minimum_keeps_its_best_run(frame, how):
    """Where that run lies at the edge, the true minimum may be lower. Elsewhere chance made the loss too low."""
    result = lowest(frame)
    assert result.runs.frame["loss.web"][0] == pytest.approx(frame["loss.web"].min(), rel=1e-12)
    assert result.minima["how"].to_list() == [how]
    words = "no quadratic with a minimum fits" if how == "best run" else "the lowest loss lies at the edge of"
    assert f"in 1 of 1 cases {words} the sweep (first: loss.web of".replace("of the", "of its") in result.runs.notes[-1]


def test_counts_of_whole_batches_are_equal_and_checkpoints_are_not():
    """With another batch size, the same budget is another count of tokens."""
    budgets = [(n, d) for n in (1e8, 4e8) for d in (2.003e9, 4.003e9)]
    frame = pl.concat([sweep(2.5 + 1e8 / n, params=n, tokens=d) for n, d in budgets])
    whole = (pl.col("tokens") / pl.col("batch_tokens")).floor() * pl.col("batch_tokens")
    result = lowest(frame.with_columns(tokens=whole, planned_tokens=whole))
    assert result.runs.frame["loss.web"].to_list() == pytest.approx([3.5, 3.5, 2.75, 2.75], abs=1e-9)
    assert any("of a sweep differ by up to 0.15%, and count as equal" in note for note in result.runs.notes)
    # Of a short training, one batch is more than 1 %.
    short = frame.filter(pl.col("tokens") < 3e9).with_columns(tokens=pl.col("tokens") / 50)
    result = lowest(short.with_columns(tokens=whole))
    assert result.runs.frame["loss.web"].to_list() == pytest.approx([3.5, 2.75], abs=1e-9)
    checkpoints = [
        sweep(3 + 0.1 * i).with_columns(
            pl.col("run") + f"@{i}", tokens=pl.lit(2e9 * (1 + i / 200)), training=pl.col("run")
        )
        for i in range(3)
    ]
    result = lowest(pl.concat(checkpoints))
    assert result.runs.frame["loss.web"].to_list() == pytest.approx([3.0, 3.1, 3.2], abs=1e-9)
    assert result.runs.trainings.count == 1


def test_the_order_of_the_rows_and_start_rows_do_not_matter():
    frame = pl.concat([sweep(3.0), sweep(2.5, params=4e8)]).with_columns(pl.col("loss.web").round(2))
    start = pl.DataFrame({"run": ["start"], "tokens": [0.0], "params": [1e8], "loss.web": [11.0]})
    first = lowest(frame).runs
    for seed in range(3):
        shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
        runs = lowest(pl.concat([start, shuffled], how="diagonal")).runs
        assert runs.frame.select(first.frame.columns).sort("run").equals(first.frame.sort("run"))


def test_each_loss_has_its_minimum_and_metrics_are_read_at_the_first():
    frame = sweep()
    u = (pl.col("lr") / BEST[0]).log()
    frame = frame.with_columns(
        ((pl.col("lr") / 3e-4).log() ** 2 * 0.03 + 1.0 + 0 * u).alias("loss.code"),
        (0.4 + 0.05 * u).alias("metric.acc"),
        pl.lit(None, dtype=pl.Float64).alias("metric.none"),
    )
    result = lowest(frame.with_columns(pl.col("loss.code") + (pl.col("batch_tokens") / 1e6).log() ** 2 * 0.01))
    row = result.runs.frame.row(0, named=True)
    assert row["loss.code"] == pytest.approx(1.0, abs=1e-9)
    assert row["metric.acc"] == pytest.approx(0.4, abs=1e-9)
    assert row["metric.none"] is None
    assert result.minima["eval"].to_list() == ["web", "code"]


def test_a_run_beside_the_sweeps_is_kept_and_other_columns_are_named():
    single = sweep(2.7, params=3e8, rates=RATES[1:2], batches=BATCHES[1:2])
    frame = pl.concat([sweep(corpus="x"), sweep(corpus="y"), single.with_columns(corpus=pl.lit("x"))])
    frame = frame.with_columns(dropout=pl.Series(np.arange(len(frame)) % 2))
    result = lowest(frame)
    assert len(result.runs) == 3
    assert result.runs.frame["corpus"].to_list() == ["x", "y", "x"]
    assert result.runs.frame["loss.web"][2] == single["loss.web"][0]
    assert any("1 of 51 rows belong to no sweep" in note for note in result.runs.notes)
    assert any("dropout differs within sweeps too" in note for note in result.runs.notes)


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        ({}, ("lr", "batch_tokens", "seed"), "names 3 columns. Name one or two"),
        ({}, ("lr", "lr"), "--envelope lr,lr names the same column twice"),
        ({}, ("lr", ""), "names a column without a name"),
        ({}, ("params",), "--envelope params: params is part of the recipe, or a result. Name columns of settings"),
        ({}, ("lr", "loss.web"), "loss.web is part of the recipe, or a result"),
        ({"run": pl.lit("r"), "lr": pl.lit(1e-3) * (1 + pl.int_range(25) // 10)}, ("lr",), "run 'r' appears more than"),
        ({}, ("rate",), "has no column 'rate'"),
        ({"lr": pl.lit(0.0)}, ("lr",), "is 0: --envelope needs a positive number in every row; 25 such rows"),
        ({"lr": pl.lit(1e-3)}, ("lr",), "lr is 0.001 in all 25 runs: there is no sweep of it"),
        ({"tokens": pl.int_range(1, 26) * 1e9}, ("lr",), "no two runs differ in lr alone, so there is no sweep"),
        ({"loss.web": pl.lit("oops")}, ("lr",), "which is not a number"),
    ],
)
def test_what_is_no_sweep_is_one_line(change, columns, message):
    with pytest.raises(SchemaError, match=message) as caught:
        lowest(sweep().with_columns(**change), columns)
    assert "\n" not in str(caught.value)


def test_the_command_fits_the_lowest_losses(cli, tmp_path):
    sizes = [(n, d) for n in (1e7, 3e7, 1e8, 3e8) for d in (1e9, 4e9)]
    common = ["--law", "chinchilla", "--starts", "2", "--draws", "2", "--out", tmp_path / "fit.json"]
    frame = pl.concat(
        [sweep(1.7 + 400 / n**0.34 + 2000 / d**0.36, params=n, tokens=d, best=(5e-4, 1e6)) for n, d in sizes]
    )
    frame.write_csv(tmp_path / "sweep.csv")
    reply = cli("fit", tmp_path / "sweep.csv", "--envelope", "lr,batch_tokens", "--holdout", "random:0.2", *common)
    assert reply.code == 0, reply.err
    assert "Lowest losses of the sweeps:" in reply.out
    assert "200 runs of 8 sweeps are replaced by the lowest losses" in reply.out
    record = json.loads((tmp_path / "fit.json").read_text())
    assert record["rows"] == 8
    assert record["made_by"]["arguments"]["envelope"] == "lr,batch_tokens"
    reply = cli("fit", tmp_path / "sweep.csv", "--envelope", "lr", "--law", "annealing", "--out", tmp_path / "no.json")
    assert reply.code == 1 and "--law annealing is a curve" in reply.err
