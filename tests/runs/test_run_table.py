"""Run tables: what is refused, and how runs become recipes."""

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.runs import run_table

GOOD = pl.DataFrame(
    {
        "run": ["r0", "r1", "r2"],
        "seed": [0, 0, 1],
        "params": [1e6, 2e6, 1e6],
        "tokens": [1e8, 2e8, 4e8],
        "weight.a": [0.25, 0.5, 1.0],
        "weight.b": [0.75, 0.5, 0.0],
        "unique.a": [1e7, None, 2e7],
        "loss.web": [3.0, 2.5, 2.25],
        "loss.web2": [2.0, 2.5, 3.0],
        "corpus": ["x", "y", "x"],
    }
)


def read(tmp_path, frame, where=None, suffix=".parquet", **keywords):
    path = tmp_path / f"runs{suffix}"
    frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
    return run_table.read(path, where=where, **keywords)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_good_table_becomes_recipes(tmp_path, suffix):
    data = read(tmp_path, GOOD, suffix=suffix)
    recipes = data.recipes()
    assert (data.pools, data.evals, len(data)) == (("a", "b"), ("web", "web2"), 3)
    assert recipes.weights.tolist() == [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]
    assert recipes.unique.tolist() == [[1e7, np.inf], [np.inf, np.inf], [2e7, np.inf]]
    assert recipes.epochs.tolist() == [[2.5, 0.0], [0.0, 0.0], [20.0, 0.0]]
    assert data.loss("web").tolist() == [3.0, 2.5, 2.25]


@pytest.mark.parametrize("column", ["run", "params", "tokens"])
def test_a_missing_column_is_named(tmp_path, column):
    with pytest.raises(SchemaError, match=f"no column '{column}'"):
        read(tmp_path, GOOD.drop(column))


def test_no_loss_is_refused_unless_none_is_wanted(tmp_path):
    without = GOOD.drop("loss.web", "loss.web2")
    with pytest.raises(SchemaError, match=r"no loss\.<eval> column"):
        read(tmp_path, without)
    assert read(tmp_path, without, losses=False).evals == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0, None])
def test_a_bad_loss_names_the_run(tmp_path, bad):
    frame = GOOD.with_columns(pl.Series("loss.web", [3.0, bad, 2.0], dtype=pl.Float64))
    with pytest.raises(SchemaError, match=r"runs\.parquet: loss\.web of run 'r1'"):
        read(tmp_path, frame).loss("web")


def test_an_unknown_eval_lists_the_known(tmp_path):
    with pytest.raises(SchemaError, match=r"no eval 'x': .*runs\.parquet has web, web2"):
        read(tmp_path, GOOD).loss("x")


@pytest.mark.parametrize("weights", [[0.25, 0.5, 0.9], [-0.1, 0.5, 1.0], [float("nan"), 0.5, 1.0]])
def test_weights_off_the_simplex_name_the_run_in_one_line(tmp_path, weights):
    with pytest.raises(SchemaError, match=r"runs\.parquet: .*of run 'r[02]'.*(sum to 1|from 0 to 1)") as caught:
        read(tmp_path, GOOD.with_columns(pl.Series("weight.a", weights))).recipes()
    assert "\n" not in str(caught.value)


def test_the_message_about_many_weights_is_one_line(tmp_path):
    wide = {f"weight.p{i}": [0.06] for i in range(25)}
    data = read(tmp_path, pl.DataFrame({"run": ["r"], "params": [1e6], "tokens": [1e8], "loss.x": [1.0], **wide}))
    with pytest.raises(SchemaError) as caught:
        data.recipes()
    assert "\n" not in str(caught.value)


def test_shares_of_three_digits_are_rescaled(tmp_path):
    data = read(tmp_path, GOOD.with_columns(pl.Series("weight.a", [0.2501, 0.4999, 1.0])))
    assert np.allclose(data.recipes().weights.sum(dim=1), 1, atol=1e-15)


@pytest.mark.parametrize(
    ("column", "bad"),
    [("tokens", 0.0), ("params", -1.0), ("unique.a", 0.0), ("tokens", None), ("tokens", float("inf"))],
)
def test_counts_must_be_positive_and_finite(tmp_path, column, bad):
    with pytest.raises(SchemaError, match=rf"runs\.parquet: {column} of run 'r0' is .*must be positive"):
        read(tmp_path, GOOD.with_columns(pl.Series(column, [bad, 1e7, 1e7], dtype=pl.Float64))).recipes()


def test_an_unknown_pool_is_refused_only_where_used(tmp_path):
    data = read(tmp_path, GOOD)
    with pytest.raises(SchemaError, match="use pool 'b' that the fit never saw; it knows a"):
        data.recipes(("a",))
    only_a = read(tmp_path, GOOD, where="run = 'r2'")
    assert only_a.recipes(("a", "new")).weights.tolist() == [[1.0, 0.0]]


