"""Files that were made to fill the memory, under a real limit of memory: one line each, and the other files go on."""

import resource
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from curate.errors import SchemaError
from curate.pruning import prune
from curate.pruning.kept_rows.job import write_kept
from curate.scoring import score
from curate.tables import reading

MB = 1 << 20
LIMIT = 4 << 30  # of address space, of which libraries take about 2 GB
BYTES = 2 * MB  # of a value
ROWS = 5000  # 10 GB of text


def same(value, rows: int = ROWS, kind: pa.DataType | None = None) -> pa.Array:
    """Return a column of one value in every row, as a dictionary: it takes a value of memory."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value], kind))


def parquet(path, plain: bool = True, **columns: pa.Array) -> None:
    """Write columns; ``plain`` drops the Arrow schema, so that a reader sees plain types."""
    table = pa.table({"id": [f"r{i}" for i in range(len(next(iter(columns.values()))))], **columns})
    pq.write_table(table, path, store_schema=not plain, compression="zstd", dictionary_pagesize_limit=64 * MB)


def ipc(path, **columns: pa.Array) -> None:
    table = pa.table(columns)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)


def text_of_a_dictionary(path):
    parquet(path, text=same("a" * BYTES))


def text_of_categories(path):
    parquet(path, plain=False, text=same("a" * BYTES))


def text_of_a_stream(path):
    ipc(path, text=same("a" * BYTES))


BOMBS = {
    "dictionary.parquet": text_of_a_dictionary,
    "categories.parquet": text_of_categories,
    "stream.arrow": text_of_a_stream,
}


def limited(*words: str) -> subprocess.CompletedProcess:
    """Run the command line with a limit of memory."""
    code = "from pipelines.shared.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_set_aside_and_the_other_files_are_scored(tmp_path, name):
    (tmp_path / "data").mkdir()
    BOMBS[name](tmp_path / "data" / name)
    assert (tmp_path / "data" / name).stat().st_size < MB
    pl.DataFrame({"id": ["a"], "text": ["xy"]}).write_parquet(tmp_path / "data" / "good.parquet")
    done = limited("score", str(tmp_path / "data"), "--scorer", "length", "--out", str(tmp_path / "out"))
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if "bomb" in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{name}: text of " in lines[0]
    good = pl.read_parquet(tmp_path / "out" / "good.parquet.scores.parquet")
    assert good["score.length"].to_list() == [2]


def kept_of(tmp_path, **columns: pa.Array) -> None:
    """Score and prune a file by its short texts, and write the kept rows with all columns."""
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data" / "a.parquet", **columns)
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores", on_error="fail")
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.5)
    write_kept(tmp_path / "scores", tmp_path / "kept")


def lists(values: pa.Array, lengths: list[int]) -> pa.Array:
    return pa.ListArray.from_arrays(np.append(0, np.cumsum(lengths)).astype(np.int32), values)


WIDE = 1 << 25  # values in one row
EXTRA = {
    "fixed binary": lambda: same(bytes(BYTES), 700, pa.binary(BYTES)),
    "binary": lambda: same(bytes(BYTES), 700),
    "struct": lambda: pa.StructArray.from_arrays([same("a" * BYTES, 700)], ["inner"]),
    "list of strings": lambda: lists(same("a" * BYTES, 500), [250, 250]),
    "wide list": lambda: lists(pa.array(np.zeros(WIDE, np.int8)), [WIDE, 0]),
}


@pytest.mark.parametrize("kind", EXTRA)
def test_columns_that_only_the_kept_rows_have_are_checked_too(tmp_path, kind):
    extra = EXTRA[kind]()
    texts = pa.array([f"{'w' * (i % 9)}" for i in range(len(extra))])
    before = pa.total_allocated_bytes()
    with pytest.raises(SchemaError, match="a.parquet: extra.* of row group 0 grows from .* like a compression bomb"):
        kept_of(tmp_path, text=texts, extra=extra)
    assert pa.total_allocated_bytes() - before < 64 * MB


def test_long_values_that_many_rows_share_are_no_bomb_where_they_are_few_or_short(tmp_path):
    """A system prompt of 20 kB in every row, a book in two rows, and a mask of ones beside each text."""
    rows = 4000
    extra = pa.DictionaryArray.from_arrays(
        np.where(np.arange(rows) < 2, 1, 0).astype(np.int32), pa.array(["p" * 20_000, "b" * (30 * MB)])
    )
    mask = lists(pa.array(np.ones(rows * 2048, np.int8)), [2048] * rows)
    kept_of(tmp_path, text=pa.array(["w" * (i % 9) for i in range(rows)]), extra=extra, mask=mask)
    kept = pq.read_metadata(next((tmp_path / "kept" / "rows" / "data").iterdir())).num_rows
    assert kept == rows // 2


@pytest.mark.parametrize(("rows", "size", "fits"), [(1 << 24, 100, True), (1 << 60, 10**9, False), (-1, 9, False)])
def test_a_number_of_rows_must_suit_the_size_of_the_file(tmp_path, rows, size, fits):
    if fits:
        reading.check_rows(tmp_path, rows, size)
        return
    with pytest.raises(SchemaError, match="says that it has .* rows in .* bytes, like a compression bomb"):
        reading.check_rows(tmp_path, rows, size)
