"""Tables in any dialect and units are the same runs; numbers that cannot be right are refused with their repair."""

import gzip
import json
import re

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import written_numbers
from curate.errors import SchemaError
from curate.runs import run_table

SHARES = np.array([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.0, 0.5, 0.5]])
TABLE = pl.DataFrame(
    {
        "run": ["a", "b", "c", "d"],
        "params": [7e7, 7e7, 1.6e8, 4.1e8],
        "tokens": [1.4e9, 2.8e9, 3.2e9, 8.2e9],
        "weight.x": SHARES[:, 0],
        "weight.y": SHARES[:, 1],
        "weight.z": SHARES[:, 2],
        "loss.web": [3.25, 3.0, 2.75, 2.5],
    }
)
WEIGHTS = ["weight.x", "weight.y", "weight.z"]


def test_one_of_several_tables_in_millions_has_a_repair_that_leaves_the_others_alone():
    millions = TABLE.with_columns(pl.col("run") + "m", params=pl.col("params") / 1e6)
    with pytest.raises(SchemaError, match="the run table 2: the median of params is 115") as caught:
        run_table.read([TABLE, millions])
    repair = re.search(r"--map '(params=CASE [^']*)'", str(caught.value))
    assert repair is not None
    runs = run_table.read([TABLE, millions], map=[repair[1]])
    assert runs.frame["params"].to_list() == pytest.approx(TABLE["params"].to_list() * 2)
    with pytest.raises(SchemaError, match=r"run table 1: the median of params is 1\.15e\+14 after --map") as caught:
        run_table.read([TABLE, millions], map=["params=params*1e6"])
    assert "more than any training has" in str(caught.value)


def weights(frame, **keywords):
    runs = run_table.read(frame, **keywords)
    return runs.recipes().weights.numpy(), runs.notes


@pytest.mark.parametrize(
    ("text", "number"),
    [("70M", 7e7), ("0.07b", 7e7), (".07G", 7e7), ("1T", 1e12), ("1.4e9", 1.4e9), ("2 k", 2e3), ("20B", 2e10)],
)
def test_written_numbers(text, number):
    assert written_numbers.number(text) == number
    assert written_numbers.numbers(f"{text},1") == [number, 1.0]


