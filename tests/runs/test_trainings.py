"""Which rows form a training, how far each had come, and what is refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import SchemaError
from curate.runs import run_table
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs
from curate.runs.trainings import annealing_areas

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"


def table(trainings=3, rows=5, **columns):
    """Trainings of several mixtures with evenly spaced checkpoints, whose names do not tell."""
    share = np.repeat(np.linspace(0.2, 0.6, trainings), rows)
    step = np.tile(np.arange(1, rows + 1), trainings)
    values = {
        "run": [f"r{i:02}" for i in range(trainings * rows)],
        "params": 1e8,
        "tokens": 1e9 * step,
        "weight.a": share,
        "weight.b": 1 - share,
        "loss.x": 3 + 1 / step + share,
        **columns,
    }
    return pl.DataFrame(values)


def read(frame: pl.DataFrame, checkpoints="auto") -> Runs:
    return run_table.read(frame, checkpoints=checkpoints)


def clusters(frame: pl.DataFrame, checkpoints="auto") -> list[int]:
    return read(frame, checkpoints).clusters.tolist()


def told(frame: pl.DataFrame) -> pl.DataFrame:
    """The same table, with names RUN@STEP."""
    names = [f"t{i // 5}@{i % 5}" for i in range(len(frame))]
    return frame.with_columns(run=pl.Series(names))


PUBLIC = {
    "slimpajama": 120,
    "overtraining": 95,
    "repetition": 146,
    "chinchilla": 245,
    "pile5_70m": 26,
    "pile5_160m": 26,
    "pile5_305m": 26,
    "regmix_1m": 512,
    "cpt_python": 4,
}


@pytest.mark.parametrize(("name", "count"), PUBLIC.items())
def test_trainings_of_public_tables(name, count):
    path = SHARED / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"no table {path}")
    runs = read(path).trained()
    finished = runs.finished()
    assert runs.trainings.count == len(finished) == count
    longest = runs.frame.group_by(pl.Series(runs.clusters)).agg(pl.col("tokens").max())["tokens"]
    assert sorted(finished.frame["tokens"]) == sorted(longest)
    assert (runs.progress > 0).all() and (runs.progress <= 1).all() and (finished.progress == 1).all()


def test_evenly_spaced_tokens_of_equal_settings_are_checkpoints():
    runs = read(table())
    assert runs.clusters.tolist() == np.repeat([0, 1, 2], 5).tolist()
    assert runs.progress.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0] * 3)
    assert runs.schedules == "assumed"
    assert "15 rows are taken for checkpoints of 3 trainings" in runs.trainings.notes[0]
    assert "--checkpoints no" in runs.trainings.notes[0]


@pytest.mark.parametrize(
    "frame",
    [
        table(rows=3),
        table(tokens=1e9 * np.tile([1, 2, 4, 8, 16], 3)),
        table(corpus=[f"c{i % 5}" for i in range(15)]),
        table(seed=list(range(15))),
        table(keep=np.tile([0.2, 0.4, 0.6, 0.8, 1], 3)),
        table(tokens=1e9 * np.tile([1, 2, 3, 4, 4], 3)),
    ],
    ids=["three rows", "doubling", "text", "seeds", "kept shares", "equal tokens"],
)
def test_other_rows_are_runs_of_their_own(frame):
    runs = read(frame)
    assert runs.trainings.count == len(frame) and (runs.progress == 1).all()
    assert runs.recipes().progress is None
    assert runs.finished() is runs


def test_a_table_without_losses_holds_finished_runs():
    plans = table().drop("loss.x")
    runs = run_table.read(plans, losses=False)
    assert runs.trainings.count == 15 and runs.recipes().progress is None
    planned = run_table.read(plans.with_columns(planned_tokens=pl.lit(5e9)), losses=False)
    assert planned.progress.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0] * 3)


def test_even_lengths_of_one_mixture_among_many_uneven_ones_are_chance():
    tokens = 1e9 * np.concatenate([[1, 2, 3, 4, 5], np.tile([1, 2, 4, 8, 16], 3)])
    assert read(table(4, tokens=tokens)).trainings.count == 20


def test_missing_checkpoints_do_not_matter():
    frame = table(rows=10).with_row_index().filter(~pl.col("index").is_in([2, 13, 17, 21])).drop("index")
    assert read(frame).trainings.count == 3


def test_checkpoints_yes_and_no_override():
    doubling = table(tokens=1e9 * np.tile([1, 2, 4, 8, 16], 3))
    assert read(doubling, "yes").trainings.count == 3
    assert read(table(), "no").trainings.count == 15 and (read(table(), "no").progress == 1).all()
    assert read(told(table()), "no").trainings.count == 15


def test_checkpoints_yes_without_a_sign_says_what_to_add():
    with pytest.raises(SchemaError, match="Add a column training, or name the runs TRAINING@STEP") as error:
        clusters(table(seed=list(range(15))), "yes")
    assert "\n" not in str(error.value)


def test_a_column_step_without_a_sign_gives_a_note():
    runs = read(table(tokens=1e9 * np.tile([1, 2, 4, 8, 16], 3), step=np.tile([1, 2, 4, 8, 16], 3)))
    assert "Add a column training, or use --checkpoints yes" in runs.trainings.notes[0]


def test_trainings_of_one_mixture_and_size_without_a_sign_give_a_note():
    """Trainings of different lengths have checkpoints at the same tokens. They used to be runs without a word."""
    tokens = 1e9 * np.concatenate([np.arange(1, 5) * length for length in (1, 2, 4)])
    frame = table(1, 12, tokens=tokens)
    (note,) = read(frame).trainings.notes
    assert note.startswith(
        "4 of 12 rows have the same mixture, size, unique tokens, seed and tokens as another row. If"
    )
    (note,) = read(frame.with_columns(step=pl.int_range(12))).trainings.notes
    assert note.startswith("12 of 12 rows") and "there is a column step. Are they checkpoints?" in note
    for column in ("lr", "seed"):
        assert read(frame.with_columns(pl.int_range(1, 13).alias(column))).trainings.notes == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("soon", "planned_tokens of run 'r02' is \"soon\", which is not a number"),
        ("-1", "planned_tokens of run 'r02' is -1: it must be positive and finite; 1 such rows. Correct it"),
        ("inf", "is inf: it must be positive and finite"),
        ("0", "is 0: it must be positive and finite"),
    ],
)
def test_a_wrong_plan_is_refused_because_its_run_would_count_as_finished(value, message):
    plans = pl.when(pl.int_range(15) == 2).then(pl.lit(value)).otherwise(pl.lit("1e10"))
    with pytest.raises(SchemaError, match=message) as caught:
        clusters(table().with_columns(planned_tokens=plans))
    assert "\n" not in str(caught.value)
    empty = table().with_columns(planned_tokens=plans.replace(value, None))
    assert read(empty).trainings.progress.max() <= 1


def test_an_unknown_value_of_checkpoints_is_refused():
    with pytest.raises(SchemaError, match="use auto, yes, no"):
        clusters(table(), "maybe")


@pytest.mark.parametrize("columns", [{}, {"training": [f"t{i // 5}" for i in range(15)]}])
def test_names_and_the_column_training_tell(columns):
    doubling = table(tokens=1e9 * np.tile([1, 2, 4, 8, 16], 3), **columns)
    runs = read(doubling if columns else told(doubling))
    assert runs.clusters.tolist() == np.repeat([0, 1, 2], 5).tolist() and not runs.trainings.notes
    assert runs.trainings.names[5] == "t1"


def test_one_name_with_several_seeds_is_several_trainings():
    both = pl.concat([told(table()).with_columns(seed=pl.lit(seed)) for seed in (0, 1)])
    assert read(both).trainings.count == 6


def test_one_name_without_at_in_several_sizes_is_several_trainings():
    frame = table(rows=1).with_columns(run=pl.lit("web"), params=pl.Series([1e8, 2e8, 4e8]))
    assert read(frame).trainings.count == 3


def test_start_rows_belong_to_no_training():
    start = table(2, 1).with_columns(run=pl.lit("start"), tokens=pl.lit(0.0), params=pl.Series([1e8, 2e8]))
    runs = read(pl.concat([start, told(table())]))
    assert runs.trainings.count == 5
    assert runs.trained().trainings.count == 3


def bad(**columns):
    return told(table()).with_columns(**{name: pl.Series(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (bad(params=[1e8] * 7 + [2e8] + [1e8] * 7), r"training 't1' have params from 1e\+08 to 2e\+08"),
        (
            bad(
                **{
                    "weight.a": [0.2] * 5 + [0.4] * 4 + [0.5] + [0.6] * 5,
                    "weight.b": [0.8] * 5 + [0.6] * 4 + [0.5] + [0.4] * 5,
                }
            ),
            "training 't1' have weight.a from 0.4 to 0.5: a training has one mixture",
        ),
        (bad(run=["t0@1"] * 15), "are these two trainings of one name"),
        (bad(planned_tokens=[5e9] * 14 + [6e9]), r"training 't2' have planned_tokens from 5e\+09 to 6e\+09"),
        (bad(planned_tokens=[4e9] * 5 + [5e9] * 10), r"run 't0@4' has tokens = 5e\+09 and planned_tokens = 4e\+09"),
    ],
    ids=["sizes", "mixtures", "two of one name", "two plans", "more than planned"],
)
def test_bad_trainings_are_one_line(frame, message):
    if "two trainings" in message:
        frame = frame.with_columns(pl.lit(0.4).alias("weight.a"), pl.lit(0.6).alias("weight.b"))
    with pytest.raises(SchemaError, match=message) as error:
        clusters(frame)
    assert "\n" not in str(error.value)


def test_a_step_more_than_planned_is_rounding():
    runs = read(bad(planned_tokens=[4.96e9] * 15))
    assert runs.progress.max() == 1
    assert read(bad(planned_tokens=[4.5e9] * 15, batch_tokens=[1e9] * 15)).progress.max() == 1


def test_planned_tokens_give_the_progress():
    runs = read(bad(planned_tokens=[10e9] * 15))
    assert runs.schedules == "planned_tokens"
    assert runs.progress.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5] * 3)
    # The last row of a training that was stopped is no finished run.
    assert runs.finished().progress.tolist() == pytest.approx([0.5] * 3)
    assert runs.recipes().remaining.tolist() == pytest.approx((1 - runs.progress).tolist())


def test_planned_tokens_join_two_rows_of_equal_settings():
    frame = table(rows=2, planned_tokens=[2e9] * 6)
    assert read(frame).trainings.count == 3
    assert read(frame.drop("planned_tokens")).trainings.count == 6


def test_a_rate_that_falls_to_a_fifth_says_that_trainings_are_complete():
    cosine = np.tile([1.0, 0.8, 0.5, 0.2, 0.05], 3)
    assert read(bad(lr=cosine)).schedules == "lr"
    assert read(bad(lr=[1e-3] * 15)).schedules == "assumed"
    mixed = read(bad(lr=np.concatenate([cosine[:10], [1.0, 0.8, 0.5, 0.4, 0.3]])))
    assert mixed.schedules == "assumed"
    assert "1 of 3 trainings has not fallen below 20% of its peak" in mixed.trainings.notes[0]


def test_what_is_last_is_decided_for_each_eval():
    other = [1.0, 2.0, 3.0, None, None] * 2 + [1.0, 2.0, 3.0, 4.0, 5.0]
    runs = read(told(table(**{"loss.y": other}))).measured(("x", "y"))
    finished = runs.finished(("x", "y"))
    assert finished.frame["run"].to_list() == ["t0@2", "t0@4", "t1@2", "t1@4", "t2@4"]
    assert np.isfinite(finished.loss("x", missing=True)).tolist() == [False, True, False, True, True]
    assert finished.loss("y", missing=True)[[0, 2, 4]].tolist() == [3.0, 3.0, 5.0]
    assert finished.clusters.tolist() == [0, 0, 1, 1, 2]
    assert runs.finished(("x",)).frame["run"].to_list() == ["t0@4", "t1@4", "t2@4"]


def test_rows_that_are_left_out_do_not_change_the_trainings():
    losses = [None, 3.0, None, None, 2.0] * 3
    runs = read(table(**{"loss.x": losses})).measured(("x",))
    assert len(runs) == 6 and runs.trainings.count == 3
    assert runs.progress.tolist() == pytest.approx([0.4, 1.0] * 3)


def test_the_order_of_the_rows_does_not_matter():
    frame, order = told(table()), np.random.default_rng(0).permutation(15)
    runs, mixed = read(frame), read(frame[order])
    assert mixed.clusters.tolist() == runs.clusters[order].tolist()
    assert mixed.progress.tolist() == runs.progress[order].tolist()


def test_areas_are_those_of_the_annealing_law():
    rates = np.interp(np.arange(1, 5001), [1000, 2000, 3000, 4000, 5000], [1, 0.9, 0.6, 0.3, 0.1])
    momentum, s2 = 0.0, []
    for before, rate in zip([rates[0], *rates], rates, strict=False):
        momentum = 0.999 * momentum + before - rate
        s2.append(momentum + (s2[-1] if s2 else 0.0))
    runs = read(bad(lr=np.tile([1, 0.9, 0.6, 0.3, 0.1], 3), step=np.tile(np.arange(1, 6) * 1000, 3)))
    areas = runs.recipes().areas
    assert areas is not None
    steps = np.arange(1, 6) * 1000 - 1
    np.testing.assert_allclose(areas[:5], np.column_stack([rates.cumsum()[steps], np.array(s2)[steps]]), rtol=1e-9)
    tokens = bad(lr=np.tile([1, 0.9, 0.6, 0.3, 0.1], 3), batch_tokens=[1e6] * 15)
    np.testing.assert_allclose(read(tokens).recipes().areas, areas)
    assert annealing_areas.of_rows(bad(lr=[1.0] * 15, batch_tokens=[1e6] * 15), runs.clusters) is None


def test_recipes_carry_progress_and_areas_through_rows():
    ones = torch.ones(4, 2, dtype=torch.float64)
    line = torch.arange(1.0, 5.0, dtype=torch.float64)
    for fields in (
        {},
        {"progress": line / 4},
        {"distance": line},
        {"areas": ones},
        {"progress": line / 4, "areas": ones},
    ):
        recipes = Recipes(ones / 2, line, line, ones, **fields)
        single = Recipes.single(tuple(field[2] for field in recipes.rows))
        taken = recipes.take(np.array([2]))
        for name in ("weights", "distance", "progress", "areas"):
            a, b = getattr(single, name), getattr(taken, name)
            assert (a is None and b is None) or torch.equal(a, b)
