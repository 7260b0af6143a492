"""`score --carry`: small columns of the data in the score files, in every format, with one type everywhere."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.recipe import keys
from curate.scoring import carried, parts
from curate.scoring.reports.status import status
from curate.scoring.score import score

ROWS = 60
DATA = pl.DataFrame(
    {
        "id": [f"r{i}" for i in range(ROWS)],
        "text": [f"text number {i // 2} with words" for i in range(ROWS)],
        "conversation": pl.Series([i // 4 for i in range(ROWS)], dtype=pl.Int16),
        "url": [None if i % 5 == 0 else f"https://site{i % 7}.org/é" for i in range(ROWS)],
        "ratio": pl.Series([i / 4 for i in range(ROWS)], dtype=pl.Float32),
        "good": [i % 3 == 0 for i in range(ROWS)],
    }
)
CARRY = ("conversation", "good", "ratio", "url")
TYPES = {"conversation": pl.Int64, "good": pl.Boolean, "ratio": pl.Float64, "url": pl.String}


def write(folder: Path, kind: str, frame: pl.DataFrame = DATA, rows: int = 25) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(frame.iter_slices(rows)):
        path = folder / f"{i}.{kind}"
        if kind == "parquet":
            part.write_parquet(path, row_group_size=8)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in part.to_dicts()))
        elif kind == "arrow":
            part.write_ipc(path)
    return folder


def scores(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("*.scores.parquet"))])


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow"])
@pytest.mark.parametrize("scorers", [("length",), ("length", "duplicates", "perplexity:order=2")])
def test_columns_are_copied_and_scores_stay_the_same(tmp_path, kind, scorers):
    data = write(tmp_path / "data", kind)
    plain = score([data], scorers, tmp_path / "plain")
    score([data], scorers, tmp_path / "carried", carry=CARRY, engine=Local(2))
    frame = scores(tmp_path / "carried")
    assert dict(frame.select(CARRY).schema) == TYPES
    assert frame.select(CARRY).equals(DATA.select(CARRY).cast(TYPES))
    assert frame.columns[:7] == ["id", "source", "tokens", *CARRY]
    assert frame.drop(CARRY).equals(scores(plain.out))
    record = json.loads((tmp_path / "carried/_curate/score.json").read_text())
    assert record["carry"] == {"conversation": "Int64", "good": "Boolean", "ratio": "Float64", "url": "String"}
    assert "carry" not in json.loads((tmp_path / "plain/_curate/score.json").read_text())
    assert {row["state"] for row in status(tmp_path / "carried")} == {"done"}


def test_long_files_are_scored_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 8)
    monkeypatch.setattr(parts, "TASK_ROWS", 16)
    data = write(tmp_path / "data", "parquet", rows=ROWS)
    for name, scorers in (("one", "length"), ("two", ("duplicates",))):
        score([data], scorers, tmp_path / name, carry=CARRY)
        assert scores(tmp_path / name).select(CARRY).equals(DATA.select(CARRY).cast(TYPES))


def test_a_column_of_csv_is_text(tmp_path):
    DATA.write_csv(tmp_path / "rows.csv")
    score([tmp_path / "rows.csv"], "length", tmp_path / "scores", carry="conversation")
    assert scores(tmp_path / "scores")["conversation"].to_list() == [str(i // 4) for i in range(ROWS)]


def test_a_column_that_comes_late_or_is_missing_is_null(tmp_path):
    rows = [{"text": f"words {i}"} | ({"n": i} if i > 300 else {}) for i in range(310)]
    (tmp_path / "late.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "never.jsonl").write_text(json.dumps({"text": "words"}))
    pl.DataFrame({"text": ["words"]}).write_parquet(tmp_path / "never.parquet")
    names = [tmp_path / name for name in ("late.jsonl", "never.jsonl", "never.parquet")]
    result = score(names, ["length", "duplicates"], tmp_path / "scores", carry="n")
    frame = scores(tmp_path / "scores")
    assert frame["n"].to_list() == [None] * 301 + list(range(301, 310)) + [None, None]
    assert any(line.startswith("column n differs between files") for line in result.warnings)


def test_whole_numbers_and_fractions_become_fractions(tmp_path):
    for name, values in (("a", [1, 2]), ("b", [0.5, None])):
        pl.DataFrame({"text": ["a", "b"], "n": values}).write_parquet(tmp_path / f"{name}.parquet")
    score([tmp_path / "a.parquet", tmp_path / "b.parquet"], "length", tmp_path / "scores", carry="n")
    assert scores(tmp_path / "scores")["n"].to_list() == [1.0, 2.0, 0.5, None]


def test_dates_large_numbers_and_categories_keep_their_values(tmp_path):
    values = {"day": [date(2026, 1, 2), None], "hash": pl.Series([2**64 - 1, 0], dtype=pl.UInt64)}
    frame = pl.DataFrame({"text": ["a", "b"], **values, "kind": pl.Series(["x", None], dtype=pl.Categorical)})
    frame.write_parquet(tmp_path / "a.parquet")
    score([tmp_path / "a.parquet"], "length", tmp_path / "scores", carry=["kind", "hash", "day"])
    assert (
        scores(tmp_path / "scores")
        .select("day", "hash", "kind")
        .equals(frame.select("day", "hash", pl.col("kind").cast(pl.String)))
    )


def test_the_same_call_continues_and_another_is_refused(tmp_path):
    data = write(tmp_path / "data", "parquet")
    score([data], "length", tmp_path / "scores", carry=("url", "good"))
    before = (tmp_path / "scores/0.parquet.scores.parquet").read_bytes()
    assert score([data], "length", tmp_path / "scores", carry=("good", "url", "good")).rows == 0
    assert (tmp_path / "scores/0.parquet.scores.parquet").read_bytes() == before
    for other in ((), ("url",), ("url", "ratio")):
        with pytest.raises(Interrupted, match="carry"):
            score([data], "length", tmp_path / "scores", carry=other)
    assert score([data], "length", tmp_path / "scores", carry="ratio", restart=True).rows == ROWS


def test_files_that_are_added_get_the_recorded_type(tmp_path):
    pl.DataFrame({"text": ["a"], "n": [0.5]}).write_parquet(tmp_path / "a.parquet")
    score([tmp_path / "a.parquet"], "length", tmp_path / "scores", carry="n")
    pl.DataFrame({"text": ["b"], "n": [3]}).write_parquet(tmp_path / "b.parquet")
    both = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert score(both, "length", tmp_path / "scores", carry="n").rows == 1
    assert scores(tmp_path / "scores")["n"].to_list() == [0.5, 3.0]
    only_whole = score([tmp_path / "b.parquet"], "length", tmp_path / "whole", carry="n")
    with pytest.raises(SchemaError, match="is Float64 in .*, and Int64 in the score files that are there"):
        score(both, "length", only_whole.out, carry="n")


def test_columns_have_the_names_that_jobs_use(tmp_path):
    frame = DATA.rename({"id": "DocID", "text": "Raw Content"})
    data = write(tmp_path / "data", "jsonl", frame)
    score([data], "length", tmp_path / "scores", columns='id=DocID,text="Raw Content"', carry="conversation")
    assert scores(tmp_path / "scores")["conversation"].to_list() == DATA["conversation"].to_list()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("id", "--carry id: 'id' is in the score files anyway"),
        ("label", "--carry label: 'label' is in the score files anyway"),
        ("text", "--carry text: 'text' is no small column"),
        ("score.length", "'score.length' has a name as the columns of scorers have"),
        ("convrsation", "'convrsation' is no column of the data. It has .*conversation"),
        ("vector", r"'vector' is .*list<.*> in .*0.parquet. Columns of text, numbers, booleans, dates and times"),
        ("record", "'record' is struct<"),
        ("bytes", "'bytes' is .*binary"),
        ("kind", "'kind' is (String|Int64) in .*.parquet and (String|Int64) in .*.parquet. Write it with one type"),
        ("long", "--carry long: the value of the row with id 'r7' has 5,000 bytes, and a carried value may have 4,096"),
    ],
)
def test_what_cannot_be_carried_is_one_line(tmp_path, name, message):
    frame = DATA.with_columns(
        vector=pl.lit([1.0, 2.0]),
        record=pl.struct("id"),
        bytes=pl.lit(b"x"),
        long=pl.when(id="r7").then(pl.lit("x" * 5000)),
    )
    data = tmp_path / "data"
    data.mkdir()
    frame.with_columns(kind=pl.lit("a")).write_parquet(data / "0.parquet")
    frame.with_columns(kind=pl.lit(1)).write_parquet(data / "1.parquet")
    with pytest.raises(SchemaError, match=message) as caught:
        score([data], "length", tmp_path / "scores", carry=name, on_error="fail")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("scores/*.parquet"))


def test_the_command_repeats_the_flag_and_its_forecast_checks_it(tmp_path, cli):
    data = write(tmp_path / "data", "parquet")
    words = ("score", data, "--scorer", "length", "--out", tmp_path / "scores")
    done = cli(*words, "--carry", "url", "--carry", "good")
    assert done.code == 0
    assert pq.read_schema(tmp_path / "scores/0.parquet.scores.parquet").names[3:5] == ["good", "url"]
    wrong = cli(*words, "--carry", "ulr", "--dry-run")
    assert (wrong.code, "'ulr' is no column of the data" in wrong.err) == (1, True)
    assert cli(*words, "--carry", "url", "--dry-run").code == 0


def test_a_recipe_has_the_key():
    key = keys.keys("data")["carry"]
    assert key.read("url") in ("url", ("url",))
    assert key.read(["url", "good"]) == ("url", "good")


def test_the_bound_is_in_the_help(cli):
    assert f"{carried.LONGEST:,}" in " ".join(cli("score", "--help").out.split())