@pytest.mark.parametrize("text", ["", "M", "70 million", "7,0M", "70MB", "1e", "-"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="could not convert string to float"):
        written_numbers.number(text)


def dialects(frame: pl.DataFrame, folder) -> dict[str, pl.DataFrame]:
    """The table as other programs write it, read again."""
    semicolons = frame.write_csv(separator=";")
    header, _, rows = semicolons.partition("\n")
    files = {
        "runs.csv": frame.write_csv().encode(),
        "RUNS.CSV": frame.write_csv().encode(),
        "runs.tsv": frame.write_csv(separator="\t").encode(),
        "runs.csv.gz": gzip.compress(frame.write_csv().encode()),
        "runs.csv.zst": bytes(pa.compress(frame.write_csv().encode(), "zstd", asbytes=True)),
        "german.csv": f"{header}\n{re.sub(r'(?<=[0-9])[.](?=[0-9])', ',', rows)}".encode(),
        "rows.json": json.dumps(frame.to_dicts()).encode(),
        "indented.json": json.dumps(frame.to_dicts(), indent=1).encode(),
        "columns.json": json.dumps(frame.to_dict(as_series=False)).encode(),
        "pandas.json": json.dumps(
            {name: dict(enumerate(cells)) for name, cells in frame.to_dict(as_series=False).items()}
        ).encode(),
        "split.json": json.dumps({"columns": frame.columns, "data": [list(row) for row in frame.rows()]}).encode(),
        "runs.jsonl": "\n".join(json.dumps(row) for row in frame.to_dicts()).encode(),
        "nested.jsonl": "\n".join(json.dumps(nested(row)) for row in frame.to_dicts()).encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    frame.write_ipc(folder / "runs.arrow")
    frame.write_parquet(folder / "runs.parquet")
    return {name: run_table.read(folder / name).frame for name in (*files, "runs.arrow", "runs.parquet")}


def nested(row):
    """A row in which weight.x is the field x of the field weight."""
    fields: dict[str, object] = {}
    for name, value in row.items():
        kind, dot, rest = name.partition(".")
        if dot:
            fields.setdefault(kind, {})[rest] = value
        else:
            fields[name] = value
    return fields


def test_all_dialects_are_the_same_table(tmp_path):
    expected = run_table.read(TABLE).frame
    for name, frame in dialects(TABLE, tmp_path).items():
        assert frame.select(expected.columns).equals(expected), name


positive = st.floats(1e-3, 1e3)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(1e5, 1e12), st.floats(1e8, 1e13), *[positive] * 3), min_size=1, max_size=5),
    unit=st.sampled_from(["shares", "percents", "tokens", "cells"]),
    suffix=st.sampled_from(["", "k", "M", "B", "T"]),
)  # fmt: skip
def test_any_units_are_the_same_runs(tmp_path_factory, rows, unit, suffix):
    folder = tmp_path_factory.mktemp("units")
    shares = np.array([row[2:] for row in rows]) / np.sum([row[2:] for row in rows], axis=1, keepdims=True)
    tokens = np.array([row[1] for row in rows])
    params = [f"{row[0] / 10 ** written_numbers.POWERS.get(suffix.lower(), 0)!r}{suffix}" for row in rows]
    scaled = {
        "shares": shares.tolist(),
        "percents": (100 * shares).tolist(),
        "tokens": (shares * tokens[:, None]).tolist(),
        "cells": [[f"{100 * share!r}%" for share in row] for row in shares.tolist()],
    }[unit]
    names = [f"r{i}" for i in range(len(rows))]
    columns = dict(zip(WEIGHTS, zip(*scaled, strict=True), strict=True))
    frame = pl.DataFrame({"run": names, "params": params, "tokens": tokens, **columns, "loss.web": 2.0})
    frame.write_csv(folder / "runs.csv")
    recipes = run_table.read(folder / "runs.csv", map={"params": "params"}, counts=False).recipes()
    assert recipes.weights.numpy() == pytest.approx(shares, abs=1e-12)
    assert recipes.params.numpy() == pytest.approx([row[0] for row in rows], rel=1e-12)
    assert recipes.tokens.tolist() == tokens.tolist()


def test_percents_are_read_with_a_note():
    read, (note,) = weights(TABLE.with_columns(pl.col(WEIGHTS) * 100))
    assert read == pytest.approx(SHARES)
    assert note == "the run table: the weights of 4 of 4 rows are read as percents, and divided by their sum"


def test_rounded_percents_are_read_with_the_largest_difference():
    table = TABLE.with_columns((pl.col(WEIGHTS) * 100).round(0))
    read, (note,) = weights(table)
    assert read == pytest.approx(SHARES, abs=0.01) and np.allclose(read.sum(axis=1), 1)
    assert note.endswith("The sums differ from 100 by up to 1")


def test_parts_and_tokens_of_each_pool_are_read_with_a_note():
    parts = TABLE.with_columns(pl.Series(name, column) for name, column in zip(WEIGHTS, (SHARES * 8).T, strict=True))
    read, (note,) = weights(parts)
    assert read == pytest.approx(SHARES) and "are read as parts" in note
    tokens = TABLE.with_columns(pl.col(name) * pl.col("tokens") for name in WEIGHTS)
    read, (note,) = weights(tokens)
    assert read == pytest.approx(SHARES) and "are read as tokens of each pool" in note


@pytest.mark.parametrize(
    ("wrong", "total"),
    [
        # A pool whose column is missing, a rounded share, a double count and a wrong percent look alike.
        ([[0.25, 0.25, 0.4]] * 4, "0.9"),
        ([[0.25, 0.25, 0.45]] * 4, "0.95"),
        ([[0.5, 0.5, 1.0]] * 4, "2"),
        ([[25.0, 25.0, 50.0]] * 3 + [[25.0, 25.0, 5.0]], "100"),
        ([[25.0, 25.0, 50.0]] * 3 + [[0.25, 0.25, 0.5]], "100"),
        ([[1.0, 1.0, 0.0]] * 4, "2"),
        ([[50.5, 30.2, 10.1]] * 4, "90.8"),
    ],
)
def test_sums_that_may_be_mistakes_are_refused(wrong, total):
    columns = zip(WEIGHTS, zip(*wrong, strict=True), strict=True)
    table = TABLE.with_columns(pl.Series(name, column) for name, column in columns)
    with pytest.raises(SchemaError, match=rf"sum to {re.escape(total)}: shares must sum to 1"):
        run_table.read(table).recipes()


