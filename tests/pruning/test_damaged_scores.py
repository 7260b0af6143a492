"""Score files and decisions that another program changed: read where they say the same, else refused in one line."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import documents, one_line

SCORES = "scores/a.parquet.scores.parquet"
DECISIONS = "kept/a.parquet.keep.parquet"
PRUNE = ("prune", "scores", "--by", "score.length", "--keep", 0.5, "--rule", "top", "--out")
POOLS = ("pools", "scores", "--kept", "kept", "--out", "new.json")
MATERIALIZE = ("materialize", "pools.json", "--out", "train")


@pytest.fixture
def results(tmp_path, monkeypatch, cli):
    """The current folder, with scores, decisions and pools of twenty rows."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    documents(20).write_parquet("data/a.parquet")
    assert cli("score", "data", "--scorer", "length", "--out", "scores").code == 0
    assert cli(*PRUNE, "kept").code == 0
    assert cli("pools", "scores", "--kept", "kept", "--out", "pools.json").code == 0
    # Without it the decisions are those of an older version, whose rows alone are compared.
    Path("kept/_curate/prune.json").unlink()


def change(path, column, values=None, metadata=None):
    """Replace a column, and the metadata of all columns."""
    table = pq.read_table(path)
    place = table.column_names.index(column)
    table = table.set_column(place, column, table[column] if values is None else pa.array(values))
    schema = pa.schema([field.with_metadata(metadata) for field in table.schema], metadata=table.schema.metadata)
    pq.write_table(table.cast(schema), path)


@pytest.mark.parametrize("rows", [0, 15, 40])
def test_score_files_with_other_rows_than_were_scored_are_refused(cli, results, rows):
    table = pq.read_table(SCORES)
    pq.write_table(pa.concat_tables([table, table]).slice(0, rows), SCORES)
    for words in ((*PRUNE, "kept2"), ("pools", "scores", "--by", "score.length", "--out", "new.json"), MATERIALIZE):
        output = cli(*words)
        assert output.code == 1
        assert f"{SCORES} has {rows} rows, and 20 were scored" in one_line(output)
    Path(SCORES).unlink()
    assert cli("score", "data", "--scorer", "length", "--out", "scores").code == 0
    assert cli(*PRUNE, "kept2").code == 0


@pytest.mark.parametrize("rows", [0, 15, 5000])
def test_decisions_of_other_rows_are_refused(cli, results, rows):
    table = pq.read_table(DECISIONS)
    pq.write_table(pa.concat_tables([table] * 250).slice(0, rows), DECISIONS)
    for words in (POOLS, MATERIALIZE):
        output = cli(*words)
        assert output.code == 1
        assert f"{DECISIONS} was made from other scores than {SCORES}" in one_line(output)


@pytest.mark.parametrize("values", [["x"] * 20, [1] * 20, [[True]] * 20, [None] * 20, [None] + [True] * 19])
def test_decisions_that_are_not_true_or_false_are_refused(cli, results, values):
    change(DECISIONS, "keep", values)
    for words in (POOLS, MATERIALIZE):
        output = cli(*words)
        assert output.code == 1
        assert f"{DECISIONS}: keep is not true or false in every row" in one_line(output)


@pytest.mark.parametrize("values", [pa.array([1] * 20, pa.decimal128(5, 2)), ["x"] * 20, [[1.0]] * 20])
def test_scores_that_are_no_numbers_are_refused(cli, results, values):
    change(SCORES, "score.length", values)
    for words in ((*PRUNE, "kept2"), ("pools", "scores", "--by", "score.length", "--out", "new.json")):
        output = cli(*words)
        assert output.code == 1
        assert "which is not a score" in one_line(output)


def test_metadata_that_is_not_text_does_not_matter(cli, results):
    for path, column in (("data/a.parquet", "text"), (SCORES, "id"), (DECISIONS, "id")):
        change(path, column, metadata={b"\xff": b"\xfe"})
    for words in ((*PRUNE, "kept2", "--materialize"), POOLS, MATERIALIZE):
        output = cli(*words)
        assert (output.code, output.err) == (0, "")
