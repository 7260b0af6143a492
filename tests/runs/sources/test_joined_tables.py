"""Several tables are one run table: what a table lacks, whose runs share a name, and what is refused."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.runs import run_table
from pipelines.shared.cli import run

SMALL = pl.DataFrame(
    {
        "run": [f"r{i}" for i in range(6)],
        "params": 7e7,
        "tokens": [1e9, 2e9, 3e9, 4e9, 5e9, 6e9],
        "weight.web": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        "weight.code": [1.0, 0.8, 0.6, 0.4, 0.2, 0.0],
        "loss.val": [3.5, 3.4, 3.3, 3.2, 3.1, 3.0],
    }
)
LARGE = SMALL.with_columns(pl.lit(4.1e8).alias("params"), pl.col("loss.val") - 0.5)


@pytest.fixture
def files(tmp_path):
    SMALL.write_csv(tmp_path / "small.csv")
    LARGE.write_parquet(tmp_path / "large.parquet")
    return tmp_path / "small.csv", tmp_path / "large.parquet"


def test_runs_of_one_name_are_told_apart(files):
    runs = run_table.read(list(files))
    assert runs.frame["run"].to_list() == [*(f"large:r{i}" for i in range(6)), *(f"small:r{i}" for i in range(6))]
    assert runs.notes == (
        "6 run names stand for different trainings in different tables, such as r0, r1, r2. The name of the table is "
        "put before them",
    )
    assert len(set(runs.clusters.tolist())) == 12


def test_the_order_of_the_tables_changes_nothing(files, tmp_path):
    records = []
    for order in (files, files[::-1]):
        run("fit", *order, "--law", "chinchilla", "--starts", 2, "--draws", 3, "--out", tmp_path / "fit.json")
        record = json.loads((tmp_path / "fit.json").read_text())
        assert record["rows"] == 12
        assert record["made_by"].pop("arguments")["runs"] == [str(path) for path in order]
        assert list(record["made_by"]["inputs"]) == sorted(map(str, files))
        records.append(record)
    assert records[0] == records[1]


def test_a_folder_stands_for_its_tables(files):
    runs = run_table.read(files[0].parent)
    assert runs.frame.equals(run_table.read(list(files)).frame)
    with pytest.raises(SchemaError, match=r"is a folder without a table \(\.parquet, "):
        (files[0].parent / "empty").mkdir()
        run_table.read(files[0].parent / "empty")


@settings(max_examples=20, deadline=None)
@given(parts=st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_a_table_in_several_parts_is_the_same_table(parts):
    table = pl.concat([SMALL, LARGE.with_columns(pl.col("run") + "x")])
    split = [table.filter(pl.Series(parts) == part) for part in set(parts)]
    joined = run_table.read(split).frame
    assert joined.sort("run").equals(run_table.read(table).frame.select(joined.columns).sort("run"))


def test_tables_in_memory_and_files_are_joined(files, tmp_path):
    runs = run_table.read([SMALL, files[1]])
    assert len(runs) == 12
    assert runs.frame["run"].str.starts_with("the run table 1:").sum() == 6


def test_checkpoints_of_one_training_in_two_files_keep_their_name(tmp_path):
    early = SMALL.with_columns(pl.col("run") + "@1")
    late = SMALL.with_columns(pl.col("run") + "@2", pl.col("tokens") * 10, pl.col("loss.val") - 1)
    runs = run_table.read([early, late])
    assert runs.frame["run"].str.contains(":").sum() == 0
    assert runs.notes == ()


def test_tables_that_name_their_trainings_differently_keep_them():
    spaced = pl.concat(
        SMALL.with_columns(
            run=pl.lit(f"s{share}-") + pl.col("run"), **{"weight.web": pl.lit(share), "weight.code": pl.lit(1 - share)}
        )
        for share in (0.25, 0.5)
    )
    stepped = SMALL.with_columns(
        run=pl.lit("r@") + pl.col("run"), params=pl.lit(4e8), **{"weight.web": pl.lit(1.0), "weight.code": pl.lit(0.0)}
    )
    own = SMALL.with_columns(run=pl.col("run") + "own", training=pl.col("run"), params=pl.lit(1e9))
    runs = run_table.read([spaced, stepped, own])
    assert len(set(runs.clusters.tolist())) == 2 + 1 + 6
    assert any("12 rows are taken for checkpoints of 2 trainings" in note for note in runs.notes)
    assert len(set(run_table.read([spaced, stepped, own], checkpoints="no").clusters.tolist())) == 24


def test_what_a_table_lacks_is_named(files):
    narrow = SMALL.drop("weight.code", "loss.val").with_columns(
        pl.lit(1.0).alias("weight.web"), pl.lit(2.0).alias("loss.other"), pl.col("run") + "n"
    )
    wide = LARGE.with_columns(pl.lit(1e9).alias("unique.code"))
    runs = run_table.read([narrow, wide])
    assert runs.pools == ("web", "code")
    recipes = runs.recipes()
    assert recipes.weights[:6].tolist() == [[1.0, 0.0]] * 6
    assert recipes.unique[:6].isinf().all() and recipes.unique[6:, 1].tolist() == [1e9] * 6
    assert runs.notes == (
        "the run table 1 has no weight.code: its runs used none of these pools",
        "the run table 1 has no unique.code: these pools never run out in its runs",
        "the run table 1 has no loss.val: these evals were not measured in its runs",
        "the run table 2 has no loss.other: these evals were not measured in its runs",
    )


def test_spellings_that_hardly_differ_are_noted():
    other = LARGE.rename({"loss.val": "loss.Val"}).with_columns(pl.col("run") + "x")
    notes = run_table.read([SMALL, other]).notes
    assert notes[-1] == (
        "column loss.val of the run table 1 and column loss.Val of the run table 2 are read as two evals, although "
        "their names differ only in capitals or signs. If they are one, write the name loss.val in both tables"
    )


def test_each_table_has_its_own_units(tmp_path):
    percents = LARGE.with_columns(pl.col("weight.web", "weight.code") * 100, pl.col("run") + "x")
    runs = run_table.read([SMALL, percents])
    assert runs.recipes().weights.sum(dim=1).tolist() == pytest.approx([1.0] * 12)
    millions = LARGE.with_columns(pl.col("params") / 1e6)
    with pytest.raises(SchemaError, match="the run table 2: the median of params is 410"):
        run_table.read([SMALL, millions])


def test_text_in_one_table_and_numbers_in_another_are_joined():
    texts = LARGE.with_columns(pl.lit("x").alias("group"), pl.lit("410M").alias("params"), pl.col("run") + "x")
    runs = run_table.read([SMALL.with_columns(pl.lit(3).alias("group")), texts])
    assert runs.frame["group"].to_list() == ["3"] * 6 + ["x"] * 6
    assert runs.frame["params"].to_list() == [7e7] * 6 + [4.1e8] * 6


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([SMALL, SMALL], "the run table 1 and the run table 2 hold the same rows. Leave one of them out"),
        ([SMALL, LARGE.drop("weight.web", "weight.code")], r"table 2 has no weight columns, and another table has"),
        ([], "no run table is named"),
    ],
)
def test_tables_that_cannot_be_joined_are_one_line(tables, message):
    with pytest.raises(SchemaError, match=message) as caught:
        run_table.read(tables)
    assert "\n" not in str(caught.value)


def test_one_run_in_two_tables_is_refused_by_fit(tmp_path, files):
    SMALL.with_columns(pl.lit("again").alias("note")).write_csv(tmp_path / "again.csv")
    with pytest.raises(SchemaError, match="run 'r0' at 1e.09 tokens appears more than once"):
        run("fit", files[0], tmp_path / "again.csv", "--out", tmp_path / "fit.json")