def test_start_rows_and_words_do_not_stop_percents():
    start = pl.DataFrame({"run": ["start"], "params": [7e7], "tokens": [0.0], "loss.web": [4.0]})
    table = pl.concat([TABLE.with_columns(pl.col(WEIGHTS) * 100), start], how="diagonal")
    runs = run_table.read(table)
    assert "4 of 5 rows are read as percents" in runs.notes[0]
    assert runs.trained().recipes().weights.numpy() == pytest.approx(SHARES)
    wordy = TABLE.with_columns(pl.lit("n/a").alias("weight.x"))
    with pytest.raises(SchemaError, match='weight.x of run .a. is "n/a", which is not a number'):
        run_table.read(wordy)


@pytest.mark.parametrize(
    ("params", "tokens", "repairs"),
    [
        (1e6, 1, {"params": "params * 1e6"}),
        (1e9, 1, {"params": "params * 1e9"}),
        (1e6, 1e6, {"params": "params * 1e6", "tokens": "tokens * 1e6"}),
        (1e9, 1e9, {"params": "params * 1e9", "tokens": "tokens * 1e9"}),
        (1e6, 1e9, {"params": "params * 1e6", "tokens": "tokens * 1e9"}),
        (1, 1e9, {"tokens": "tokens * 1e9"}),
        (1, 1e6, {"tokens": "tokens * 1e6"}),
    ],
)
def test_the_missing_factor_is_named_and_its_repair_works(params, tokens, repairs):
    table = TABLE.with_columns(pl.col("params") / params, pl.col("tokens") / tokens)
    with pytest.raises(SchemaError, match="the median of .* look like (millions|billions) of") as caught:
        run_table.read(table)
    flags = dict(re.findall(r"--map '(\w+)=([^']*)'", str(caught.value)))
    assert flags == repairs
    read = run_table.read(table, map=flags).frame
    assert read["params"].to_numpy() == pytest.approx(TABLE["params"].to_numpy())
    assert read["tokens"].to_numpy() == pytest.approx(TABLE["tokens"].to_numpy())


def test_the_name_of_a_column_tells_its_unit():
    table = TABLE.with_columns((pl.col("params") / 1e9).alias("N (B)")).drop("params", "tokens")
    with pytest.raises(SchemaError, match=re.escape("""--map 'params="N (B)" * 1e9'""")):
        run_table.read(table, map={"params": "N (B)", "tokens": "1e10"})


def test_small_counts_that_are_right_are_read_as_products():
    table = TABLE.with_columns(pl.lit(500.0).alias("params"))
    with pytest.raises(SchemaError, match=r"the median of params is 500\..* If the numbers are right, write \* 1"):
        run_table.read(table)
    assert run_table.read(table, map={"params": "params * 1"}).frame["params"].to_list() == [500.0] * 4


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    from curate.runs import table_file

    monkeypatch.setattr(table_file, "MOST_BYTES", 1000)
    (tmp_path / "runs.csv.gz").write_bytes(gzip.compress(b"run,params\n" + b"a,1\n" * 10_000))
    with pytest.raises(SchemaError, match="is it a run table"):
        run_table.read(tmp_path / "runs.csv.gz")


def test_the_table_of_a_pilot_is_read_whatever_its_counts(tmp_path):
    small = TABLE.with_columns(params=pl.lit(10.0), tokens=pl.Series([1e4, 2e4, 1e4, 2e4]))
    with pytest.raises(SchemaError, match="the median of params is 10"):
        run_table.read(small)
    runs = run_table.read(small, counts=False)
    # Curate writes its name into the metadata of a Parquet file.
    runs.save(tmp_path / "pilot.parquet")
    assert run_table.read(tmp_path / "pilot.parquet").recipes().params.tolist() == [10.0] * 4
    assert len(run_table.read(runs)) == 4
