"""`curate.score` without an output folder: the frame equals the score files, and nothing stays on disk."""

import json
import tempfile

import polars as pl
import pytest
from conftest import documents

import curate
from curate.errors import SchemaError
from curate.scoring import score as scoring

SCORERS = ("length", "compression", "duplicates", "embedding:width=8", "prototypes:k=2,embedding=emb.hashed")
ROWS = documents(60).with_columns(pl.Series("conversation", [i // 4 for i in range(60)]), label=pl.lit("x"))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The system's temporary folder, which must be empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def written(out) -> pl.DataFrame:
    """The rows of all score files, as they stand on disk."""
    paths = sorted(path for path in out.rglob("*.scores.parquet") if "_curate" not in path.relative_to(out).parts)
    return pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame without its vectors."""
    return frame.select(pl.exclude("^emb\\..*$"))


TABLES = {
    "polars": lambda rows: rows,
    "lazy": lambda rows: rows.lazy(),
    "pandas": lambda rows: rows.to_pandas(),
    "pyarrow": lambda rows: rows.to_arrow(),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gets_the_scores_that_a_folder_gets(tmp_path, scratch, kind):
    if kind == "pandas":
        pytest.importorskip("pandas")
    table = TABLES[kind](ROWS)
    frame = curate.score(table, SCORERS, carry="conversation")
    result = curate.score(table, SCORERS, tmp_path / "scores", carry="conversation")
    assert plain(frame).equals(plain(written(result.out)))
    assert frame.columns == written(result.out).columns
    assert frame.columns[:5] == ["id", "source", "tokens", "label", "conversation"]
    assert frame["id"].to_list() == ROWS["id"].to_list()
    vectors = frame["emb.hashed"]
    assert vectors.dtype == pl.Array(pl.Float32, 8)
    stored = b"".join(written(result.out)["emb.hashed"])
    assert vectors.to_numpy().tobytes() == stored


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_paths_get_the_scores_that_the_command_writes(tmp_path, scratch, cli, kind):
    folder = tmp_path / "data"
    folder.mkdir()
    for i, part in enumerate(ROWS.drop("label").iter_slices(25)):
        if kind == "parquet":
            part.write_parquet(folder / f"{i}.parquet")
        else:
            part.write_ndjson(folder / f"{i}.jsonl")
    scorers = [word for scorer in SCORERS for word in ("--scorer", scorer)]
    assert cli("score", folder, *scorers, "--out", tmp_path / "scores").code == 0
    frame = curate.score([folder], list(SCORERS))
    assert plain(frame).equals(plain(written(tmp_path / "scores")))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path, scratch, corpus):
    (corpus / "source=a" / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(SchemaError, match="bad.parquet cannot be read"):
        curate.score(corpus, "length")


def test_lines_that_cannot_be_read_are_a_warning(tmp_path, scratch):
    lines = [json.dumps({"id": f"r{i}", "text": "some words"}) for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines, "{"]))
    with pytest.warns(UserWarning, match="1 of 11 lines") as caught:
        frame = curate.score(tmp_path / "rows.jsonl", "length", max_bad=0.5)
    assert frame["id"].to_list() == [f"r{i}" for i in range(10)]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.drop("text"), "^the table has no column 'text'"),
        (ROWS.with_columns(text=pl.lit(1)), "^the table: text is int32, not text"),
    ],
)
def test_errors_name_the_table_and_no_work_file(scratch, rows, message):
    with pytest.raises(SchemaError, match=message):
        curate.score(rows, "length")


def test_no_rows_give_a_frame_with_all_columns(scratch):
    assert scoring.score(ROWS.clear(), "length").columns == ["id", "source", "tokens", "label", "score.length"]