def test_runs_without_shares_are_of_the_only_pool_of_a_fit():
    runs = run_table.read(GOOD.drop("weight.a", "weight.b"))
    for names in (None, ("a",)):
        assert runs.recipes(names).weights.tolist() == [[1.0]] * 3
    with pytest.raises(SchemaError, match=r"has no columns weight.<pool>, and the fit needs the shares of a, b\. Add"):
        runs.recipes(("a", "b"))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("tokens > 1.5e8", ["r1", "r2"]),
        ("loss.web2 > 2.2", ["r1", "r2"]),
        ("loss.web > 2.4 AND weight.a < 0.4", ["r0"]),
        ("loss.web < 2.4 OR loss.web2 < 2.4", ["r0", "r2"]),
        ('"loss.web2" > 2.2 AND loss.web < 2.4', ["r2"]),
        ("corpus = 'x' AND seed = 1", ["r2"]),
        ("corpus != 'loss.web' AND loss.web2>2.2", ["r1", "r2"]),
        ("tokens > 150M", ["r1", "r2"]),
        ("tokens > .15B AND corpus <> '150M'", ["r1", "r2"]),
    ],
)
def test_where(tmp_path, where, kept):
    assert read(tmp_path, GOOD, where=where).frame["run"].to_list() == kept


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("tokens > 1e12", "no rows"),
        ("nosuch > 1", "does not work"),
        ("((", "is no SQL expression"),
        ("tokens > 150_000_000", r"is no SQL expression \(unexpected '_000_000' at its end\)"),
        ("tokens > (SELECT 1)", "has a subquery"),
        ("tokens IN (SELECT a FROM read_csv('no such file'))", "reads a file"),
        ("tokens > 150MB", r"\(unexpected 'MB' at its end\)"),
    ],
)
def test_where_errors_are_one_line(tmp_path, where, message):
    with pytest.raises(SchemaError, match=message) as caught:
        read(tmp_path, GOOD, where=where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["weight.", "unique.", "loss.", "metric."])
def test_a_column_without_a_name_after_its_dot_is_refused(tmp_path, column):
    with pytest.raises(
        SchemaError, match=f"the column '{column}' has no name after its dot. Write one, as in {column}web"
    ):
        read(tmp_path, GOOD.with_columns(pl.lit(1.0).alias(column)))


def test_files_that_are_not_tables(tmp_path):
    with pytest.raises(SchemaError, match="no such run table"):
        run_table.read(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_text("not parquet")
    with pytest.raises(SchemaError, match=r"bad\.parquet cannot be read") as caught:
        run_table.read(tmp_path / "bad.parquet")
    assert "\n" not in str(caught.value)


def test_checkpoints_of_one_training_are_one_cluster(tmp_path):
    twice = pl.concat([GOOD, GOOD.with_columns(pl.col("tokens") * 2, pl.col("run") + "@later")])
    clusters = read(tmp_path, twice).clusters
    assert clusters[:3].tolist() == clusters[3:].tolist()
    assert len(set(clusters.tolist())) == 3
    plain = pl.DataFrame({"run": ["a@1", "a@2", "b@1"], "params": 1e6, "tokens": [1e8, 2e8, 3e8], "loss.x": 1.0})
    assert read(tmp_path, plain).clusters.tolist() == [0, 0, 1]


def test_a_table_without_weights_is_one_pool(tmp_path):
    data = read(tmp_path, GOOD.select("run", "params", "tokens", "loss.web", pl.lit(5e7).alias("unique.all")))
    assert data.pools == ("all",)
    assert data.recipes().weights.tolist() == [[1.0]] * 3
    assert data.recipes().epochs[:, 0].tolist() == [2.0, 4.0, 8.0]


def test_where_reads_a_longer_name_as_itself(tmp_path):
    frame = GOOD.rename({"weight.b": "weight.a-b"})
    assert read(tmp_path, frame, where="weight.a-b > 0.6 OR weight.a = 1").frame["run"].to_list() == ["r0", "r2"]


def test_only_unique_tokens_may_be_unlimited():
    from curate.runs.recipes import recipes

    assert recipes([[1.0]], [1e8], [1e6], [[np.inf]]).epochs.tolist() == [[0.0]]
    with pytest.raises(SchemaError, match="params of row 0 is inf: it must be positive and finite"):
        recipes([[1.0]], [1e8], [np.inf])


def test_tables_in_memory_are_read_as_files_are(tmp_path):
    arrow, lazy = GOOD.to_arrow(), GOOD.lazy()
    for table in (GOOD, arrow, lazy, run_table.read(GOOD)):
        data = run_table.read(table, where="loss.web2 > 2.2")
        assert data.frame["run"].to_list() == ["r1", "r2"]
    with pytest.raises(SchemaError, match="the run table has no column 'params'"):
        run_table.read(GOOD.drop("params"))
    with pytest.raises(SchemaError, match="int is not a table"):
        run_table.read([1, 2])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_saved_runs_are_read_back(tmp_path, suffix):
    run_table.read(GOOD).save(tmp_path / f"runs{suffix}")
    assert run_table.read(str(tmp_path / f"runs{suffix}")).frame.equals(GOOD)


def test_an_absent_column_of_shares_is_named_where_the_others_do_not_sum_to_1():
    runs = run_table.read(GOOD)
    assert runs.recipes(("a", "b", "c")).weights[:, 2].tolist() == [0.0] * 3  # no run needs the third pool
    short = run_table.read(GOOD.drop("weight.b"))
    with pytest.raises(SchemaError, match=r"no column weight.b, and the shares of run 'r0' sum to 0.25 .*; 2 such"):
        short.recipes(("a", "b"))
