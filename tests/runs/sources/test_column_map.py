"""Columns of other tables become those of a run table, and a wrong expression is one line."""

import json

import polars as pl
import pytest

from curate.errors import SchemaError
from curate.runs import run_table
from curate.runs.sources import column_map
from pipelines.shared.cli import run

OTHER = pl.DataFrame(
    {
        "name": [f"r{i}" for i in range(12)],
        "N (M)": [70, 160, 410] * 4,
        "step": [1000 * (i + 1) for i in range(12)],
        "share-web": [i / 11 for i in range(12)],
        "val.loss": [3.0 - 0.1 * i for i in range(12)],
        "size": ["70M", "160M", "0.41B"] * 4,
    }
)
MAP = (
    "run=name",
    'params="N (M)" * 1e6',
    "tokens=step*4194304",
    "weight.web=share-web",
    'weight.code=1 - "share-web"',
    "loss.val=val.loss",
)


def test_expressions_and_copied_columns_make_a_run_table():
    runs = run_table.read(OTHER, map=MAP)
    assert runs.frame["params"].to_list() == [7e7, 1.6e8, 4.1e8] * 4
    assert runs.frame["tokens"].to_list() == [4194304e3 * (i + 1) for i in range(12)]
    assert (runs.pools, runs.evals) == (("web", "code"), ("val",))
    assert runs.loss("val").tolist() == OTHER["val.loss"].to_list()
    assert runs.recipes().weights.sum(dim=1).tolist() == pytest.approx([1.0] * 12)


def test_a_file_of_expressions_is_the_same_map(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text(
        "run = 'name'\nparams = '\"N (M)\" * 1e6'\ntokens = 'step*4194304'\n"
        "[weight]\nweb = 'share-web'\ncode = '1 - \"share-web\"'\n[loss]\nval = 'val.loss'\n"
    )
    read = run_table.read(OTHER, map=MAP).frame
    for written in (path, str(path), [str(path)], column_map.parse(MAP).expressions):
        assert run_table.read(OTHER, map=written).frame.equals(read)


@pytest.mark.parametrize(
    ("item", "values"),
    [
        ("params=size", [7e7, 1.6e8, 4.1e8]),
        ("params=size * 2", [1.4e8, 3.2e8, 8.2e8]),
        ("params=70M", [7e7] * 3),
        ("params=.07B", [7e7] * 3),
        ("params=7e7", [7e7] * 3),
        ("params=CASE WHEN step > 2000 THEN 4.1e8 ELSE 7e7 END", [7e7, 7e7, 4.1e8]),
        # SQL alone reads 1M as the number 1 with the name M.
        ('params="N (M)" * 1M', [7e7, 1.6e8, 4.1e8]),
        ('params="N (M)" * .001b', [7e7, 1.6e8, 4.1e8]),
        ("params=CASE WHEN step > 2k THEN 0.41B ELSE 70 M END", [7e7, 7e7, 4.1e8]),
    ],
)
def test_right_sides(item, values):
    others = [part for part in MAP if not part.startswith("params")]
    assert run_table.read(OTHER.head(3), map=[*others, item]).frame["params"].to_list() == values


def test_a_later_expression_may_use_an_earlier_one():
    chained = [part for part in MAP if not part.startswith("tokens")]
    runs = run_table.read(OTHER, map=[*chained, "tokens=params * 20"])
    assert runs.frame["tokens"].to_list() == [20 * params for params in runs.frame["params"].to_list()]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("params", r"--map 'params' is not NAME=EXPRESSION, such as params='\"N \(M\)\" \* 1e6'"),
        ("=N", "is not NAME=EXPRESSION"),
        ("params=", "is not NAME=EXPRESSION"),
        ('params="N" * 1e6', r'--map params="N" \* 1e6 does not work on the run table \(unable to find column "N"\)'),
        ("params=((", r"--map params=\(\( is no SQL expression"),
        ("params=SUM(name)", "--map params=SUM.name. does not work on the run table"),
        ("params=(SELECT 1)", "has a subquery"),
        ("params=(SELECT a FROM scan_parquet('no such file'))", "reads a file"),
        ("params=1_000_000", r"\(unexpected '_000_000' at its end\)"),
        ('params="N (M)" * 1e6 AS n', r"\(unexpected 'n' at its end\)"),
        ("params=[1, 2]", r"\(unexpected 'list' at its end\)"),
        ("params='N (M)'", r"\(in SQL, 'N \(M\)' is text. Write \"N \(M\)\"\)"),
        ("run=step", "--map gives two expressions for run. Leave one of them out"),
        ("none.toml", "--map none.toml cannot be read"),
    ],
)
def test_a_wrong_expression_is_one_line(item, message):
    with pytest.raises(SchemaError, match=message) as caught:
        run_table.read(OTHER, map=[*(part for part in MAP if not part.startswith("params")), item])
    assert "\n" not in str(caught.value)


def test_an_expression_serves_the_tables_that_have_its_columns():
    usual = run_table.read(OTHER, map=MAP).frame.select("run", "params", "tokens", "weight.web", "weight.code")
    usual = usual.with_columns(pl.col("run") + "x", pl.lit(2.0).alias("loss.val"))
    others = OTHER.drop("size")
    runs = run_table.read([usual, others], map=MAP)
    assert len(runs) == 24
    assert sorted(set(runs.frame["params"].to_list())) == [7e7, 1.6e8, 4.1e8]


def test_an_expression_that_fails_on_a_table_with_its_columns_is_not_skipped():
    """Its own column params would have been used, without a word."""
    own = OTHER.with_columns(params=pl.lit(1e9), name=pl.col("name") + "x", step=pl.lit("many"))
    items = [item for item in MAP if not item.startswith("params")]
    with pytest.raises(SchemaError, match=r"--map tokens=step\*4194304 does not work on the run table 2 \("):
        run_table.read([OTHER, own], map=[*items, "params=size"])


def test_fit_records_the_map_and_predict_takes_it(tmp_path):
    OTHER.write_csv(tmp_path / "runs.csv")
    flags = [word for item in MAP for word in ("--map", item)]
    run("fit", tmp_path / "runs.csv", *flags, "--law", "chinchilla", "--starts", 2, "--draws", 2, "--out",
        tmp_path / "fit.json")  # fmt: skip
    record = json.loads((tmp_path / "fit.json").read_text())
    assert record["rows"] == 12
    assert record["made_by"]["arguments"]["map"] == dict(column_map.parse(MAP).expressions)
    run("predict", tmp_path / "fit.json", tmp_path / "runs.csv", *flags, "--out", tmp_path / "p.parquet")
    assert pl.read_parquet(tmp_path / "p.parquet")["run"].to_list() == OTHER["name"].to_list()


def test_a_file_that_is_no_map_is_one_line(tmp_path):
    path = tmp_path / "map.toml"
    for text, message in (("params = [1]", r"params is \[1\]. Write an expression in quotes"), ("params", "be read")):
        path.write_text(text)
        with pytest.raises(SchemaError, match=message) as caught:
            run_table.read(OTHER, map=path)
        assert "\n" not in str(caught.value)
